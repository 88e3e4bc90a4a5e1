//! Layers, images and volumes on the disk or in memory.

#![forbid(unsafe_code)]
pub mod cache;
pub mod claim;
pub mod clock;
pub mod copy_tree;
pub mod dir;
pub mod journal;
pub mod layers;
pub mod marker;
pub mod pure;
pub mod record;
pub mod staging;
pub mod volumes;
