//! The kernel's modules: which ones this machine needs, and loading them.

#![forbid(unsafe_code)]
pub mod coldplug;
pub mod pure;
