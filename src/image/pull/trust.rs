//! What `b2c.verify_key` covers. With keys, nothing runs unless a signature or a digest of the command line covers it,
//! the bytes on the disk included. An unpacked layer cannot be compared with what was signed, so layers of an earlier
//! boot are not used. The compressed blobs are kept instead, and each boot hashes and unpacks them again.

use crate::image::pull::resolve::{chosen, Resolved};
use crate::image::pure::oci::{self, Document};
use crate::image::pure::pull_options::{ExtraLayer, PullOptions};
use crate::image::pure::reference::Reference;
use crate::image::source::{BlobReader, Error};
use crate::layer::packed::{self, Layer};
use crate::pure::digest::{hash, Digest};
use crate::report::{Hint, Report};
use crate::store::layers::{Store, STORE};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const HINT: Hint = Hint::new("b2c.verify_key= allows only what is signed, has a digest, or is in the initramfs");

/// Whether `path` is a file or directory of the initramfs, and not of a disk, a share, or the store.
fn is_of_initramfs(path: &str) -> bool {
    let Ok(path) = Path::new(path).canonicalize() else { return false };
    let device = |path: &Path| fs::metadata(path).ok().map(|meta| meta.dev());
    let is_in_store = Path::new(STORE).canonicalize().is_ok_and(|store| path.starts_with(store));
    device(&path).is_some() && device(&path) == device(Path::new("/")) && !is_in_store
}

fn not_covered(what: &str) -> Error {
    Error::refused(what).hint(Some(HINT))
}

/// Whether an image that carries no signatures of its own may run where images must be signed.
pub fn check_image(options: &PullOptions) -> Result<(), Error> {
    match &options.image {
        Reference::Registry(_) => Ok(()),
        Reference::Archive(archive) if archive.digest.is_some() => Ok(()),
        Reference::Archive(archive) if archive.is_remote() => Err(not_covered("has no digest: append #sha256:...")),
        Reference::Archive(archive) if is_of_initramfs(&archive.location) => Ok(()),
        Reference::Layout { dir, .. } if is_of_initramfs(dir) => Ok(()),
        _ => Err(not_covered("is neither signed nor in the initramfs")),
    }
}

/// Whether a `--layer` may be used where images must be signed.
pub fn check_layer(layer: &ExtraLayer) -> Result<(), Error> {
    match layer.digest.is_some() || is_of_initramfs(&layer.source) {
        true => Ok(()),
        false => Err(not_covered("has no digest: append #sha256:...")),
    }
}

/// A layer's bytes: those of the `kept` file, or those that `fetch` returns, which are kept if `own` is set.
pub fn body(
    kept: Option<File>,
    own: bool,
    fetch: impl FnOnce() -> Result<BlobReader, Error>,
    digest: &Digest,
    store: &Store,
) -> Result<BlobReader, Error> {
    Ok(match kept {
        Some(file) => Box::new(file),
        None if own => Box::new(Kept { inner: fetch()?, file: store.begin_compressed(digest).ok() }),
        None => fetch()?,
    })
}

/// After a layer was read: keeps a fetched blob, and removes a kept one that is damaged.
pub fn keep_or_drop(was_kept: bool, is_good: bool, digest: &Digest, store: &Store) {
    match was_kept {
        false => store.commit_compressed(digest, is_good),
        true if !is_good => store.drop_compressed(digest),
        true => {}
    }
}

/// Makes the directory `made` a complete layer, for this process alone (`own`) or for all.
pub fn commit_layer(own: bool, made: &Path, chain: &Digest, store: &Store) -> io::Result<Layer> {
    match own {
        true => store.commit_own(made, "layers", chain).map(Layer::Directory),
        false => store.commit_layer(made, chain),
    }
}

/// Makes the blob in the directory `made` a complete layer, for this process alone (`own`) or for all.
pub fn commit_blob(own: bool, made: &Path, digest: &Digest, store: &Store, report: &Report) -> Result<Layer, Error> {
    if !own {
        return Ok(store.commit_blob(made, digest, report)?);
    }
    packed::complete(made, store.scratch(), report)?;
    store.commit_own(made, "blobs", digest).map(Layer::Blob).map_err(Error::local)
}

/// A reader of a blob that keeps the bytes it reads in a file.
struct Kept {
    inner: BlobReader,
    /// None if they cannot be kept; the next boot then fetches them again.
    file: Option<File>,
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

/// Resolves the digest of an index or a manifest by the kept documents.
pub fn resolve_kept(kept: &Digest, options: &PullOptions, store: &Store) -> Option<Resolved> {
    let mut digest = *kept;
    let mut digests = Vec::new();
    for _ in 0..=oci::INDEX_DEPTH_MAX {
        let bytes = store.config(&digest).filter(|bytes| hash(bytes) == digest)?;
        digests.push(digest);
        match oci::document(&bytes).ok()? {
            Document::Manifest { config, layers } => return Some(Resolved { digests, config, layers }),
            Document::Index(choices) => digest = chosen(&choices, options).ok()?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: signed-bytes
    #[test]
    fn places_of_the_initramfs() {
        // In this test the host's root takes the part of the initramfs.
        assert!(is_of_initramfs("/") && is_of_initramfs("/usr/../usr"));
        for path in ["/proc/self/status", "/proc/self/root/proc/version", "/sys", "/none"] {
            assert!(!is_of_initramfs(path), "{path}");
        }
    }
}
