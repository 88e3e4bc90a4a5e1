//! The staging directory beside named volumes, in which a new volume is filled: a volume is complete, or it is not
//! there. The directory has the store's marker, since a lab's file system may have hidden directories of its own.

use crate::disk::remove_tree;
use crate::store::{dir, marker};
use crate::sys::fs as sysfs;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// No volume's name starts with a dot.
const NAME: &CStr = c".ocinit";

/// An empty staging directory. The caller has the lock of the directory of volumes.
pub struct Staging<'a> {
    volumes: BorrowedFd<'a>,
    dir: OwnedFd,
}

impl<'a> Staging<'a> {
    /// Makes it, and removes what a killed process has left there.
    pub fn begin(volumes: BorrowedFd<'a>) -> io::Result<Staging<'a>> {
        let dir = dir::make(volumes, NAME)?;
        marker::own(dir.as_fd()).map_err(|error| {
            // If we made it, it is still empty.
            let _ = sysfs::rmdirat(volumes, NAME);
            io::Error::other(["'.ocinit' ", &error.to_string()].concat())
        })?;
        let staging = Staging { volumes, dir };
        staging.clear()?;
        Ok(staging)
    }

    /// Where the volume is made.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    fn clear(&self) -> io::Result<()> {
        for name in dir::names(self.dir.as_fd())? {
            if name.as_c_str() != marker::MARKER {
                remove_tree::beneath(self.dir.as_fd(), &name)?;
            }
        }
        Ok(())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // A second try may succeed. What stays is removed by the next user: the marker goes last, so the directory
        // stays known as ours.
        for _ in 0..2 {
            if self.clear().is_ok() {
                let _ = sysfs::unlinkat(self.dir.as_fd(), marker::MARKER);
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
    // A process that fills a volume now has the lock, and removes its staging directory itself.
    let lock = dir::open(volumes, c".")?;
    match sysfs::try_lock_exclusive(lock.as_fd())? {
        true => Staging::begin(volumes).map(drop),
        false => Ok(()),
    }
}
