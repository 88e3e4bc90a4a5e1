//! The command line on a host: run, pull, mount.
