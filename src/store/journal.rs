//! The journal of a pull: a list of what it will change, kept until that is on the disk.
//!
//! A layer gets its name as soon as it is complete, without waiting for the disk: a power cut may then leave the name
//! without the content. So before a pull gives the first name, it writes down all names that it will give, and flushes
//! that list. The list is removed when the file system was synced. A list from an earlier boot says what to undo.
//!
//! ```text
//! BOOT-ID                      /proc/sys/kernel/random/boot_id
//! image NAME RECORD            as it was; without one there was none
//! layers/DIGEST
//! blobs/DIGEST
//! ```
//!
//! The list is in the directory of its process, `tmp/N/pull.HEX`. The directory's lock says whether that process lives.

use crate::disk::remove_tree;
use crate::pure::digest::Digest;
use crate::store::dir;
use crate::store::record::Record;
use crate::sys::process::{self, Pid, Status};
use crate::sys::{fs as sysfs, machine, Error, ENOENT};
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const PREFIX: &str = "pull.";
/// Enough for two lines of some 80 bytes for each of 500 layers.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The list of one pull. If it is dropped before the sync, it stays, and the next opening of the store syncs.
pub struct Journal {
    /// Its directory, by descriptor: a process that syncs may outlive this one, and must not remove the list of the
    /// next process that has the directory's number.
    dir: OwnedFd,
    name: CString,
    /// Open on the file system that is to be synced.
    file: File,
    /// The process that syncs in the background.
    child: Cell<Option<Pid>>,
}

impl Journal {
    /// Writes the list into the claimed directory `claim`, and flushes it to the disk.
    pub(super) fn begin(claim: BorrowedFd<'_>, name: &str, lines: &[String]) -> io::Result<Journal> {
        // Opened anew: a process that syncs must not hold the lock.
        let dir = dir::open(claim, c".")?;
        let name = dir::c_name(&[PREFIX, name]);
        let file = dir::create(dir.as_fd(), &name)?;
        let journal = Journal { dir, name, file, child: Cell::new(None) };
        if let Err(error) = journal.write(lines) {
            // The store has not changed yet.
            let _ = sysfs::unlinkat(journal.dir.as_fd(), &journal.name);
            return Err(error);
        }
        Ok(journal)
    }

    fn write(&self, lines: &[String]) -> io::Result<()> {
        (&self.file).write_all([&boot_id(), "\n", &lines.concat()].concat().as_bytes())?;
        self.file.sync_all()?;
        // fsync(2) of a file does not flush its name, nor its directory's.
        for above in [c".", c".."] {
            File::from(sysfs::openat(self.dir.as_fd(), above, sysfs::O_RDONLY, 0)?).sync_all()?;
        }
        Ok(())
    }

    /// Syncs in the background, once; [`Journal::finish`] waits for the end.
    pub fn start(&self) {
        if self.child.get().is_none() {
            // Where no process can be made, `finish` syncs.
            let mut sync = || {
                process::close_all_but(&[self.file.as_fd(), self.dir.as_fd()]);
                i32::from(self.sync().is_err())
            };
            self.child.set(process::fork(&mut sync).ok());
        }
    }

    /// Returns when all is on the disk.
    pub fn finish(&self) -> Result<(), Error> {
        match self.child.take().map(process::wait) {
            Some(Ok(Status::Exited(0))) => Ok(()),
            _ => self.sync(),
        }
    }

    fn sync(&self) -> Result<(), Error> {
        machine::syncfs(self.file.as_fd())?;
        remove(self.dir.as_fd(), &self.name)
    }
}

/// Removes a list. Another process may have done so before: one that found its process ended, and synced.
fn remove(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Error> {
    match sysfs::unlinkat(dir, name) {
        Err(error) if error.errno != ENOENT => Err(error),
        _ => Ok(()),
    }
}

/// Whether there is a list in the directory `claim`, or may be.
pub(super) fn is_in(claim: BorrowedFd<'_>) -> bool {
    dir::names(claim).map_or(true, |names| names.iter().any(|name| is_list(name)))
}

fn is_list(name: &CStr) -> bool {
    name.to_bytes().starts_with(PREFIX.as_bytes())
}

/// Does what the lists in the directory `claim`, whose process has ended, ask for: those of another boot to undo, those
/// of this boot to sync. `root` is the store's.
pub(super) fn recover(root: BorrowedFd<'_>, claim: BorrowedFd<'_>) -> io::Result<()> {
    let own = boot_id();
    for name in dir::names(claim)?.iter().filter(|name| is_list(name)) {
        let text = match dir::read(claim, name, LIST_BYTES_MAX) {
            // We did not write it, or the process that syncs has removed it meanwhile.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => continue,
            result => result?,
        };
        let text = String::from_utf8_lossy(&text);
        let Some((boot, lines)) = text.split_once('\n') else { continue };
        if boot != own || own.is_empty() {
            lines.lines().try_for_each(|line| undo(root, claim, line))?;
        }
        // What is undone must be on the disk before the list is removed.
        machine::syncfs(claim)?;
        remove(claim, name)?;
    }
    Ok(())
}

/// Undoes one line, with `scratch` for what is written. A line that we would not have written does nothing: the disk
/// may come from somebody else.
fn undo(root: BorrowedFd<'_>, scratch: BorrowedFd<'_>, line: &str) -> io::Result<()> {
    let Some(("image", record)) = line.split_once(' ') else {
        return match line.split_once('/').map(|(part, digest)| (part, Digest::parse(digest))) {
            Some((part @ ("layers" | "blobs"), Ok(digest))) => {
                let part = dir::make(root, &dir::c_name(&[part]))?;
                Ok(remove_tree::beneath(part.as_fd(), &dir::c_name(&[&digest.hex()]))?)
            }
            _ => Ok(()),
        };
    };
    let (name, before) = record.split_once(' ').unwrap_or((record, ""));
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Ok(());
    }
    let path = dir::c_name(&["images/", name]);
    match Record::parse(before) {
        Some(before) => dir::replace(root, &path, scratch, [&before.text(), "\n"].concat().as_bytes()),
        None => Ok(remove(root, &path)?),
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim_end().into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use crate::store::layers::Store;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    const QUIET: Report = Report { sections: false, times: false, quiet: true, live: false };
    const NAME: &str = "example.org/a/b:1";

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    fn record(config: Digest) -> Record {
        Record { config, manifest: Some(digest(9)), signed: None }
    }

    /// A pull of `layer` as `NAME` that has ended but for the sync.
    fn pull(store: &Store, config: u8, layer: u8) -> Journal {
        let (config, layer) = (digest(config), digest(layer));
        let journal = store.begin_pull(NAME, &config, &mut [(layer, layer)].into_iter()).unwrap().unwrap();
        let made = store.begin_layer(&layer).unwrap();
        fs::write(made.join("file"), "x").unwrap();
        store.commit_layer(&made, &layer).unwrap();
        store.put_image(NAME, &record(config)).unwrap();
        journal
    }

    fn path(journal: &Journal) -> PathBuf {
        let dir = fs::read_link(format!("/proc/self/fd/{}", journal.dir.as_raw_fd())).unwrap();
        dir.join(journal.name.to_str().unwrap())
    }

    /// Makes the list one of an earlier boot.
    fn age(journal: &Journal) {
        let text = fs::read_to_string(path(journal)).unwrap();
        assert!(text.starts_with(&boot_id()) && text.len() > 36, "{text}");
        fs::write(path(journal), ["an-earlier-boot", &text[36..]].concat()).unwrap();
    }

    fn has(store: &Store, layer: u8) -> bool {
        store.layer(&digest(layer), &digest(layer)).is_some()
    }

    fn open(dir: &Path) -> Store {
        Store::open(dir, true, &QUIET).unwrap()
    }

    /// Promise: power-cut
    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        pull(&store, 1, 1).finish().unwrap();
        let unsynced = pull(&store, 2, 2);
        age(&unsynced);
        drop(store);
        let store = open(dir.path());
        assert_eq!((has(&store, 1), has(&store, 2), store.image(NAME)), (true, false, Some(record(digest(1)))));
        assert!(!path(&unsynced).exists());
    }

    #[test]
    fn an_image_that_was_not_there_before_is_not_there_after() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        age(&pull(&store, 1, 1));
        drop(store);
        assert_eq!(open(dir.path()).image(NAME), None);
    }

    #[test]
    fn what_this_boot_has_written_is_synced_by_the_next_opening() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let unsynced = pull(&store, 1, 1);
        drop(store);
        let store = open(dir.path());
        assert_eq!((has(&store, 1), store.image(NAME)), (true, Some(record(digest(1)))));
        assert!(!path(&unsynced).exists());
    }

    /// A process that syncs may outlive the one that pulls: the directory's number then belongs to another.
    /// Promise: shared-store
    #[test]
    fn a_late_end_leaves_the_next_list_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let late = pull(&store, 1, 1);
        drop(store);
        drop(open(dir.path()));
        let store = open(dir.path());
        let mut missing = [].into_iter();
        let next = store.begin_pull(NAME, &digest(1), &mut missing).unwrap().unwrap();
        fs::rename(path(&next), path(&next).with_file_name(late.name.to_str().unwrap())).unwrap();
        late.finish().unwrap();
        assert!(store.scratch().join(late.name.to_str().unwrap()).exists());
    }

    /// Promise: power-cut
    #[test]
    fn a_list_whose_process_lives_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path());
        let unsynced = pull(&first, 1, 1);
        age(&unsynced);
        let second = open(dir.path());
        assert!(has(&second, 1) && path(&unsynced).exists());
    }

    #[test]
    fn lines_that_ocinit_did_not_write_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("images")).unwrap();
        let opened = dir::at(&root).unwrap();
        fs::write(dir.path().join("outside"), "x").unwrap();
        for line in ["layers/..", "image ../../outside ", "image .. ", "image  ", "images/../../outside", "layers/", ""]
        {
            undo(opened.as_fd(), opened.as_fd(), line).unwrap();
        }
        assert!(dir.path().join("outside").exists() && root.join("images").exists());
    }

    #[test]
    fn a_store_in_memory_has_no_journal() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), false, &QUIET).unwrap();
        assert!(store.begin_pull(NAME, &digest(1), &mut [].into_iter()).unwrap().is_none());
    }
}
