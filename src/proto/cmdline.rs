//! The kernel command line: words, keys and values.
