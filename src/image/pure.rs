//! Image formats, image names, credentials and registry protocols: code that reads bytes and does no I/O.

pub mod archive;
pub mod auth;
pub mod authfile;
pub mod cosign;
pub mod distribution;
pub mod docker_archive;
pub mod memory_budget;
pub mod mirror;
pub mod oci;
pub mod progress;
pub mod pull_options;
pub mod reference;
pub mod retry;
