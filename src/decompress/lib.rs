//! Decoders: deflate (RFC 1951), zstd (RFC 8878), and
//! their checksums. Pure: bytes in, bytes out, no `unsafe`, no panic. A crate of
//! its own, since it is the only code of the init that is compiled for speed.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bytes;
pub mod crc32;
pub mod deflate;
pub mod zstd;
