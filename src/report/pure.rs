//! What the report reads: the kernel's list of consoles.

pub mod consoles;
