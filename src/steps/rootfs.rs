//! Layers into one root by overlayfs.
