//! The host tool: makes the initramfs, boots it in QEMU, serves images. Behind
//! the feature `host`: never part of the init, nor are its dependencies.
#![forbid(unsafe_code)]

pub mod compress;
pub mod cpio;
pub mod docs;
pub mod image;
pub mod initramfs;
pub mod kernel;
pub mod modules;
pub mod peer;
pub mod probe;
pub mod promises;
pub mod qemu;
pub mod registry;
pub mod serve;
pub mod size;
