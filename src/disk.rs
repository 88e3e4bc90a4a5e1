//! Block devices and their filesystems, and the cache device among them.

#![forbid(unsafe_code)]
pub mod block_device;
pub mod cache_device;
pub mod filesystems;
pub mod pure;
pub mod remove_tree;
