//! Where an image comes from: what a registry and a folder have in common.

use crate::proto::digest::Digest;
use crate::proto::oci::Descriptor;
use std::io::Read;

/// A blob's bytes as they come, neither counted nor checked yet.
pub type Fetched = Box<dyn Read>;

/// Why something could not be fetched.
#[derive(Debug)]
pub struct Error {
    /// Whether the source could not be reached, or may answer better later.
    pub temporary: bool,
    /// What the source itself asked us to wait.
    pub retry_after_s: Option<u64>,
    pub text: String,
    pub hint: Option<&'static str>,
}

impl Error {
    pub fn refused(text: &str) -> Error {
        Error { temporary: false, retry_after_s: None, text: text.into(), hint: None }
    }

    pub fn temporary(text: &str) -> Error {
        Error { temporary: true, retry_after_s: None, text: text.into(), hint: None }
    }
}

/// What [`super::pull`] asks for documents and blobs.
pub trait Source {
    /// The index or manifest of that digest; without one, the image's own.
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error>;
    /// The digest that the image's name demands.
    fn wanted(&self) -> Option<Digest>;
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Fetched, Error>;
}
