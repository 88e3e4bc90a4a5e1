//! The kernel's command line: words, options, consoles, and the language of shutdown commands; what the machine is.

pub mod cmdline;
pub mod consoles;
pub mod misspelt;
pub mod option_error;
pub mod options;
pub mod runtime_info;
pub mod shutdown;
