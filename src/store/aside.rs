//! A place aside, beside named volumes, for one that is being filled: whole, or not there. It has the store's mark:
//! a file system of the lab's may have hidden directories of its own.

use crate::disk::remove_tree;
use crate::store::{dir, mark};
use crate::sys::fs as sysfs;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// No volume has a dot in front.
const NAME: &CStr = c".ocinit";

/// The place aside, empty. The caller has the lock of the directory of volumes.
pub struct Aside<'a> {
    volumes: BorrowedFd<'a>,
    dir: OwnedFd,
}

impl<'a> Aside<'a> {
    /// Makes it, and removes what a process has left there that was killed.
    pub fn begin(volumes: BorrowedFd<'a>) -> io::Result<Aside<'a>> {
        let dir = dir::make(volumes, NAME)?;
        mark::own(dir.as_fd()).map_err(|error| {
            // If it is ours, it is still empty.
            let _ = sysfs::rmdirat(volumes, NAME);
            io::Error::other(["'.ocinit' ", &error.to_string()].concat())
        })?;
        let aside = Aside { volumes, dir };
        aside.clear()?;
        Ok(aside)
    }

    /// Where the volume is made.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    fn clear(&self) -> io::Result<()> {
        for name in dir::names(self.dir.as_fd())? {
            if name.as_c_str() != mark::MARK {
                remove_tree::beneath(self.dir.as_fd(), &name)?;
            }
        }
        Ok(())
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        // What fails once may work the next time. What stays goes with the next one: the mark says whose it is until
        // nothing else is there.
        for _ in 0..2 {
            if self.clear().is_ok() {
                let _ = sysfs::unlinkat(self.dir.as_fd(), mark::MARK);
                if sysfs::rmdirat(self.volumes, NAME).is_ok() {
                    return;
                }
            }
        }
    }
}

/// Removes what a process has left that was killed while it filled a volume.
pub(super) fn collect(volumes: BorrowedFd<'_>) -> io::Result<()> {
    if sysfs::statat(volumes, NAME).is_err() {
        return Ok(());
    }
    // Who fills one now has the lock, and clears up by itself.
    let lock = dir::open(volumes, c".")?;
    match sysfs::try_lock_exclusive(lock.as_fd())? {
        true => Aside::begin(volumes).map(drop),
        false => Ok(()),
    }
}
