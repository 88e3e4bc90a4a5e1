//! A pull that is under way: what its parts share.

use crate::image::pure::cosign::Key;
use crate::image::pure::oci;
use crate::image::pure::pull_options::PullOptions;
use crate::image::source::{Error, Source};
use crate::pure::digest::Digest;
use crate::report::{Failure, Report};
use crate::store::layers::{Store, DOCUMENT_BYTES_MAX};
use crate::sys::io_text;

// What is fetched can be kept.
const _: () = assert!(oci::DOCUMENT_MAX <= DOCUMENT_BYTES_MAX);

/// A pull that is under way.
pub struct Pull<'a> {
    pub name: String,
    /// Its name in the store.
    pub key: String,
    pub options: &'a PullOptions,
    pub keys: &'a [Key],
    /// No layer is used that another process, or another boot, has unpacked.
    pub own: bool,
    pub source: Box<dyn Source>,
    pub store: &'a Store,
    pub report: &'a Report,
    /// Compressed bytes of layers that were fetched.
    pub bytes: u64,
}

impl Pull<'_> {
    /// Keeps a document in the store.
    pub fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        self.store.put_config(digest, bytes).map_err(|error| Error::refused(&io_text(&error)).of(&digest.short()))
    }

    /// The pull's failure by `error`.
    pub fn failed(&self, error: &Error) -> Failure {
        let failure = self.failure(&error.object, &error.text);
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// The pull's failure, of `object` or, where that is empty, of the image itself.
    pub fn failure(&self, object: &str, why: &str) -> Failure {
        let separator = if object.is_empty() { "" } else { " " };
        let failure = Failure::new("pull", [&self.name, separator, object, ": ", why].concat());
        if why.contains("no space left on device") {
            return failure.hint("the store is full: give the machine more memory, or a disk by b2c.cache_device=");
        }
        failure
    }
}
