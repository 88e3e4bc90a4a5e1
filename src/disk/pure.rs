//! Formats on block devices.

pub mod cache_device;
pub mod filesystem;
pub mod superblock;
