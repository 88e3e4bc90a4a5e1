//! What a pull has brought.

use crate::disk::remove_tree;
use crate::image::pure::oci::ImageConfig;
use crate::layer::packed::Layer;
use crate::pure::digest::Digest;
use crate::report::Report;
use crate::store::journal::Journal;
use std::path::PathBuf;

/// An image that is complete in the store.
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Where the store is on a disk and has changed: what is not safe there yet.
    pub(super) journal: Option<Journal>,
    /// Folders of layers that no digest names: they go with this value.
    pub(super) extra: Vec<Temporary>,
}

impl Image {
    /// Begins to bring the image to the disk, while other things go on.
    pub fn sync(&self) {
        if let Some(journal) = &self.journal {
            journal.start();
        }
    }

    /// Returns when it is there.
    pub fn synced(&self, report: &Report) {
        finish(self.journal.as_ref(), report);
    }
}

/// Waits until the journal is done, and says so where it cannot be.
pub(super) fn finish(journal: Option<&Journal>, report: &Report) {
    if let Some(Err(error)) = journal.map(Journal::finish) {
        let what = "the image may not be on the disk: after a power cut it is fetched again";
        report.warn("store", format_args!("{error}: {what}"));
    }
}

/// A folder that goes with this value.
pub struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What stays is removed when a store is opened next.
        let _ = remove_tree::tree(&self.0);
    }
}
