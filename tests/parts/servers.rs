//! Debian's servers, each in a folder and at an address of its own.
