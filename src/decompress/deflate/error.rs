//! Why a stream cannot be inflated.

/// The stream is no deflate stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;
