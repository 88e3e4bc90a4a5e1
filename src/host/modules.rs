//! Which kernel modules go into the initramfs.
