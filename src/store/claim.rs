//! Numbered directories, each claimed by one process for as long as that has its lock (flock(2)).
//!
//! The parent's lock is held while a directory is made and while one is checked, so that no process takes a directory
//! for abandoned that is being made. A directory's own lock is held until its name is removed: a directory of that name
//! then belongs to another process.

use crate::disk::remove_tree;
use crate::layer::packed;
use crate::report::Report;
use crate::store::{dir, journal};
use crate::sys::{self, fs as sysfs, io_text, EAGAIN, EEXIST, ELOOP, ENOENT, ENOTDIR};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory that belongs to this process for as long as this value lives.
pub struct Claim {
    path: PathBuf,
    parent: OwnedFd,
    name: CString,
    /// Open for its lock.
    dir: OwnedFd,
    /// Not after it was removed.
    is_ours: bool,
}

impl Claim {
    /// Makes the directory of the first free number in `parent`, which is at `path`.
    pub(super) fn new(parent: OwnedFd, path: &Path) -> io::Result<Claim> {
        let _alone = dir::lock(parent.as_fd())?;
        for number in 0..=u32::MAX {
            let number = number.to_string();
            let name = dir::c_name(&[&number]);
            match sysfs::mkdirat(parent.as_fd(), &name, 0o755) {
                Err(error) if error.errno == EEXIST => continue,
                result => result?,
            }
            match locked(parent.as_fd(), &name) {
                Ok(dir) => return Ok(Claim { path: path.join(number), parent, name, dir, is_ours: true }),
                Err(error) => {
                    // No other process has opened it yet.
                    let _ = sysfs::rmdirat(parent.as_fd(), &name);
                    return Err(error.into());
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The directory itself.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Removes the directory: the content first and the name last, both under its lock. The error has the path of what
    /// cannot be removed.
    pub fn end(mut self) -> Result<(), String> {
        self.remove().map_err(|error| [&self.path.to_string_lossy(), ": ", &io_text(&error)].concat())
    }

    /// Tries a second time where the first one failed, after it has unmounted what is mounted inside.
    fn remove(&mut self) -> io::Result<()> {
        let remove = || remove_tree::opened(self.parent.as_fd(), &self.name, self.dir.as_fd());
        let removed = remove().or_else(|_| {
            unmount_inside(self.dir.as_fd(), &self.path)?;
            remove()
        });
        self.is_ours = removed.is_err();
        Ok(removed?)
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
        // What cannot be removed now is removed by the next opening of the store, which also reads a journal.
        let is_ours = self.is_ours && sysfs::rmdirat(self.parent.as_fd(), &self.name).is_err();
        if is_ours && !journal::is_in(self.dir.as_fd()) {
            let _ = self.remove();
        }
    }
}

/// The directory `name`, with its lock.
fn locked(parent: BorrowedFd<'_>, name: &CStr) -> sys::Result<OwnedFd> {
    let dir = dir::open(parent, name)?;
    match sysfs::try_lock_exclusive(dir.as_fd())? {
        true => Ok(dir),
        false => Err(sys::Error::new("flock", EAGAIN)),
    }
}

/// The directory `name` with its lock, if no process has that. `ENOENT` where it was removed meanwhile.
fn abandoned(parent: BorrowedFd<'_>, name: &CStr) -> sys::Result<OwnedFd> {
    let _alone = dir::lock(parent)?;
    let dir = locked(parent, name)?;
    let identity = |stat: sysfs::Stat| (stat.dev, stat.ino);
    match identity(sysfs::statat(parent, name)?) == identity(sysfs::statat(dir.as_fd(), c"")?) {
        true => Ok(dir),
        false => Err(sys::Error::new("flock", ENOENT)),
    }
}

/// Removes what no process has claimed in `parent`, which is at `path`, after what its journals ask for is done.
pub(super) fn collect(root: BorrowedFd<'_>, parent: BorrowedFd<'_>, path: &Path, report: &Report) -> io::Result<()> {
    for name in dir::names(parent)? {
        let path = path.join(OsStr::from_bytes(name.as_bytes()));
        let removed = match abandoned(parent, &name) {
            Ok(dir) => remove_abandoned(root, parent, &name, dir.as_fd(), &path),
            // It belongs to another process, or is gone.
            Err(error) if [EAGAIN, ENOENT].contains(&error.errno) => Ok(()),
            Err(error) if [ENOTDIR, ELOOP].contains(&error.errno) => sysfs::unlinkat(parent, &name).map_err(Into::into),
            Err(error) => Err(dir::refused(&name, error)),
        };
        if let Err(error) = removed {
            report.warn("store", format_args!("{}: {}; it stays", path.display(), io_text(&error)));
        }
    }
    Ok(())
}

fn remove_abandoned(
    root: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &CStr,
    dir: BorrowedFd<'_>,
    path: &Path,
) -> io::Result<()> {
    unmount_inside(dir, path)?;
    journal::recover(root, dir)?;
    Ok(remove_tree::opened(parent, name, dir)?)
}

/// Unmounts the root of a container whose `run` was killed, or a layer that was being mounted. Most directories have
/// neither.
fn unmount_inside(dir: BorrowedFd<'_>, path: &Path) -> sys::Result<()> {
    for inside in dir::names(dir)? {
        let at = path.join(OsStr::from_bytes(inside.as_bytes()));
        while packed::unmount(&at).is_ok() {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn claim(parent: &Path) -> Claim {
        Claim::new(dir::at(parent).unwrap(), parent).unwrap()
    }

    /// Promise: shared-store
    #[test]
    fn what_was_given_back_is_not_removed_again() {
        let parent = tempfile::tempdir().unwrap();
        let first = claim(parent.path());
        fs::create_dir_all(first.join("upper/deep")).unwrap();
        let path = first.to_path_buf();
        // Another process opens it just before it is removed.
        let seen = dir::open(first.parent.as_fd(), c"0").unwrap();
        first.end().unwrap();
        assert!(!path.exists());
        // The directory that has its number now, and is still empty, is another one, by its name and by its inode.
        let second = claim(parent.path());
        assert_eq!(&*second, path);
        assert_eq!(sysfs::try_lock_exclusive(seen.as_fd()), Ok(true));
        assert!(abandoned(second.parent.as_fd(), c"0").is_err_and(|error| error.errno == EAGAIN));
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn taken_numbers_are_skipped_and_other_errors_returned() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("0"), "").unwrap();
        let first = claim(parent.path());
        assert_eq!(first.file_name().unwrap(), "1");
        assert_eq!(claim(parent.path()).file_name().unwrap(), "2");
        let gone = dir::at(parent.path()).unwrap();
        drop(first);
        parent.close().unwrap();
        assert_eq!(Claim::new(gone, Path::new("gone")).err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
