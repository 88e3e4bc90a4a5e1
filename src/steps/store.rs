//! The store: complete layers by chain ID, image records, and what is half done.
//!
//! ```text
//! layers/HEX     one folder a layer, named by its chain ID (OCI image spec,
//!                config.md): what a layer's folder holds may depend on the
//!                layers below it (implied parents, hardlinks)
//! blobs/HEX      one folder a layer that needs no unpacking, named by its
//!                digest, which is its diff ID: it depends on nothing
//! configs/HEX    image configurations and what signs images, by digest
//! images/NAME    image name → digests of its configuration and manifest
//! tmp/N/         what a process makes: renamed when complete; and `pull.HEX`, what is not on the disk yet
//! containers/N/  upper and work folders of a container that runs
//! volumes/NAME   a named volume's content; `.NAME` is one that is being filled
//! empty/         two folders with nothing in them, to pad what overlayfs stacks
//! ```
//!
//! Whoever has a folder N holds its lock (flock(2)): one whose lock is free was
//! left by a process that was killed, or by an earlier boot, and is removed.

pub mod journal;
pub mod record;

use super::cache;
use super::layer::{self, Layer};
use super::remove;
use super::rootfs::c_path;
use crate::proto::digest::Digest;
use crate::report::{Failure, Outcome, Report};
use crate::sys::{self, io_text, mount};
use record::Record;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::{Path, PathBuf};

/// An open store.
pub struct Store {
    root: PathBuf,
    /// On a disk: what is complete is to outlive a power cut, or to be gone after it.
    durable: bool,
    tmp: Claim,
}

const FOLDERS: [&str; 8] = ["layers", "blobs", "configs", "images", "tmp", "containers", "empty/0", "empty/1"];
/// Those that hold folders with a lock.
const CLAIMED: [&str; 2] = ["tmp", "containers"];

impl Store {
    /// Opens the store in `root`, makes what is missing and removes what nobody
    /// holds any more. What cannot be removed stays: that is a warning only.
    pub fn open(root: &Path, durable: bool, report: &Report) -> io::Result<Store> {
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder))?;
        }
        let root = root.canonicalize()?;
        // One at a time: what a journal undoes is not there for others.
        let lock = File::open(&root)?;
        sys::fs::lock_exclusive(lock.as_fd()).map_err(|error| io::Error::from_raw_os_error(error.errno))?;
        for folder in CLAIMED {
            collect(&root, &root.join(folder), report);
        }
        let tmp = Claim::new(&root.join("tmp"))?;
        Ok(Store { root, durable, tmp })
    }

    /// Opens the machine's own store. A disk that has none, and on which none
    /// can be made, is unmounted: the store is then in memory.
    pub fn at_boot(on_disk: bool, report: &Report) -> Outcome<Store> {
        let root = Path::new(cache::STORE);
        let failure = |error: io::Error| Failure::new("store", [cache::STORE, ": ", &io_text(&error)].concat());
        match Store::open(root, on_disk, report) {
            Err(error) if on_disk => {
                let why = io_text(&error);
                c_path(root).and_then(|path| mount::umount(&path, mount::MNT_DETACH)).map_err(|_| failure(error))?;
                let place = cache::STORE;
                report.warn("store", format_args!("{place}: {why}; the disk is left alone, images are kept in memory"));
                fs::create_dir_all(root).and_then(|()| Store::open(root, false, report)).map_err(failure)
            }
            result => result.map_err(failure),
        }
    }

    /// A complete layer: unpacked, by its chain ID, or as it came, by its diff ID.
    pub fn layer(&self, chain: &Digest, diff_id: &Digest) -> Option<Layer> {
        let folder = self.root.join("layers").join(chain.hex());
        if folder.is_dir() {
            return Some(Layer::Folder(folder));
        }
        let blob = self.root.join("blobs").join(diff_id.hex());
        blob.is_dir().then_some(Layer::Blob(blob))
    }

    /// An empty folder for a layer in the making.
    pub fn begin_layer(&self, chain: &Digest) -> io::Result<PathBuf> {
        let path = self.tmp.join(chain.hex());
        remove::tree(&path)?;
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Makes the folder of [`Store::begin_layer`] a complete layer.
    pub fn commit_layer(&self, made: &Path, chain: &Digest) -> io::Result<Layer> {
        self.commit(made, "layers", chain).map(Layer::Folder)
    }

    /// Makes the folder of [`Store::begin_layer`] a layer that is kept as it is, in its file [`layer::BLOB`].
    pub fn commit_blob(&self, made: &Path, digest: &Digest, report: &Report) -> Result<Layer, layer::Error> {
        layer::complete(made, &self.tmp, report)?;
        let committed = self.commit(made, "blobs", digest).map_err(|error| sys::Error::from_io("rename", &error))?;
        Ok(Layer::Blob(committed))
    }

    fn commit(&self, made: &Path, folder: &str, name: &Digest) -> io::Result<PathBuf> {
        let path = self.root.join(folder).join(name.hex());
        match fs::rename(made, &path) {
            // Another process was faster; its layer is the same.
            Err(_) if path.is_dir() => remove::tree(made)?,
            result => result?,
        }
        Ok(path)
    }

    /// The folder of named volumes; whoever makes one makes this, too.
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
        let synced = sys::machine::syncfs(File::open(&self.root)?.as_fd());
        synced.map_err(|error| io::Error::from_raw_os_error(error.errno))
    }

    /// A folder of this process's own, for what need not stay.
    pub fn scratch(&self) -> &Path {
        &self.tmp
    }

    /// Gives up the folder of [`Store::begin_layer`].
    pub fn abandon(&self, made: &Path) {
        // What stays is removed when a store is opened next.
        let _ = remove::tree(made);
    }

    /// Its digest is to be checked: a power cut may have cut it short.
    pub fn config(&self, digest: &Digest) -> Option<Vec<u8>> {
        fs::read(self.root.join("configs").join(digest.hex())).ok()
    }

    pub fn put_config(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.write("configs", &digest.hex(), bytes)
    }

    /// What was last pulled by `name`.
    pub fn image(&self, name: &str) -> Option<Record> {
        let text = fs::read_to_string(self.root.join("images").join(file_name(name)?)).ok()?;
        Record::parse(&text)
    }

    pub fn put_image(&self, name: &str, record: &Record) -> io::Result<()> {
        let Some(file) = file_name(name) else { return Ok(()) };
        self.write("images", &file, [&record.text(), "\n"].concat().as_bytes())
    }

    /// An empty folder for a container that runs, with `upper` and `work` in it.
    pub fn begin_container(&self) -> io::Result<Claim> {
        let claim = Claim::new(&self.root.join("containers"))?;
        for part in ["upper", "work", "root"] {
            fs::create_dir(claim.join(part))?;
        }
        symlink(self.root.join("empty"), claim.join("empty"))?;
        Ok(claim)
    }

    /// Where the folders of containers that run are.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// Removes a container's folder.
    pub fn end_container(&self, path: &Path) -> io::Result<()> {
        remove::tree(path)
    }

    /// Whole or not at all.
    fn write(&self, folder: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let made = self.tmp.join(name);
        fs::write(&made, bytes)?;
        fs::rename(&made, self.root.join(folder).join(name))
    }
}

/// An image's name as a file's: slashes have no place there. Names that are
/// too long for one are not recorded: such an image is pulled each time.
fn file_name(name: &str) -> Option<String> {
    let file = name.replace('%', "%25").replace('/', "%2F");
    (file.len() <= 200 && !file.starts_with('.')).then_some(file)
}

/// A folder that is this process's own for as long as this value lives.
pub struct Claim {
    path: PathBuf,
    /// Open for its lock.
    _folder: File,
}

impl Claim {
    /// Makes the folder of the first free number in `parent`.
    fn new(parent: &Path) -> io::Result<Claim> {
        for number in 0..=u32::MAX {
            let path = parent.join(number.to_string());
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                // Between the making and the locking another process may have taken it for left.
                Ok(()) => match locked(&path) {
                    Some(folder) => return Ok(Claim { path, _folder: folder }),
                    None => continue,
                },
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Deref for Claim {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What still holds something is removed when a store is opened next.
        let _ = fs::remove_dir(&self.path);
    }
}

/// The folder at `path`, with its lock, if that was free.
fn locked(path: &Path) -> Option<File> {
    let folder = File::open(path).ok()?;
    let free = sys::fs::try_lock_exclusive(folder.as_fd()) == Ok(true);
    let is_there = fs::symlink_metadata(path).ok()?.ino() == folder.metadata().ok()?.ino();
    (free && is_there).then_some(folder)
}

/// Removes what nobody holds in `parent`, when its journals have been heeded.
fn collect(root: &Path, parent: &Path, report: &Report) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let lock = locked(&path);
        if is_folder && lock.is_none() {
            continue;
        }
        // The root of a container whose `run` was killed, or a layer that was just being mounted; most have none.
        for inside in fs::read_dir(&path).into_iter().flatten().flatten() {
            while layer::unmount(&inside.path()).is_ok() {}
        }
        let heeded = if is_folder { journal::recover(root, &path) } else { Ok(()) };
        if let Err(error) = heeded.and_then(|()| remove::tree(&path)) {
            report.warn("store", format_args!("{}: {}; it stays", path.display(), io_text(&error)));
        }
    }
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
        first.end_container(&held).unwrap();
        drop((held, first, second));
        assert_eq!((names(&dir.path().join("containers")), names(&dir.path().join("tmp"))), (0, 0));
    }

    #[test]
    fn a_container_too_deep_for_descriptors_does_not_keep_the_store_shut() {
        let dir = tempfile::tempdir().unwrap();
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
