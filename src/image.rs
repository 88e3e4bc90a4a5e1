//! Images: names, registries, archives, layouts, signatures, and pulling them.

#![forbid(unsafe_code)]
pub mod archive;
pub mod layout;
pub mod pull;
pub mod pure;
pub mod registry;
pub mod source;
pub mod verify;
