//! The kernel's command line: words, options, consoles, and the language of shutdown commands; what the machine is. And
//! what the command line on a host reads and prints.

pub mod arguments;
pub mod check;
pub mod cmdline;
pub mod consoles;
pub mod extra_args;
pub mod help;
pub mod inspect;
pub mod interpolate;
pub mod keymap;
pub mod misspelt;
pub mod option_error;
pub mod option_table;
pub mod options;
pub mod runtime_info;
pub mod shutdown;
