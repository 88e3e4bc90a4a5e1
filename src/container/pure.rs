//! What a container is asked to be, and what the kernel is told of it.

pub mod capability;
pub mod device_filter;
pub mod env_file;
pub mod etc_files;
pub mod passwd;
pub mod paths;
pub mod process;
pub mod program;
pub mod seccomp;
pub mod signal_name;
pub mod spec;
