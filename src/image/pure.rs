//! Formats of images and of the protocols that bring them.

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
