//! Formats of layers.

pub mod gzip;
pub mod tar;
pub mod whiteout;
