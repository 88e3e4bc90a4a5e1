//! Layers, images and volumes on the disk.

#![forbid(unsafe_code)]
pub mod aside;
pub mod cache;
pub mod claim;
pub mod copy_tree;
pub mod dir;
pub mod journal;
pub mod layers;
pub mod mark;
pub mod pure;
pub mod record;
pub mod volumes;
