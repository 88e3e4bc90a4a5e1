//! Formats of the kernel's module files.

pub mod modules_dep;
