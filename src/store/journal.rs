//! What a pull is about to change, until that is on the disk.
//!
//! A layer takes its name as soon as it is complete, and nobody waits for the
//! disk: a power cut may then leave the name without the content. Before the
//! first name is taken, those that a pull will take are written down and
//! flushed; the list goes when the file system was synced. One that is found
//! from an earlier boot says what to undo.
//!
//! ```text
//! BOOT-ID                      /proc/sys/kernel/random/boot_id
//! image NAME RECORD            as it was; without one there was none
//! layers/DIGEST
//! blobs/DIGEST
//! ```
//!
//! The list lies in the folder of its process, `tmp/N/pull.HEX`, whose lock
//! says whether that process lives.

use crate::disk::remove_tree;
use crate::pure::digest::Digest;
use crate::store::dir;
use crate::store::layers::{Claim, Store};
use crate::store::record::Record;
use crate::sys::process::{self, Pid, Status};
use crate::sys::{fs as sysfs, machine, Error, ENOENT};
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "pull.";
/// Two lines of some 80 bytes for each of 500 layers, and room.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The list of one pull. Dropped unsynced it stays, and the store's next opening syncs.
pub struct Journal {
    /// Its directory, not by a path: a process that outlives this one, and syncs, is not to remove the list of the next
    /// one that has the directory's number.
    dir: OwnedFd,
    name: CString,
    /// On the file system that is to be synced.
    file: File,
    /// Syncs in the background.
    child: Cell<Option<Pid>>,
}

impl Journal {
    /// Writes the list in `folder`, for good.
    pub(super) fn begin(folder: &Claim, name: &str, lines: &[String]) -> io::Result<Journal> {
        // Opened anew: a process that syncs must not hold the lock.
        let dir = dir::open(folder.dir(), c".")?;
        let name = dir::c_name(&[PREFIX, name]);
        let file = dir::create(dir.as_fd(), &name)?;
        let journal = Journal { dir, name, file, child: Cell::new(None) };
        if let Err(error) = journal.write(lines) {
            // Nothing was changed yet.
            let _ = sysfs::unlinkat(journal.dir.as_fd(), &journal.name);
            return Err(error);
        }
        Ok(journal)
    }

    fn write(&self, lines: &[String]) -> io::Result<()> {
        (&self.file).write_all([&boot_id(), "\n", &lines.concat()].concat().as_bytes())?;
        self.file.sync_all()?;
        // The names of a file and of its folder are not its own (fsync(2)).
        for above in [c".", c".."] {
            File::from(sysfs::openat(self.dir.as_fd(), above, sysfs::O_RDONLY, 0)?).sync_all()?;
        }
        Ok(())
    }

    /// Syncs in the background, once; [`Journal::finish`] waits for the end.
    pub fn start(&self) {
        if self.child.get().is_none() {
            // Without a process for it, `finish` does the work.
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

/// Removes a list. Another process may have done so: one that took its process for ended, and has synced.
fn remove(folder: BorrowedFd<'_>, name: &CStr) -> Result<(), Error> {
    match sysfs::unlinkat(folder, name) {
        Err(error) if error.errno != ENOENT => Err(error),
        _ => Ok(()),
    }
}

/// Whether there is a list in `folder`, or may be.
pub(super) fn is_in(folder: BorrowedFd<'_>) -> bool {
    dir::names(folder).map_or(true, |names| names.iter().any(|name| is_list(name)))
}

fn is_list(name: &CStr) -> bool {
    name.to_bytes().starts_with(PREFIX.as_bytes())
}

/// What the lists in `folder`, whose process has ended, ask for: after another
/// boot to undo, in this one to sync. `root` is the store's.
pub(super) fn recover(root: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> io::Result<()> {
    let own = boot_id();
    for name in dir::names(folder)?.iter().filter(|name| is_list(name)) {
        let text = match dir::read(folder, name, LIST_BYTES_MAX) {
            // Nobody of ours wrote it, or the process that syncs has ended meanwhile.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => continue,
            result => result?,
        };
        let text = String::from_utf8_lossy(&text);
        let Some((boot, lines)) = text.split_once('\n') else { continue };
        if boot != own || own.is_empty() {
            lines.lines().try_for_each(|line| undo(root, folder, line))?;
        }
        // What is undone is to be gone before the list is.
        machine::syncfs(folder)?;
        remove(folder, name)?;
    }
    Ok(())
}

/// Undoes one line, with `scratch` for what is written. One that we would not have written is of a disk that lies:
/// nothing of it is followed.
fn undo(root: BorrowedFd<'_>, scratch: BorrowedFd<'_>, line: &str) -> io::Result<()> {
    let Some(("image", record)) = line.split_once(' ') else {
        return match line.split_once('/').map(|(folder, digest)| (folder, Digest::parse(digest))) {
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
        Some(before) => crate::store::layers::replace(root, &path, scratch, [&before.text(), "\n"].concat().as_bytes()),
        None => Ok(remove(root, &path)?),
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim_end().into()).unwrap_or_default()
}

impl Store {
    /// Writes down what a pull of the image `name` is about to change: its
    /// record, and the `missing` layers (chain ID and diff ID). Nothing where
    /// the store is in memory.
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
        if let Some(file) = crate::store::layers::file_name(name) {
            let before = self.image(name).map(|record| record.text()).unwrap_or_default();
            lines.push(["image ", &file, " ", &before, "\n"].concat());
        }
        for (chain, diff_id) in missing {
            lines.push(["layers/", &chain.text(), "\nblobs/", &diff_id.text(), "\n"].concat());
        }
        // One of the same image may not be on the disk yet.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        Journal::begin(&self.tmp, &[&config.hex(), ".", &number].concat(), &lines).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    const QUIET: Report = Report { sections: false, times: false, quiet: true };
    const NAME: &str = "example.org/a/b:1";

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    fn record(config: Digest) -> Record {
        Record { config, manifest: Some(digest(9)), signed: None }
    }

    /// A pull of `layer` as `NAME` that has ended, all but the sync.
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

    /// As if that list were of a boot that a power cut has ended.
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

    /// A process that syncs may outlive its own: what has the directory's number then is another one's.
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
    fn lines_that_nobody_wrote_touch_nothing() {
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
    fn in_memory_there_is_nothing_to_write_down() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), false, &QUIET).unwrap();
        assert!(store.begin_pull(NAME, &digest(1), &mut [].into_iter()).unwrap().is_none());
    }
}
