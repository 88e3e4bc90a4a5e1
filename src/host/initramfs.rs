//! The initramfs: one binary, what the user adds, compressed.
