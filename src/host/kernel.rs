//! A kernel to boot: the user's, or Debian's cloud kernel.
