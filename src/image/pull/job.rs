//! A pull that is under way: what its parts share.

use crate::image::pure::cosign::Key;
use crate::image::pure::oci;
use crate::image::pure::pull_options::PullOptions;
use crate::image::source::{Error, Kind, Source};
use crate::pure::digest::Digest;
use crate::report::{Failure, Report};
use crate::store::layers::{Store, DOCUMENT_BYTES_MAX};
use crate::sys::{EDQUOT, ENOSPC};

const STORE_IS_FULL: &str = "the store is full: give the machine more memory, or a disk by b2c.cache_device=";

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
        self.store.put_config(digest, bytes).map_err(|error| Error::local(error).of(&digest.short()))
    }

    /// The pull's failure by `error`.
    pub fn failed(&self, error: &Error) -> Failure {
        let failure = self.failure(&error.object, &error.text);
        match (error.hint, error.kind) {
            (Some(hint), _) => failure.hint(hint),
            (None, Kind::Local(ENOSPC | EDQUOT)) => failure.hint(STORE_IS_FULL),
            _ => failure,
        }
    }

    /// The pull's failure, of `object` or, where that is empty, of the image itself.
    pub fn failure(&self, object: &str, why: &str) -> Failure {
        let separator = if object.is_empty() { "" } else { " " };
        Failure::new("pull", [&self.name, separator, object, ": ", why].concat())
    }
}
