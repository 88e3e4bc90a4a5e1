//! Options that name block devices and file systems, and the superblocks of file systems.

pub mod cache_device;
pub mod filesystem;
pub mod superblock;
