//! What the kernel has and says: its version, its modules and devices, and how much memory there is.

#![forbid(unsafe_code)]
pub mod coldplug;
pub mod meminfo;
pub mod modules;
pub mod pure;
pub mod settings;
pub mod uevents;
pub mod version;
