//! What makes a directory ours: a file in it, and nothing else. Names such as `tmp` are everybody's, so a directory
//! that holds anything and has no such file is left as it is, whatever the names are, at /var/lib/ocinit too.

use crate::store::dir;
use crate::sys::fs as sysfs;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

/// The file; its content is the version of the store's format.
pub const MARK: &CStr = c"ocinit-store";
const VERSION: u32 = 1;
/// No number is longer.
const MARK_BYTES_MAX: u64 = 16;
/// What mkfs puts into a new file system.
const OF_MKFS: &CStr = c"lost+found";

/// Makes sure that `dir` is ours: one with the mark is, and an empty one becomes ours. Nothing is changed in another.
/// The caller has its lock.
pub fn own(dir: BorrowedFd<'_>) -> io::Result<()> {
    let text = match dir::read(dir, MARK, MARK_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return take(dir),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => b"?".into(),
        result => result?,
    };
    dir::is_ours(dir).map_err(io::Error::other)?;
    if text.is_empty() {
        // Its making was interrupted.
        return write(dir);
    }
    match std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse::<u32>().ok()) {
        Some(VERSION) => Ok(()),
        Some(version) if version > VERSION => {
            let version = version.to_string();
            Err(io::Error::other(["is a store of a newer ocinit (format ", &version, ", not 1)"].concat()))
        }
        _ => Err(io::Error::other("its file 'ocinit-store' is none of ours: it is left alone")),
    }
}

/// Makes an empty directory ours. Where others may write to it, as to a new tmpfs, that ends first.
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
    Ok(dir::names(dir)?.iter().all(|name| name.as_c_str() == OF_MKFS))
}

/// On the disk before anything else is in the directory.
fn write(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mut file = dir::create(dir, MARK)?;
    let written = file.write_all(b"1\n").and_then(|()| file.sync_all());
    let written = written.and_then(|()| File::from(dir::open(dir, c".")?).sync_all());
    if written.is_err() {
        let _ = sysfs::unlinkat(dir, MARK);
    }
    written
}
