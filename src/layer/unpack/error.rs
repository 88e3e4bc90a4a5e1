//! Why a layer cannot be unpacked.

use crate::layer::pure::{tar, whiteout};
use crate::sys::{self, io_text};
use std::fmt;
use std::io;

/// Why a member is refused.
#[derive(Debug)]
pub enum Reason {
    Sys(sys::Error),
    Text(&'static str),
}

/// The result of one step of unpacking. The member's name is added once, by [`Error::member`].
pub type Step<T> = Result<T, Reason>;

impl From<sys::Error> for Reason {
    fn from(error: sys::Error) -> Reason {
        Reason::Sys(error)
    }
}

impl From<whiteout::Error> for Reason {
    fn from(error: whiteout::Error) -> Reason {
        Reason::Text(error.text())
    }
}

impl From<tar::Error> for Reason {
    fn from(error: tar::Error) -> Reason {
        Reason::Text(error.text())
    }
}

/// Why a layer cannot be unpacked: `usr/bin/x: write: no space left on device`.
#[derive(Debug)]
pub enum Error {
    /// The archive's bytes cannot be read.
    Source(io::Error),
    /// A member cannot be unpacked.
    Member { path: Vec<u8>, reason: Reason },
}

impl Error {
    /// `path` is empty for the layer's root.
    pub(super) fn member(path: &[u8], reason: Reason) -> Error {
        Error::Member { path: path.into(), reason }
    }

    /// The errno of the file system that the layer is unpacked on, where that is the reason.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Member { reason: Reason::Sys(error), .. } => Some(error.errno),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, reason) = match self {
            Error::Source(error) => return out.write_str(&io_text(error)),
            Error::Member { path, reason } => (path, reason),
        };
        out.write_str(&String::from_utf8_lossy(if path.is_empty() { b"/" } else { path }))?;
        out.write_str(": ")?;
        match reason {
            Reason::Sys(error) => error.fmt(out),
            Reason::Text(text) => out.write_str(text),
        }
    }
}
