//! Formats of layers.

pub mod tar;
pub mod whiteout;
