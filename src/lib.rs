//! ocinit: boots a machine straight into a container.
//!
//! Each module is a part of the mission, and imports only those before it in this
//! order: `sys` (the only `unsafe`: one function, one system call), `pure`,
//! `files`, `report`, `inflate`, `kernel`, `net`, `disk`, `layer`, `store`,
//! `image`, `container`, `boot`. Code below a `pure` has neither files, sockets nor clocks:
//! bytes in, values out. `src/main.rs` is the list of a boot's steps. `host` is
//! the second binary's library and never part of the init.
//!
//! Where all parts are texts, they are joined by `[a, b].concat()` and not by
//! `format!`: a call of the formatting machinery takes more code than one of
//! `concat`, and there are hundreds of them in a binary that should be small.

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
pub mod inflate;
pub mod kernel;
pub mod layer;
pub mod net;
pub mod pure;
pub mod report;
pub mod store;
pub mod sys;
