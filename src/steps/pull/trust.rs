//! What `b2c.verify_key` covers: with keys, nothing runs that no signature and no digest of the line speaks of, back to
//! the bytes on the disk. An unpacked layer cannot be compared with what was signed, so those of an earlier boot are not
//! used: what is kept are the blobs as they came, which are hashed and unpacked anew in each boot.

use super::resolve::{chosen, Resolved};
use super::{hash, Pull};
use crate::proto::digest::Digest;
use crate::proto::flags::asked;
use crate::proto::flags::Container;
use crate::proto::oci::{self, Document};
use crate::proto::reference::Reference;
use crate::steps::source::{Error, Fetched};
use crate::steps::store::{Store, STORE};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const HINT: &str = "with b2c.verify_key= only what is signed, has a digest or lies in the initramfs is run";

/// Whether `path` is a file or directory of the initramfs: no disk, no share, and nothing that containers have written.
fn is_of_initramfs(path: &str) -> bool {
    let Ok(path) = Path::new(path).canonicalize() else { return false };
    let device = |path: &Path| fs::metadata(path).ok().map(|meta| meta.dev());
    let is_in_store = Path::new(STORE).canonicalize().is_ok_and(|store| path.starts_with(store));
    device(&path).is_some() && device(&path) == device(Path::new("/")) && !is_in_store
}

fn not_covered(what: &str) -> Error {
    Error { hint: Some(HINT), ..Error::refused(what) }
}

/// Whether an image that carries no signatures of its own may run where images must be signed.
pub fn check_image(line: &Container) -> Result<(), Error> {
    match &line.image {
        Reference::Registry(_) => Ok(()),
        Reference::Archive(archive) if archive.digest.is_some() => Ok(()),
        Reference::Archive(archive) if archive.is_remote() => {
            Err(not_covered("has no digest: write #sha256:... behind it"))
        }
        Reference::Archive(archive) if is_of_initramfs(&archive.place) => Ok(()),
        Reference::Layout { dir, .. } if is_of_initramfs(dir) => Ok(()),
        _ => Err(not_covered("is not of the initramfs, and nobody has signed it")),
    }
}

/// The same for a line's `--layer`.
pub fn check_layer(layer: &asked::Layer) -> Result<(), Error> {
    match layer.digest.is_some() || is_of_initramfs(&layer.source) {
        true => Ok(()),
        false => Err(not_covered("has no digest: write #sha256:... behind it")),
    }
}

/// A blob's bytes on their way, which are kept as they come.
pub struct Kept {
    inner: Fetched,
    /// None where they cannot be kept; then they are fetched again in the next boot.
    file: Option<File>,
}

impl Kept {
    /// The bytes of `inner`, kept in `store`.
    pub fn new(inner: Fetched, store: &Store, digest: &Digest) -> Kept {
        Kept { inner, file: store.begin_compressed(digest).ok() }
    }
}

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        if self.file.as_mut().is_some_and(|file| file.write_all(read).is_err()) {
            self.file = None;
        }
        Ok(count)
    }
}

impl Pull<'_> {
    /// What `signed`, a digest that a signature covers, leads to, by the documents that were kept.
    pub(super) fn resolve_kept(&self, signed: &Digest) -> Option<Resolved> {
        let mut digest = *signed;
        let mut digests = Vec::new();
        for _ in 0..=oci::INDEX_DEPTH_MAX {
            let bytes = self.store.config(&digest).filter(|bytes| hash(bytes) == digest)?;
            digests.push(digest);
            match oci::document(&bytes).ok()? {
                Document::Manifest { config, layers } => return Some(Resolved { digests, config, layers }),
                Document::Index(choices) => digest = chosen(&choices, self.line).ok()?,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_initramfs() {
        // Here the machine's root stands for the initramfs.
        assert!(is_of_initramfs("/") && is_of_initramfs("/usr/../usr"));
        for path in ["/proc/self/status", "/proc/self/root/proc/version", "/sys", "/none"] {
            assert!(!is_of_initramfs(path), "{path}");
        }
    }
}
