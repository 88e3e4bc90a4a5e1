//! Words as a POSIX shell reads them, without executing anything.
