//! The source of an image: the trait of registries, layouts and archives, and their error type.

use crate::image::pure::oci::Descriptor;
use crate::layer::{error, unpack};
use crate::pure::digest::Digest;
use crate::report::Hint;
use crate::sys::{io_text, EDQUOT, ENOSPC};
use std::fmt;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A reader of a blob; its size and digest are not checked yet.
pub type BlobReader = Box<dyn Read + Send>;

/// Fetches an http(s) URL and returns the body. Reading fails if the body is shorter than the server said.
pub type OpenUrl = Arc<dyn Fn(&str) -> Result<BlobReader, Error> + Send + Sync>;

const STORE_IS_FULL: Hint = Hint {
    at_boot: "the store is full: give the machine more memory, or a disk by b2c.cache_device=",
    on_host: "the store is full: make room on its disk, or use another one by --store DIR",
};

/// The kind of a failure, which decides about retries and about using a stored image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A final error: a retry would not help.
    Refused,
    /// A final answer of an HTTP server, with its status.
    Status(u16),
    /// An error of a local file, with its errno.
    Local(i32),
    /// Bytes that differ from those requested; a retry may bring the right ones.
    Damaged,
    /// No answer, or one that says nothing about the image, so that the image of an earlier pull may be used.
    Unreachable { retries: Retries, status: Option<u16> },
}

/// Whether another request may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retries {
    None,
    Few,
    /// As if the server were not there yet: it, or what is in front of it, may be starting.
    Patient,
}

impl Kind {
    /// The kind of a local failure, which may have an errno.
    fn of(errno: Option<i32>) -> Kind {
        errno.map_or(Kind::Refused, Kind::Local)
    }
}

/// Why something could not be fetched. In a box, since each function that passes it on would copy it.
#[derive(Debug, Clone)]
pub struct Error(Box<Reason>);

/// What an [`Error`] tells.
#[derive(Debug, Clone)]
pub struct Reason {
    pub kind: Kind,
    /// How long the server asks us to wait.
    pub retry_after_s: Option<u64>,
    /// The part of the image that failed; empty for the image itself.
    pub object: String,
    pub text: String,
    pub hint: Option<Hint>,
}

impl Deref for Error {
    type Target = Reason;

    fn deref(&self) -> &Reason {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Reason {
        &mut self.0
    }
}

impl Error {
    pub fn new(kind: Kind, text: &str) -> Error {
        let (text, object) = (text.into(), String::new());
        Error(Box::new(Reason { kind, retry_after_s: None, object, text, hint: None }))
    }

    /// Puts what `parts` make, and a colon, before the text.
    pub fn context(mut self, parts: &[&str]) -> Error {
        self.text = [&*parts.concat(), ": ", &self.text].concat();
        self
    }

    pub fn hint(mut self, hint: Option<Hint>) -> Error {
        self.hint = hint;
        self
    }

    /// A final error: a retry would not help.
    pub fn refused(text: &str) -> Error {
        Error::new(Kind::Refused, text)
    }

    /// No answer; a retry may get one.
    pub fn temporary(text: &str) -> Error {
        Error::new(Kind::Unreachable { retries: Retries::Few, status: None }, text)
    }

    /// Bytes that differ from those requested.
    pub fn damaged(text: &str) -> Error {
        Error::new(Kind::Damaged, text)
    }

    /// A local file that cannot be read or written.
    pub fn local(error: io::Error) -> Error {
        Error::new(Kind::of(error.raw_os_error()), &io_text(&error))
    }

    /// Whether a retry may succeed.
    pub fn may_heal(&self) -> bool {
        self.retries() > Retries::None
    }

    /// Whether and for how long retries may succeed.
    pub fn retries(&self) -> Retries {
        match self.kind {
            Kind::Damaged => Retries::Few,
            Kind::Unreachable { retries, .. } => retries,
            _ => Retries::None,
        }
    }

    /// Whether the image of an earlier pull may be used.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.kind, Kind::Unreachable { .. })
    }

    /// What the user can do about it, where that is known.
    pub fn advice(&self) -> Option<Hint> {
        self.hint.or(match self.kind {
            Kind::Local(ENOSPC | EDQUOT) => Some(STORE_IS_FULL),
            _ => None,
        })
    }

    /// The status of an HTTP server's answer.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            Kind::Status(status) => Some(status),
            Kind::Unreachable { status, .. } => status,
            _ => None,
        }
    }

    /// The same error, marked as final: callers do not retry.
    pub fn last(mut self) -> Error {
        self.kind = match self.kind {
            Kind::Damaged => Kind::Refused,
            Kind::Unreachable { status, .. } => Kind::Unreachable { retries: Retries::None, status },
            kind => kind,
        };
        self
    }

    /// Sets the part of the image that failed.
    pub fn of(mut self, object: &str) -> Error {
        self.object = object.into();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// Wraps the error for [`Read`]; [`Error::in_body`] unwraps it.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}

impl Error {
    /// The error of a body that could not be read to its end.
    pub fn in_body(error: &io::Error) -> Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => error.clone(),
            None => Error::temporary(&io_text(error)),
        }
    }
}

impl From<error::Error> for Error {
    fn from(error: error::Error) -> Error {
        Error::new(Kind::of(error.errno), &error.text).hint(error.hint.map(Hint::new))
    }
}

impl From<unpack::Error> for Error {
    fn from(error: unpack::Error) -> Error {
        Error::new(Kind::of(error.errno()), &error.to_string())
    }
}

/// Where [`crate::image::pull`] gets documents and blobs from.
pub trait Source: Send + Sync {
    /// The index or manifest with that digest; without a digest, the one that the image's name stands for.
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error>;
    /// The digest that is part of the image's name.
    fn pinned_digest(&self) -> Option<Digest>;
    /// The digest that the name stands for now, if the source can tell without sending the manifest.
    fn current(&mut self) -> Result<Option<Digest>, Error> {
        Ok(None)
    }
    /// The signature manifest of the document with that digest, if there is one.
    fn signatures(&mut self, _: &Digest) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
    /// A blob that is a document, read to its end; its digest is not checked yet.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error>;
    /// A reader of a blob.
    fn blob(&mut self, descriptor: &Descriptor) -> Result<BlobReader, Error>;
    /// Tells the source that the image is stored, so that it waits less for a server that fails.
    fn prefer_cached(&mut self) {}
    /// The same source for another thread.
    fn clone_box(&self) -> Box<dyn Source>;
    /// Cancels all requests of this source and of its clones; calls that wait return.
    fn cancel(&self) {}
}
