//! The store: complete layers by chain ID, image records, and what is half done.
//!
//! ```text
//! ocinit-store   the mark that makes the directory ours, with the version of this format
//! layers/HEX     one folder a layer, named by its chain ID (OCI image spec,
//!                config.md): what a layer's folder holds may depend on the
//!                layers below it (implied parents, hardlinks)
//! blobs/HEX      one folder a layer that needs no unpacking, named by its
//!                digest, which is its diff ID: it depends on nothing
//! compressed/HEX a layer's blob as it came, by its digest: kept where images must be signed, since it is all that can
//!                be checked again; `tmp/N/layers` and `tmp/N/blobs` then have what was made of it in this boot
//! configs/HEX    image configurations, what signs images, and the manifests that were signed, by digest
//! images/NAME    image name → digests of its configuration and manifest
//! tmp/N/         what a process makes: renamed when complete; and `pull.HEX`, what is not on the disk yet
//! containers/N/  upper and work folders of a container that runs
//! volumes/NAME   a named volume's content; `.ocinit` has one that is being filled
//! empty/         two folders with nothing in them, to pad what overlayfs stacks
//! ```
//!
//! Whoever has a folder N holds its lock (flock(2)): one whose lock is free was
//! left by a process that was killed, or by an earlier boot, and is removed.
//!
//! Only root enters it: layers hold set-user-ID programs and device nodes. It may
//! have come on a disk from another machine, so nothing in it is followed that
//! leads elsewhere, and what is read has a limit.

use crate::disk::remove_tree;
use crate::layer::error::Error as LayerError;
use crate::layer::packed::{self, Layer};
use crate::pure::digest::Digest;
use crate::report::{Failure, Outcome, Report};
pub use crate::store::aside::Aside;
pub use crate::store::claim::Claim;
use crate::store::record::Record;
use crate::store::{aside, claim, dir, mark};
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, io_text, machine, mount};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{symlink, DirBuilderExt};
use std::path::{Path, PathBuf};

/// Where a machine's own is, in memory or on the disk.
pub const STORE: &str = "/var/lib/ocinit";

/// An open store.
pub struct Store {
    root: PathBuf,
    /// The directory `root`.
    dir: OwnedFd,
    /// On a disk: what is complete is to outlive a power cut, or to be gone after it.
    pub(super) durable: bool,
    pub(super) tmp: Claim,
}

const FOLDERS: [&CStr; 9] =
    [c"layers", c"blobs", c"compressed", c"configs", c"images", c"volumes", c"empty", c"empty/0", c"empty/1"];
/// Those that hold folders with a lock.
const CLAIMED: [&str; 2] = ["containers", "tmp"];
/// The largest document that is kept: what a registry may send as a manifest or a configuration (OCI distribution
/// spec).
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// A record has four digests at most.
const RECORD_BYTES_MAX: u64 = 512;

impl Store {
    /// Opens the store in `root`, makes what is missing and removes what nobody
    /// holds any more. What cannot be removed stays: that is a warning only. A
    /// directory that is somebody else's is left as it is.
    pub fn open(root: &Path, durable: bool, report: &Report) -> io::Result<Store> {
        if !root.is_dir() {
            make(root)?;
        }
        let root = root.canonicalize()?;
        let dir = dir::at(&root)?;
        // One at a time: what a journal undoes is not there for others.
        let _alone = dir::lock(dir.as_fd())?;
        mark::own(dir.as_fd())?;
        if sysfs::statat(dir.as_fd(), c"")?.mode & 0o077 != 0 {
            sysfs::fchmod(dir.as_fd(), 0o700)?;
        }
        for name in FOLDERS {
            let folder = dir::make(dir.as_fd(), name)?;
            if name.to_bytes().starts_with(b"empty/") && !dir::names(folder.as_fd())?.is_empty() {
                return Err(io::Error::other(["'", &name.to_string_lossy(), "' is not empty"].concat()));
            }
            if name == c"volumes" {
                aside::collect(folder.as_fd())?;
            }
        }
        for name in CLAIMED {
            let folder = dir::make(dir.as_fd(), &dir::c_name(&[name]))?;
            claim::collect(dir.as_fd(), folder.as_fd(), &root.join(name), report)?;
        }
        let tmp = claim(dir.as_fd(), &root, "tmp")?;
        Ok(Store { root, dir, durable, tmp })
    }

    /// Opens the machine's own store. A disk that has none, and on which none
    /// can be made, is unmounted: the store is then in memory.
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

    /// A complete layer: unpacked, by its chain ID, or as it came, by its diff ID.
    pub fn layer(&self, chain: &Digest, diff_id: &Digest) -> Option<Layer> {
        let unpacked = self.complete("layers", chain).ok().map(Layer::Directory);
        unpacked.or_else(|| self.complete("blobs", diff_id).ok().map(Layer::Blob))
    }

    /// The folder of a complete layer.
    fn complete(&self, folder: &str, name: &Digest) -> io::Result<PathBuf> {
        let path = [folder, "/", &name.hex()].concat();
        let name = dir::c_name(&[&path]);
        dir::open(self.dir.as_fd(), &name).map_err(|error| dir::refused(&name, error))?;
        Ok(self.root.join(path))
    }

    /// An empty folder for a layer in the making.
    pub fn begin_layer(&self, chain: &Digest) -> io::Result<PathBuf> {
        let path = self.tmp.join(chain.hex());
        remove_tree::tree(&path)?;
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// A layer that this process has made, if it is to trust no other.
    pub fn own_layer(&self, chain: &Digest, diff_id: &Digest) -> Option<Layer> {
        let own =
            |folder: &str, name: &Digest| Some(self.tmp.join(folder).join(name.hex())).filter(|path| path.is_dir());
        own("layers", chain).map(Layer::Directory).or_else(|| own("blobs", diff_id).map(Layer::Blob))
    }

    /// As [`Store::commit_layer`] and [`Store::commit_blob`], for [`Store::own_layer`].
    pub fn commit_own(&self, made: &Path, folder: &str, name: &Digest) -> io::Result<PathBuf> {
        let parent = self.tmp.join(folder);
        fs::create_dir_all(&parent)?;
        let path = parent.join(name.hex());
        match path.is_dir() {
            true => remove_tree::tree(made)?,
            false => fs::rename(made, &path)?,
        }
        Ok(path)
    }

    /// A blob that was kept as it came; its digest is to be checked.
    pub fn compressed(&self, digest: &Digest) -> Option<File> {
        dir::open_file(self.dir.as_fd(), &dir::c_name(&["compressed/", &digest.hex()])).ok()
    }

    /// A file for a blob to be kept.
    pub fn begin_compressed(&self, digest: &Digest) -> io::Result<File> {
        Ok(dir::create(self.tmp.dir(), &dir::c_name(&[&digest.hex(), ".blob"]))?)
    }

    /// Keeps the blob of [`Store::begin_compressed`]; one that does not come to be there is fetched again.
    pub fn commit_compressed(&self, digest: &Digest, complete: bool) {
        let made = dir::c_name(&[&digest.hex(), ".blob"]);
        let to = dir::c_name(&["compressed/", &digest.hex()]);
        if !complete || sysfs::renameat(self.tmp.dir(), &made, self.dir.as_fd(), &to).is_err() {
            let _ = sysfs::unlinkat(self.tmp.dir(), &made);
        }
    }

    /// Gives up a kept blob that is not what it should be.
    pub fn drop_compressed(&self, digest: &Digest) {
        let _ = sysfs::unlinkat(self.dir.as_fd(), &dir::c_name(&["compressed/", &digest.hex()]));
    }

    /// Makes the folder of [`Store::begin_layer`] a complete layer.
    pub fn commit_layer(&self, made: &Path, chain: &Digest) -> io::Result<Layer> {
        self.commit(made, "layers", chain).map(Layer::Directory)
    }

    /// Makes the folder of [`Store::begin_layer`] a layer that is kept as it is, in its file [`packed::BLOB`].
    pub fn commit_blob(&self, made: &Path, digest: &Digest, report: &Report) -> Result<Layer, LayerError> {
        packed::complete(made, &self.tmp, report)?;
        let committed = self.commit(made, "blobs", digest).map_err(|error| sys::Error::from_io("rename", &error))?;
        Ok(Layer::Blob(committed))
    }

    fn commit(&self, made: &Path, folder: &str, name: &Digest) -> io::Result<PathBuf> {
        let to = dir::c_name(&[folder, "/", &name.hex()]);
        let renamed = sysfs::renameat(sysfs::CWD, &c_path(made)?, self.dir.as_fd(), &to);
        match (renamed, self.complete(folder, name)) {
            (Ok(()), path) => path,
            // Another process was faster; its layer is the same.
            (Err(_), Ok(path)) => remove_tree::tree(made).map(|()| path),
            (Err(error), Err(missing)) if missing.kind() == io::ErrorKind::NotFound => Err(error.into()),
            (Err(_), refused) => refused,
        }
    }

    /// The folder of named volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The same store once more, with a claim of its own: for a process that
    /// works beside this one. Removes what one has left that was killed.
    pub fn another(&self, report: &Report) -> io::Result<Store> {
        Store::open(&self.root, self.durable, report)
    }

    /// Whether it is on a disk.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// What was written to the store is on its disk when this returns.
    pub fn flush(&self) -> io::Result<()> {
        if !self.durable {
            return Ok(());
        }
        Ok(machine::syncfs(self.dir.as_fd())?)
    }

    /// A folder of this process's own, for what need not stay.
    pub fn scratch(&self) -> &Path {
        &self.tmp
    }

    /// Gives up the folder of [`Store::begin_layer`].
    pub fn abandon(&self, made: &Path) {
        // What stays is removed when a store is opened next.
        let _ = remove_tree::tree(made);
    }

    /// Its digest is to be checked: a power cut may have cut it short.
    pub fn config(&self, digest: &Digest) -> Option<Vec<u8>> {
        dir::read(self.dir.as_fd(), &dir::c_name(&["configs/", &digest.hex()]), DOCUMENT_BYTES_MAX).ok()
    }

    pub fn put_config(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.write("configs/", &digest.hex(), bytes)
    }

    /// What was last pulled by `name`.
    pub fn image(&self, name: &str) -> Option<Record> {
        let name = dir::c_name(&["images/", &file_name(name)?]);
        let text = dir::read(self.dir.as_fd(), &name, RECORD_BYTES_MAX).ok()?;
        Record::parse(std::str::from_utf8(&text).ok()?)
    }

    pub fn put_image(&self, name: &str, record: &Record) -> io::Result<()> {
        let Some(file) = file_name(name) else { return Ok(()) };
        self.write("images/", &file, [&record.text(), "\n"].concat().as_bytes())
    }

    /// An empty folder for a container that runs, with `upper` and `work` in it: until [`Claim::end`].
    pub fn begin_container(&self) -> io::Result<Claim> {
        let claim = claim(self.dir.as_fd(), &self.root, "containers")?;
        for part in [c"upper", c"work", c"root"] {
            sysfs::mkdirat(claim.dir(), part, 0o777)?;
        }
        symlink(self.root.join("empty"), claim.join("empty"))?;
        Ok(claim)
    }

    /// Where the folders of containers that run are.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// Whole or not at all.
    fn write(&self, folder: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(self.dir.as_fd(), &dir::c_name(&[folder, name]), self.tmp.dir(), bytes)
    }
}

/// Makes `root`, for its owner alone, and what is missing above it.
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

/// Gives the file `path` below `dir` this content, by way of one in `scratch`.
pub(super) fn replace(dir: BorrowedFd<'_>, path: &CStr, scratch: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let name = path.to_bytes_with_nul().rsplit(|byte| *byte == b'/').next();
    let name = name.and_then(|name| CStr::from_bytes_with_nul(name).ok()).unwrap_or_default();
    let written = dir::create(scratch, name).map_err(Into::into).and_then(|mut file| file.write_all(bytes));
    let renamed = written.and_then(|()| Ok(sysfs::renameat(scratch, name, dir, path)?));
    if renamed.is_err() {
        let _ = sysfs::unlinkat(scratch, name);
    }
    renamed
}

/// An image's name as a file's: slashes have no place there. Names that are
/// too long for one are not recorded: such an image is pulled each time.
pub(super) fn file_name(name: &str) -> Option<String> {
    let file = name.replace('%', "%25").replace('/', "%2F");
    (file.len() <= 200 && !file.starts_with('.')).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Report = Report { sections: false, times: false, quiet: true };

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
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
