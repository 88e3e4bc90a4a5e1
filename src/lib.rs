//! ocinit: boots a machine straight into a container.
//!
//! Each module here is a room, one part of the mission, and imports only the
//! rooms before it: `sys`, `pure`, `files`, `report`, `kernel`, `net`, `disk`,
//! `layer`, `store`, `image`, `container`, `boot` (docs/architecture.md).
//! `src/main.rs` is the boot as a list of steps. `host` is the library of the
//! host tool, and never part of the init.

// The macro `skip!`, which unit tests use too.
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
