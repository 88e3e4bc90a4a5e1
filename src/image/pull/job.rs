//! State of one pull, which its steps share.

use crate::image::pure::cosign::Key;
use crate::image::pure::oci;
use crate::image::pure::pull_options::PullOptions;
use crate::image::source::{Error, Source};
use crate::pure::digest::Digest;
use crate::report::{Failure, Report};
use crate::store::layers::{Store, DOCUMENT_BYTES_MAX};

// Every document that is fetched fits into the store.
const _: () = assert!(oci::DOCUMENT_MAX <= DOCUMENT_BYTES_MAX);

/// State of one pull.
pub struct Pull<'a> {
    pub name: String,
    /// The image's key in the store.
    pub key: String,
    pub options: &'a PullOptions,
    pub keys: &'a [Key],
    /// Use no layer that another process, or another boot, has unpacked.
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
        self.store.put_config(digest, bytes).map_err(|error| Error::local(error).of(&digest.short()))
    }

    /// The failure that `error` makes of this pull.
    pub fn failed(&self, error: &Error) -> Failure {
        self.failure(&error.object, &error.text).hint_of(error.advice())
    }

    /// A failure of this pull because of `object`, or of the image itself if that is empty.
    pub fn failure(&self, object: &str, why: &str) -> Failure {
        let separator = if object.is_empty() { "" } else { " " };
        Failure::new("pull", [&self.name, separator, object, ": ", why].concat())
    }
}
