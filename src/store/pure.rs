//! Names and rules of the store.

pub mod volume;
