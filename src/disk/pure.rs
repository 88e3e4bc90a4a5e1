//! Formats on block devices.

pub mod superblock;
