//! The boot: PID 1, its options, the pipeline of containers, and shutdown; and the command line on a host.

#![forbid(unsafe_code)]
pub mod check;
pub mod cli;
pub mod consoles;
pub mod early_mounts;
pub mod extra_args;
pub mod keymap;
pub mod options;
pub mod pid1;
pub mod pipeline;
pub mod prefetch;
pub mod pure;
pub mod root;
pub mod root_end;
pub mod runtime_info;
pub mod services;
pub mod shutdown;
pub mod storage;
