//! OCI image layouts in a directory: `oci:DIR[:TAG]` (OCI image spec, image-layout.md).

use crate::files;
use crate::image::pure::archive;
use crate::image::pure::oci::{self, Descriptor, Document};
use crate::image::source::{BlobReader, Error, Source};
use crate::pure::digest::Digest;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The list of the layout's images.
pub(super) const INDEX: &str = "index.json";

/// An image layout in a directory.
#[derive(Clone)]
pub struct Layout {
    dir: PathBuf,
    tag: Option<String>,
}

impl Layout {
    pub fn new(dir: &str, tag: Option<&str>) -> Layout {
        Layout { dir: dir.into(), tag: tag.map(String::from) }
    }

    fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        open(&self.dir.join(blob_name(digest)))
    }

    /// The digest of the image that the reference selects.
    fn root(&self) -> Result<Digest, Error> {
        let index = read_limited(&mut open(&self.dir.join(INDEX))?)?;
        chosen(&index, self.tag.as_deref()).map_err(|error| error.of(INDEX))
    }
}

impl Source for Layout {
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        let digest = digest.map_or_else(|| self.root(), |digest| Ok(*digest))?;
        read_limited(&mut self.open_blob(&digest)?)
    }

    /// The digest in the layout's index.
    fn pinned_digest(&self) -> Option<Digest> {
        self.root().ok()
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        read_limited(&mut self.open_blob(&descriptor.digest)?)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        Ok(Box::new(self.open_blob(&descriptor.digest)?))
    }

    fn clone_box(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }
}

/// A blob's name in the layout.
pub(super) fn blob_name(digest: &Digest) -> String {
    ["blobs/sha256/", &digest.hex()].concat()
}

/// The digest of the image that `image` selects in an image layout's index.
pub(super) fn chosen(index: &[u8], image: Option<&str>) -> Result<Digest, Error> {
    let choices = match oci::document(index) {
        Ok(Document::Index(choices)) => choices,
        Ok(_) => return Err(Error::refused("is not an OCI index")),
        Err(error) => return Err(Error::refused(&error.text())),
    };
    // Without a name, entries that cannot be used leave no choice: they are for other tools.
    let mut usable = choices.iter().filter_map(|choice| choice.descriptor.as_ref().ok());
    if let (None, Some(only), None) = (image, usable.next(), usable.next()) {
        return Ok(only.digest);
    }
    let names: Vec<Vec<String>> = choices.iter().map(|choice| choice.ref_name.iter().cloned().collect()).collect();
    let at = archive::pick(&names, image).map_err(|why| Error::refused(&why))?;
    let choice = choices.get(at).ok_or_else(|| Error::refused("holds no image"))?;
    let descriptor = choice.descriptor.as_ref();
    descriptor.map(|descriptor| descriptor.digest).map_err(|error| Error::refused(&error.text()))
}

pub(super) fn open(path: &Path) -> Result<File, Error> {
    files::open(path).map_err(|why| Error::refused(&[&path.to_string_lossy(), ": ", &why].concat()))
}

/// Reads a document to its end.
pub(super) fn read_limited(source: &mut dyn Read) -> Result<Vec<u8>, Error> {
    let read = files::read_stream(source, oci::DOCUMENT_MAX).map_err(Error::local)?;
    read.ok_or_else(|| Error::refused(&["the document is ", &files::too_large(oci::DOCUMENT_MAX)].concat()))
}
