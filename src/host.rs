//! The library of the host tool: builds the initramfs, boots it in QEMU, serves images.
//! It is compiled with the feature `host` only; neither it nor its dependencies are part of the init.
#![forbid(unsafe_code)]

pub mod cache;
pub mod check;
pub mod compress;
pub mod cpio;
pub mod docs;
pub mod elf;
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
