//! What several rooms need: bytes and values in, values out.

#![forbid(unsafe_code)]
pub mod base64;
pub mod digest;
pub mod gzip;
pub mod index;
pub mod json;
pub mod percent;
pub mod scrub;
pub mod shell_words;
pub mod suggest;
