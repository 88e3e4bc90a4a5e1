//! Options and small languages of the kernel's command line.

pub mod cmdline;
pub mod options;
pub mod shutdown;
