//! OCI image layouts in a folder: `oci:DIR[:TAG]` (OCI image spec, image-layout.md).

use super::source::{Error, Fetched, Source};
use crate::proto::digest::Digest;
use crate::proto::oci::{self, Choice, Descriptor, Document};
use crate::sys::io_text;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// An image layout in a folder.
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
        open(&self.dir.join("blobs/sha256").join(digest.hex()))
    }

    /// The index's only image, or the one with our tag.
    fn root(&self) -> Result<Digest, Error> {
        let index = read_limited(open(&self.dir.join("index.json"))?)?;
        let Ok(Document::Index(choices)) = oci::document(&index) else {
            return Err(Error::refused("index.json is no OCI index"));
        };
        let fits = |choice: &&Choice| self.tag.is_none() || choice.ref_name == self.tag;
        let mut found = choices.iter().filter(fits);
        match (found.next(), found.next(), &self.tag) {
            (Some(only), None, _) => Ok(only.descriptor.digest),
            (Some(first), Some(_), Some(_)) => Ok(first.descriptor.digest),
            (Some(_), Some(_), None) => Err(Error::refused("the folder holds several images: write oci:DIR:TAG")),
            (None, ..) => Err(Error::refused("the folder holds no such image")),
        }
    }
}

impl Source for Layout {
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        let digest = digest.map_or_else(|| self.root(), |digest| Ok(*digest))?;
        read_limited(self.open_blob(&digest)?)
    }

    /// What the folder's index says.
    fn wanted(&self) -> Option<Digest> {
        self.root().ok()
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        read_limited(self.open_blob(&descriptor.digest)?)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        Ok(Box::new(self.open_blob(&descriptor.digest)?))
    }

    fn another(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| Error::refused(&[&path.to_string_lossy(), ": ", &io_text(&error)].concat()))
}

fn read_limited(file: File) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(oci::DOCUMENT_MAX + 1).read_to_end(&mut bytes).map_err(|error| Error::refused(&io_text(&error)))?;
    if bytes.len() as u64 > oci::DOCUMENT_MAX {
        return Err(Error::refused("the document is larger than 4 MiB"));
    }
    Ok(bytes)
}
