//! ocinit: boots a machine straight into a container.
//!
//! The folders are the architecture, and data flows one way through them:
//! `proto` (pure cores: bytes in, values out) and `sys` (the only `unsafe`:
//! one function, one system call) know nothing of each other; `steps` drives
//! both; `report` is what the console says. `src/main.rs` is the list of steps.
//! `host` is the second binary's library and never part of the init.

// What skips a test, for those in here, too.
#[cfg(test)]
#[macro_use]
#[path = "../tests/support/skip.rs"]
mod skip;

pub mod boot;
pub mod container;
pub mod disk;
pub mod files;
#[cfg(feature = "host")]
pub mod host;
pub mod image;
pub mod kernel;
pub mod layer;
pub mod net;
pub mod pure;
pub mod report;
pub mod store;
pub mod sys;
