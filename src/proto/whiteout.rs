//! OCI whiteouts: what a layer's entry names mean to overlayfs.
