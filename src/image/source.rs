//! Where an image comes from: what a registry and a folder have in common.

use crate::image::pure::oci::Descriptor;
use crate::layer::{error, unpack};
use crate::pure::digest::Digest;
use crate::sys::io_text;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// A blob's bytes as they come, neither counted nor checked yet.
pub type BlobReader = Box<dyn Read + Send>;

/// Fetches what an http(s) URL names: one answer's body, which ends with an error
/// where it is shorter than the server said.
pub type OpenUrl = Arc<dyn Fn(&str) -> Result<BlobReader, Error> + Send + Sync>;

/// What kind of failure it was: what follows is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A final answer.
    Refused,
    /// A final answer of an HTTP server, by its status.
    Status(u16),
    /// A file of our own, by its errno.
    Local(i32),
    /// Bytes that are not those that were asked for: perhaps they are the next time.
    Damaged,
    /// No answer, or none that says anything about the image, so that what an earlier pull left may be taken. `again`:
    /// the source may answer better if it is asked once more.
    Unreachable { again: bool, status: Option<u16> },
}

impl Kind {
    /// That of a failure where files are kept, if it has an errno.
    fn of(errno: Option<i32>) -> Kind {
        errno.map_or(Kind::Refused, Kind::Local)
    }
}

/// Why something could not be fetched.
#[derive(Debug, Clone)]
pub struct Error {
    pub kind: Kind,
    /// What the source itself asked us to wait.
    pub retry_after_s: Option<u64>,
    /// What of the image it is about; empty for the image itself.
    pub object: String,
    pub text: String,
    pub hint: Option<&'static str>,
}

impl Error {
    pub fn new(kind: Kind, text: &str) -> Error {
        Error { kind, retry_after_s: None, object: String::new(), text: text.into(), hint: None }
    }

    /// A final answer.
    pub fn refused(text: &str) -> Error {
        Error::new(Kind::Refused, text)
    }

    /// No answer yet.
    pub fn temporary(text: &str) -> Error {
        Error::new(Kind::Unreachable { again: true, status: None }, text)
    }

    /// Other bytes than those that were asked for.
    pub fn damaged(text: &str) -> Error {
        Error::new(Kind::Damaged, text)
    }

    /// A file of our own that cannot be read or written.
    pub fn local(error: io::Error) -> Error {
        Error::new(Kind::of(error.raw_os_error()), &io_text(&error))
    }

    /// Whether the source may answer better if it is asked again.
    pub fn may_heal(&self) -> bool {
        matches!(self.kind, Kind::Damaged | Kind::Unreachable { again: true, .. })
    }

    /// Whether what an earlier pull left may be taken.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.kind, Kind::Unreachable { .. })
    }

    /// What an HTTP server answered.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            Kind::Status(status) => Some(status),
            Kind::Unreachable { status, .. } => status,
            _ => None,
        }
    }

    /// The same, after which nobody asks again.
    pub fn last(mut self) -> Error {
        self.kind = match self.kind {
            Kind::Damaged => Kind::Refused,
            Kind::Unreachable { status, .. } => Kind::Unreachable { again: false, status },
            kind => kind,
        };
        self
    }

    /// Says what of the image it is about.
    pub fn of(self, object: &str) -> Error {
        Error { object: object.into(), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// As a body's failure, of which [`Error::in_body`] gets it back.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}

impl Error {
    /// Why a body has ended before its time.
    pub fn in_body(error: &io::Error) -> Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => error.clone(),
            None => Error::temporary(&io_text(error)),
        }
    }
}

impl From<error::Error> for Error {
    fn from(error: error::Error) -> Error {
        Error { hint: error.hint, ..Error::new(Kind::of(error.errno), &error.text) }
    }
}

impl From<unpack::Error> for Error {
    fn from(error: unpack::Error) -> Error {
        Error::new(Kind::of(error.errno()), &error.to_string())
    }
}

/// What [`crate::image::pull`] asks for documents and blobs.
pub trait Source: Send + Sync {
    /// The index or manifest of that digest; without one, the image's own.
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error>;
    /// The digest that the image's name demands.
    fn pinned_digest(&self) -> Option<Digest>;
    /// The digest that the name stands for now, where the source can tell without sending what has it.
    fn current(&mut self) -> Result<Option<Digest>, Error> {
        Ok(None)
    }
    /// The manifest of the signatures of what has that digest, if there are any.
    fn signatures(&mut self, _: &Digest) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
    /// A whole blob that is a document; its digest is not checked yet.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error>;
    fn blob(&mut self, descriptor: &Descriptor) -> Result<BlobReader, Error>;
    /// The image is stored already: a source that fails is not waited for.
    fn prefer_cached(&mut self) {}
    /// The same source for another thread.
    fn clone_box(&self) -> Box<dyn Source>;
    /// Nothing is wanted any more, by nobody who has this source: who waits in it returns.
    fn give_up(&self) {}
}
