//! Formats of the kernel's module files, and of its uevents.

pub mod modprobe;
pub mod modules_dep;
pub mod pattern;
pub mod uevent;
