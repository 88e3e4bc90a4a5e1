//! The kernel's command line: words, options, and the language of shutdown commands.

pub mod cmdline;
pub mod options;
pub mod shutdown;
