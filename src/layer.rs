//! Layers of an image: from compressed tar to directories and packed blobs that overlayfs stacks.

#![forbid(unsafe_code)]
pub mod error;
pub mod opaque_xattrs;
pub mod overlay;
pub mod packed;
pub mod pure;
pub mod unpack;
pub mod window;
