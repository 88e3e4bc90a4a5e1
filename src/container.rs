//! Containers: from a specification to a running process and its exit code.

#![forbid(unsafe_code)]
pub mod cgroup;
pub mod child;
pub mod devices;
pub mod files;
pub mod fill;
pub mod host_context;
pub mod in_root;
pub mod init;
pub mod mount_flags;
pub mod mount_target;
pub mod mounts;
pub mod namespaces;
pub mod ops;
pub mod own_program;
pub mod plan;
pub mod pure;
pub mod reasons;
pub mod relay;
pub mod resources;
pub mod run;
pub mod security;
pub mod setup_error;
pub mod spawn;
pub mod state;
