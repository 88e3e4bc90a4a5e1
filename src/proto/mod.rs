//! Pure protocol cores: bytes in, values out. No socket, file, clock or random
//! source; time and identifiers are arguments.
#![forbid(unsafe_code)]
