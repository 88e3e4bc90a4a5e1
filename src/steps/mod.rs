//! What the machine does: one module a step, each takes and returns plain
//! owned values. Loops, timeouts and files live here; parsing and `unsafe` don't.
#![forbid(unsafe_code)]

pub mod ahead;
pub mod archive;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod container;
pub mod copy;
pub mod drivers;
pub mod early;
pub mod end;
pub mod filesystems;
pub mod halt;
pub mod http;
pub mod inflate;
pub mod layer;
pub mod layout;
pub mod memory;
pub mod network;
pub mod options;
pub mod pipeline;
pub mod pull;
pub mod reaper;
pub mod registry;
pub mod regular;
pub mod remove;
pub mod resolver;
pub mod rootfs;
pub mod services;
pub mod source;
pub mod store;
pub mod unpack;
pub mod verify;
pub mod volumes;
