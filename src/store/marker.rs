//! The marker: a file that makes a directory a store's. Other programs use names such as `tmp`, too, so a directory
//! that is not empty and has no such file does not change, whatever is in it, and even at /var/lib/ocinit.

use crate::store::dir;
use crate::sys::fs as sysfs;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

/// The file; its content is the version of the store's format.
pub const MARKER: &CStr = c"ocinit-store";
const VERSION: u32 = 1;
/// No number is longer.
const MARKER_BYTES_MAX: u64 = 16;
/// mkfs makes it in a new file system.
const LOST_AND_FOUND: &CStr = c"lost+found";

/// Makes sure that `dir` is ours: one with the marker is, and an empty one gets it. Any other is an error, and does not
/// change. The caller has its lock.
pub fn own(dir: BorrowedFd<'_>) -> io::Result<()> {
    let text = match dir::read(dir, MARKER, MARKER_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return take(dir),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => b"?".into(),
        result => result?,
    };
    dir::is_ours(dir).map_err(io::Error::other)?;
    if text.is_empty() {
        // Writing the marker was interrupted.
        return write(dir);
    }
    match std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse::<u32>().ok()) {
        Some(VERSION) => Ok(()),
        Some(version) if version > VERSION => {
            let version = version.to_string();
            Err(io::Error::other(["is a store of a newer ocinit (format ", &version, ", not 1)"].concat()))
        }
        _ => Err(io::Error::other("its file 'ocinit-store' was not written by ocinit: it is left alone")),
    }
}

/// Makes an empty directory ours. Where others may write to it, as to a new tmpfs, they first lose that right.
fn take(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mode = dir::mode(dir).map_err(io::Error::other)?;
    let is_open = mode & 0o022 != 0 && is_empty(dir)?;
    if is_open {
        sysfs::fchmod(dir, 0o700)?;
    }
    if is_empty(dir)? {
        return write(dir);
    }
    if is_open {
        sysfs::fchmod(dir, mode)?;
    }
    Err(io::Error::other(
        "is not empty and has no file 'ocinit-store', so it is left alone: give an empty or a new directory",
    ))
}

fn is_empty(dir: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(dir::names(dir)?.iter().all(|name| name.as_c_str() == LOST_AND_FOUND))
}

/// Writes the marker, and flushes it to the disk before anything else is in the directory.
fn write(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mut file = dir::create(dir, MARKER)?;
    let written = file.write_all(b"1\n").and_then(|()| file.sync_all());
    let written = written.and_then(|()| File::from(dir::open(dir, c".")?).sync_all());
    if written.is_err() {
        let _ = sysfs::unlinkat(dir, MARKER);
    }
    written
}
