//! Where an image comes from: what a registry and a folder have in common.

use crate::image::pure::oci::Descriptor;
use crate::layer::packed;
use crate::pure::digest::Digest;
use crate::sys::io_text;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// A blob's bytes as they come, neither counted nor checked yet.
pub type Fetched = Box<dyn Read + Send>;

/// Fetches what an http(s) URL names: one answer's body, which ends with an error
/// where it is shorter than the server said.
pub type OpenUrl = Arc<dyn Fn(&str) -> Result<Fetched, Error> + Send + Sync>;

/// Why something could not be fetched.
#[derive(Debug, Clone)]
pub struct Error {
    /// The source may answer better if it is asked again.
    pub retry: bool,
    /// The source could not be reached, as it were: what an earlier pull left
    /// may be taken.
    pub unreachable: bool,
    /// What the source itself asked us to wait.
    pub retry_after_s: Option<u64>,
    /// What an HTTP server answered.
    pub status: Option<u16>,
    /// What of the image it is about; empty for the image itself.
    pub object: String,
    pub text: String,
    pub hint: Option<&'static str>,
}

impl Error {
    /// An answer, and a final one.
    pub fn refused(text: &str) -> Error {
        let (object, text) = (String::new(), text.into());
        Error { retry: false, unreachable: false, retry_after_s: None, status: None, object, text, hint: None }
    }

    /// No answer, or none that says anything about the image.
    pub fn temporary(text: &str) -> Error {
        Error { retry: true, unreachable: true, ..Error::refused(text) }
    }

    /// Bytes that are not those that were asked for: perhaps they are the next time.
    pub fn damaged(text: &str) -> Error {
        Error { retry: true, ..Error::refused(text) }
    }

    /// A file of our own that cannot be read or written.
    pub fn local(error: io::Error) -> Error {
        Error::refused(&io_text(&error))
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

impl From<packed::Error> for Error {
    fn from(error: packed::Error) -> Error {
        Error { hint: error.hint, ..Error::refused(&error.text) }
    }
}

/// What [`crate::image::pull`] asks for documents and blobs.
pub trait Source: Send + Sync {
    /// The index or manifest of that digest; without one, the image's own.
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error>;
    /// The digest that the image's name demands.
    fn wanted(&self) -> Option<Digest>;
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
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Fetched, Error>;
    /// The image is stored already: there is no reason for much patience.
    fn hurry(&mut self) {}
    /// The same source for another thread.
    fn another(&self) -> Box<dyn Source>;
    /// Nothing is wanted any more, by nobody who has this source: who waits in it returns.
    fn give_up(&self) {}
}
