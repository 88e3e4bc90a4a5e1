//! The result of a pull.

use crate::disk::remove_tree;
use crate::image::pure::oci::ImageConfig;
use crate::layer::packed::Layer;
use crate::pure::digest::Digest;
use crate::report::Report;
use crate::store::journal::Journal;
use std::path::PathBuf;

/// An image that is complete in the store.
pub struct Image {
    /// The digest of its configuration: podman's image ID.
    pub id: Digest,
    /// The digest that a registry's name can be pinned to: of the index if the tag leads to one, else of the manifest.
    pub manifest: Option<Digest>,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// What is not yet safely on the disk, if the store is on one and has changed.
    pub(super) journal: Option<Journal>,
    /// Directories of layers without a digest; they are removed when this value is dropped.
    pub(super) extra: Vec<Temporary>,
}

impl Image {
    /// Starts to write the image to the disk in the background.
    pub fn sync(&self) {
        if let Some(journal) = &self.journal {
            journal.start();
        }
    }

    /// Its layers stay when this value is gone, also those without a digest.
    pub fn keep(self) {
        self.extra.into_iter().for_each(std::mem::forget);
    }

    /// Returns when the image is on the disk.
    pub fn synced(&self, report: &Report) {
        finish(self.journal.as_ref(), report);
    }
}

/// Waits until the journal is done; warns if it fails.
pub(super) fn finish(journal: Option<&Journal>, report: &Report) {
    if let Some(Err(error)) = journal.map(Journal::finish) {
        let what = "the image may not be on the disk: after a power cut it is fetched again";
        report.warn("store", format_args!("{error}: {what}"));
    }
}

/// A directory that is removed when this value is dropped.
pub struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // The next one to open the store removes what stays.
        let _ = remove_tree::tree(&self.0);
    }
}
