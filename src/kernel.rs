//! What the kernel has and says: its version, its modules, and how much memory there is.

#![forbid(unsafe_code)]
pub mod coldplug;
pub mod meminfo;
pub mod pure;
pub mod version;
