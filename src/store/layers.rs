//! The store: complete layers by chain ID, image records, and what is being made.
//!
//! ```text
//! ocinit-store   the marker that makes the directory ours, with the version of this format
//! layers/HEX     a directory for each layer, named by its chain ID (OCI image spec, config.md): its content may depend
//!                on the layers below it (implied parents, hardlinks)
//! blobs/HEX      a directory for each layer that is mounted as it is, named by its digest, which is its diff ID: it
//!                depends on no other layer
//! compressed/HEX a layer's blob as it was fetched, by its digest: kept where images must be signed, since nothing else
//!                can be checked again; `tmp/N/layers` and `tmp/N/blobs` then have what was made of it in this boot
//! configs/HEX    image configurations, signatures and their manifests, and the manifests that were signed, by digest
//! images/NAME    image name -> digests of its configuration and manifest
//! tmp/N/         what a process makes: renamed when complete; and `pull.HEX`, the journal of a pull
//! containers/N/  upper and work directories of a running container
//! volumes/NAME   a named volume's content; `.ocinit` has one that is being filled
//! empty/         two empty directories: overlayfs needs two lower layers where an image has fewer
//! ```
//!
//! A process that uses a directory N holds its lock (flock(2)). One whose lock is free was left by a process that was
//! killed, or by an earlier boot, and is removed.
//!
//! Only root may enter the store: layers hold set-user-ID programs and device nodes. It may have come on a disk from
//! another machine, so nothing in it is followed that leads out of it, and what is read has a limit.

use crate::disk::remove_tree;
use crate::layer::error::Error as LayerError;
use crate::layer::packed::{self, Layer};
use crate::pure::digest::Digest;
use crate::report::{Failure, Outcome, Report};
use crate::store::claim::Claim;
use crate::store::journal::Journal;
use crate::store::record::{self, Record};
use crate::store::{claim, dir, marker, staging};
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, io_text, machine, mount};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{symlink, DirBuilderExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Where the machine's own store is, in memory or on the disk.
pub const STORE: &str = "/var/lib/ocinit";

/// An open store.
pub struct Store {
    root: PathBuf,
    /// The directory `root`.
    dir: OwnedFd,
    /// The store is on a disk: after a power cut what was complete is still complete, or gone.
    durable: bool,
    tmp: Claim,
    /// Layers that the pulls of this process were to add, and those that it has added.
    missing: AtomicUsize,
    added: AtomicUsize,
}

const DIRECTORIES: [&CStr; 9] =
    [c"layers", c"blobs", c"compressed", c"configs", c"images", c"volumes", c"empty", c"empty/0", c"empty/1"];
/// The directories that hold claimed ones.
const CLAIMED: [&str; 2] = ["containers", "tmp"];
/// The largest document that is kept: what a registry may send as a manifest or a configuration (OCI distribution
/// spec).
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// A record has four digests at most.
const RECORD_BYTES_MAX: u64 = 512;

impl Store {
    /// Opens the store in `root`, makes what is missing and removes what no process has claimed any more. What cannot
    /// be removed stays, with a warning. A directory that is not ours is an error, and does not change.
    pub fn open(root: &Path, durable: bool, report: &Report) -> io::Result<Store> {
        if !root.is_dir() {
            make(root)?;
        }
        let root = root.canonicalize()?;
        let dir = dir::at(&root)?;
        // One process at a time, so that no other finds what a journal undoes.
        let _alone = dir::lock(dir.as_fd())?;
        marker::own(dir.as_fd())?;
        if sysfs::statat(dir.as_fd(), c"")?.mode & 0o077 != 0 {
            sysfs::fchmod(dir.as_fd(), 0o700)?;
        }
        for name in DIRECTORIES {
            let made = dir::make(dir.as_fd(), name)?;
            if name.to_bytes().starts_with(b"empty/") && !dir::names(made.as_fd())?.is_empty() {
                return Err(io::Error::other(["'", &name.to_string_lossy(), "' is not empty"].concat()));
            }
            if name == c"volumes" {
                staging::collect(made.as_fd())?;
            }
        }
        for name in CLAIMED {
            let parent = dir::make(dir.as_fd(), &dir::c_name(&[name]))?;
            claim::collect(dir.as_fd(), parent.as_fd(), &root.join(name), report)?;
        }
        let tmp = claim(dir.as_fd(), &root, "tmp")?;
        Ok(Store { root, dir, durable, tmp, missing: AtomicUsize::new(0), added: AtomicUsize::new(0) })
    }

    /// Opens the machine's own store. If the disk has none and none can be made on it, it is unmounted, and the store
    /// is in memory.
    pub fn at_boot(on_disk: bool, report: &Report) -> Outcome<Store> {
        let root = Path::new(STORE);
        let failure = |error: io::Error| Failure::new("store", [STORE, ": ", &io_text(&error)].concat());
        match Store::open(root, on_disk, report) {
            Err(error) if on_disk => {
                let why = io_text(&error);
                c_path(root).and_then(|path| mount::umount(&path, mount::MNT_DETACH)).map_err(|_| failure(error))?;
                report.warn("store", format_args!("{STORE}: {why}; the disk is left alone, images are kept in memory"));
                fs::create_dir_all(root).and_then(|()| Store::open(root, false, report)).map_err(failure)
            }
            result => result.map_err(failure),
        }
    }

    /// A complete layer: unpacked, by its chain ID, or packed, by its diff ID.
    pub fn layer(&self, chain: &Digest, diff_id: &Digest) -> Option<Layer> {
        let unpacked = self.complete("layers", chain).ok().map(Layer::Directory);
        unpacked.or_else(|| self.complete("blobs", diff_id).ok().map(Layer::Blob))
    }

    /// The directory of a complete layer.
    fn complete(&self, part: &str, name: &Digest) -> io::Result<PathBuf> {
        let path = [part, "/", &name.hex()].concat();
        let name = dir::c_name(&[&path]);
        dir::open(self.dir.as_fd(), &name).map_err(|error| dir::refused(&name, error))?;
        Ok(self.root.join(path))
    }

    /// An empty directory for a layer that is to be made.
    pub fn begin_layer(&self, chain: &Digest) -> io::Result<PathBuf> {
        let path = self.tmp.join(chain.hex());
        remove_tree::tree(&path)?;
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// A complete layer of [`Store::commit_own`].
    pub fn own_layer(&self, chain: &Digest, diff_id: &Digest) -> Option<Layer> {
        let own = |part: &str, name: &Digest| Some(self.tmp.join(part).join(name.hex())).filter(|path| path.is_dir());
        own("layers", chain).map(Layer::Directory).or_else(|| own("blobs", diff_id).map(Layer::Blob))
    }

    /// As [`Store::commit_layer`] and [`Store::commit_blob`], but for this process alone: where images must be signed,
    /// layers that another boot has unpacked are not trusted. `part` is `layers` or `blobs`.
    pub fn commit_own(&self, made: &Path, part: &str, name: &Digest) -> io::Result<PathBuf> {
        let parent = self.tmp.join(part);
        fs::create_dir_all(&parent)?;
        let path = parent.join(name.hex());
        match path.is_dir() {
            true => remove_tree::tree(made)?,
            false => fs::rename(made, &path)?,
        }
        Ok(path)
    }

    /// A blob that was kept as it was fetched. The caller must check its digest.
    pub fn compressed(&self, digest: &Digest) -> Option<File> {
        dir::open_file(self.dir.as_fd(), &dir::c_name(&["compressed/", &digest.hex()])).ok()
    }

    /// A file for a blob to be kept.
    pub fn begin_compressed(&self, digest: &Digest) -> io::Result<File> {
        Ok(dir::create(self.tmp.dir(), &dir::c_name(&[&digest.hex(), ".blob"]))?)
    }

    /// Keeps the blob of [`Store::begin_compressed`]. If that fails, it is fetched again in the next boot.
    pub fn commit_compressed(&self, digest: &Digest, complete: bool) {
        let made = dir::c_name(&[&digest.hex(), ".blob"]);
        let to = dir::c_name(&["compressed/", &digest.hex()]);
        if !complete || sysfs::renameat(self.tmp.dir(), &made, self.dir.as_fd(), &to).is_err() {
            let _ = sysfs::unlinkat(self.tmp.dir(), &made);
        }
    }

    /// Removes a kept blob whose digest is wrong.
    pub fn drop_compressed(&self, digest: &Digest) {
        let _ = sysfs::unlinkat(self.dir.as_fd(), &dir::c_name(&["compressed/", &digest.hex()]));
    }

    /// Makes the directory of [`Store::begin_layer`] a complete layer.
    pub fn commit_layer(&self, made: &Path, chain: &Digest) -> io::Result<Layer> {
        self.commit(made, "layers", chain).map(Layer::Directory)
    }

    /// Makes the directory of [`Store::begin_layer`] a layer that is kept packed, in its file [`packed::BLOB`].
    pub fn commit_blob(&self, made: &Path, digest: &Digest, report: &Report) -> Result<Layer, LayerError> {
        packed::complete(made, &self.tmp, report)?;
        let committed = self.commit(made, "blobs", digest).map_err(|error| sys::Error::from_io("rename", &error))?;
        Ok(Layer::Blob(committed))
    }

    fn commit(&self, made: &Path, part: &str, name: &Digest) -> io::Result<PathBuf> {
        let to = dir::c_name(&[part, "/", &name.hex()]);
        let renamed = sysfs::renameat(sysfs::CWD, &c_path(made)?, self.dir.as_fd(), &to);
        let added = match (renamed, self.complete(part, name)) {
            (Ok(()), path) => path,
            // Another process was faster, and its layer is the same.
            (Err(_), Ok(path)) => remove_tree::tree(made).map(|()| path),
            (Err(error), Err(missing)) if missing.kind() == io::ErrorKind::NotFound => Err(error.into()),
            (Err(_), refused) => refused,
        };
        self.added.fetch_add(usize::from(added.is_ok()), Ordering::Relaxed);
        added
    }

    /// How many layers the pulls of this process have added, and were to add.
    pub fn added(&self) -> (usize, usize) {
        (self.added.load(Ordering::Relaxed), self.missing.load(Ordering::Relaxed))
    }

    /// The directory of named volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Opens the same store again, with a claim of its own: for a process that works at the same time as this one.
    /// Removes what such a process has left that was killed.
    pub fn reopen(&self, report: &Report) -> io::Result<Store> {
        Store::open(&self.root, self.durable, report)
    }

    /// Whether it is on a disk.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// Returns when what was written to the store is on its disk.
    pub fn flush(&self) -> io::Result<()> {
        if !self.durable {
            return Ok(());
        }
        Ok(machine::syncfs(self.dir.as_fd())?)
    }

    /// A directory of this process's own, removed with this value.
    pub fn scratch(&self) -> &Path {
        &self.tmp
    }

    /// Removes the directory of [`Store::begin_layer`].
    pub fn abandon(&self, made: &Path) {
        // What stays is removed by the next opening of the store.
        let _ = remove_tree::tree(made);
    }

    /// A document of [`Store::put_config`]. The caller must check its digest: a power cut may have truncated it.
    pub fn config(&self, digest: &Digest) -> Option<Vec<u8>> {
        dir::read(self.dir.as_fd(), &dir::c_name(&["configs/", &digest.hex()]), DOCUMENT_BYTES_MAX).ok()
    }

    pub fn put_config(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.write("configs/", &digest.hex(), bytes)
    }

    /// The image that was last pulled as `name`.
    pub fn image(&self, name: &str) -> Option<Record> {
        let name = dir::c_name(&["images/", &record::file_name(name)?]);
        let text = dir::read(self.dir.as_fd(), &name, RECORD_BYTES_MAX).ok()?;
        Record::parse(std::str::from_utf8(&text).ok()?)
    }

    pub fn put_image(&self, name: &str, record: &Record) -> io::Result<()> {
        let Some(file) = record::file_name(name) else { return Ok(()) };
        self.write("images/", &file, [&record.text(), "\n"].concat().as_bytes())
    }

    /// Begins a pull of the image `name` by a journal of what it will change: the image's record, and the `missing`
    /// layers (chain ID and diff ID). No journal where the store is in memory.
    pub fn begin_pull(
        &self,
        name: &str,
        config: &Digest,
        missing: &mut dyn Iterator<Item = (Digest, Digest)>,
    ) -> io::Result<Option<Journal>> {
        if !self.durable {
            return Ok(None);
        }
        let mut lines = Vec::new();
        if let Some(file) = record::file_name(name) {
            let before = self.image(name).map(|record| record.text()).unwrap_or_default();
            lines.push(["image ", &file, " ", &before, "\n"].concat());
        }
        for (chain, diff_id) in missing {
            self.missing.fetch_add(1, Ordering::Relaxed);
            lines.push(["layers/", &chain.text(), "\nblobs/", &diff_id.text(), "\n"].concat());
        }
        // An earlier pull of the same image may not be on the disk yet.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        Journal::begin(self.tmp.dir(), &[&config.hex(), ".", &number].concat(), &lines).map(Some)
    }

    /// A directory for a container, with empty `upper`, `work` and `root` in it, until [`Claim::end`].
    pub fn begin_container(&self) -> io::Result<Claim> {
        let claim = claim(self.dir.as_fd(), &self.root, "containers")?;
        for part in [c"upper", c"work", c"root"] {
            sysfs::mkdirat(claim.dir(), part, 0o777)?;
        }
        symlink(self.empty(), claim.join("empty"))?;
        Ok(claim)
    }

    /// The directory of two empty directories, for overlayfs.
    pub fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    /// The directory of the directories of running containers.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// Writes all of a file, or nothing.
    fn write(&self, part: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        dir::replace(self.dir.as_fd(), &dir::c_name(&[part, name]), self.tmp.dir(), bytes)
    }
}

/// Makes `root`, with access for its owner alone, and its parents where they are missing.
fn make(root: &Path) -> io::Result<()> {
    if let Some(above) = root.parent() {
        fs::create_dir_all(above)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn claim(dir: BorrowedFd<'_>, root: &Path, name: &str) -> io::Result<Claim> {
    Claim::new(dir::make(dir, &dir::c_name(&[name]))?, &root.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Report = Report { sections: false, times: false, quiet: true, live: false };

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_nobody_holds_is_removed_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path(), false, &QUIET).unwrap();
        let held = first.begin_container().unwrap();
        fs::create_dir_all(dir.path().join("containers/7/upper/left")).unwrap();
        fs::create_dir_all(dir.path().join("tmp/7/left")).unwrap();
        fs::write(dir.path().join("tmp/left.123"), "x").unwrap();
        let second = Store::open(dir.path(), false, &QUIET).unwrap();
        assert!(held.join("upper").is_dir());
        assert_eq!((names(&dir.path().join("containers")), names(&dir.path().join("tmp"))), (1, 2));
        held.end().unwrap();
        drop((first, second));
        assert_eq!((names(&dir.path().join("containers")), names(&dir.path().join("tmp"))), (0, 0));
    }

    /// Promise: killed-runs
    #[test]
    fn a_container_too_deep_for_descriptors_does_not_keep_the_store_shut() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), false, &QUIET).unwrap());
        let upper = dir.path().join("containers/0/upper");
        fs::create_dir_all(upper.join("in")).unwrap();
        for _ in 0..1500 {
            fs::create_dir(upper.join("out")).unwrap();
            fs::rename(upper.join("in"), upper.join("out/in")).unwrap();
            fs::rename(upper.join("out"), upper.join("in")).unwrap();
        }
        Store::open(dir.path(), false, &QUIET).unwrap();
        assert_eq!(names(&dir.path().join("containers")), 0);
    }
}
