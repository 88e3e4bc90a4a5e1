//! Directories and files of the store, by descriptor. The disk may come from another machine: no path in a store leads
//! out of it, and anything but a plain directory or file is refused.

use crate::files;
use crate::sys::path::c_path;
use crate::sys::{self, fs as sysfs, process, EEXIST, ELOOP, ENOENT, ENOTDIR, EXDEV};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A symbolic link, a mount point or `..` on the way is an error.
const BENEATH: u64 =
    sysfs::RESOLVE_BENEATH | sysfs::RESOLVE_NO_SYMLINKS | sysfs::RESOLVE_NO_MAGICLINKS | sysfs::RESOLVE_NO_XDEV;
const DIRECTORY: i32 = sysfs::O_RDONLY | sysfs::O_DIRECTORY;
/// Directory entries that are read at a time.
const ENTRIES_BYTES: usize = 2 << 10;
/// Names that are read of one directory: we never make so many.
const NAMES_MAX: usize = 1 << 16;

/// Opens the directory `name` below `dir`.
pub fn open(dir: BorrowedFd<'_>, name: &CStr) -> sys::Result<OwnedFd> {
    sysfs::openat2(dir, name, DIRECTORY, 0, BENEATH)
}

/// Opens the directory at `path`, which the user has named: symlinks in it are followed.
pub fn at(path: &Path) -> sys::Result<OwnedFd> {
    sysfs::openat(sysfs::CWD, &c_path(path)?, DIRECTORY, 0)
}

/// The directory `name` of `dir`, made where it is missing. It is an error if others can write to it. The caller has a
/// lock that keeps others from making it, too: one that was made and cannot be used is removed again.
pub fn make(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mut is_new = false;
    let opened = open(dir, name).or_else(|error| match error.errno {
        ENOENT => {
            is_new = is_made(sysfs::mkdirat(dir, name, 0o755))?;
            open(dir, name)
        }
        _ => Err(error),
    });
    let opened = opened.map_err(|error| refused(name, error));
    let opened = opened.and_then(|opened| match is_ours(opened.as_fd()) {
        Ok(()) => Ok(opened),
        Err(why) => Err(about(name, &why)),
    });
    if is_new && opened.is_err() {
        let _ = sysfs::rmdirat(dir, name);
    }
    opened
}

/// Whether a directory was made: false where it was there already.
fn is_made(made: sys::Result<()>) -> sys::Result<bool> {
    match made {
        Err(error) if error.errno == EEXIST => Ok(false),
        made => made.map(|()| true),
    }
}

/// The error of what is there in place of a directory.
pub fn refused(name: &CStr, error: sys::Error) -> io::Error {
    match error.errno {
        ELOOP => about(name, "is a symbolic link, which is not followed"),
        ENOTDIR => about(name, "is not a directory"),
        EXDEV => about(name, "is a mount point"),
        _ => error.into(),
    }
}

fn about(name: &CStr, why: &str) -> io::Error {
    io::Error::other(["'", &name.to_string_lossy(), "' ", why].concat())
}

/// An error unless a directory belongs to root or to us and others cannot write to it.
pub fn is_ours(dir: BorrowedFd<'_>) -> Result<(), String> {
    if mode(dir)? & 0o022 != 0 {
        return Err("can be written to by others than its owner: give it the mode 700".into());
    }
    Ok(())
}

/// The mode of a directory. An error unless it belongs to root or to us.
pub fn mode(dir: BorrowedFd<'_>) -> Result<u32, String> {
    let stat = sysfs::statat(dir, c"").map_err(|error| error.to_string())?;
    if stat.uid != 0 && stat.uid != process::effective_user() {
        return Err(["belongs to user ", &stat.uid.to_string(), ", not to root"].concat());
    }
    Ok(stat.mode & 0o7777)
}

/// The names in a directory, but for `.` and `..`.
pub fn names(dir: BorrowedFd<'_>) -> sys::Result<Vec<CString>> {
    // A copy of the descriptor would share its position.
    let dir = open(dir, c".")?;
    // Most directories are empty, or have a few names, so a small buffer on the stack is enough.
    let (mut names, mut buffer) = (Vec::new(), [0; ENTRIES_BYTES]);
    while names.len() < NAMES_MAX {
        let length = sysfs::getdents(dir.as_fd(), &mut buffer)?;
        if length == 0 {
            break;
        }
        sysfs::for_each_name(buffer.get(..length).unwrap_or_default(), |name| {
            names.push(name.to_owned());
            Ok::<(), sys::Error>(())
        })?;
    }
    Ok(names)
}

/// Opens the regular file `name` below `dir` for reading.
pub fn open_file(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<File> {
    if !sysfs::statat(dir, name)?.is(sysfs::S_IFREG) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(sysfs::openat2(dir, name, sysfs::O_RDONLY | sysfs::O_NONBLOCK | sysfs::O_NOCTTY, 0, BENEATH)?.into())
}

/// The content of the regular file `name` below `dir`. Anything else, or a file longer than `max` bytes, is
/// [`io::ErrorKind::InvalidData`]. What is not a regular file is not opened: to open a FIFO waits for its other end.
pub fn read(dir: BorrowedFd<'_>, name: &CStr, max: u64) -> io::Result<Vec<u8>> {
    files::read_all(&open_file(dir, name)?, max)?.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Makes the file `name` in `dir`, empty.
pub fn create(dir: BorrowedFd<'_>, name: &CStr) -> sys::Result<File> {
    let flags = sysfs::O_WRONLY | sysfs::O_CREAT | sysfs::O_TRUNC;
    sysfs::openat2(dir, name, flags, 0o644, BENEATH).map(File::from)
}

/// Gives the file `path` below `dir` this content, all or nothing: it is written in `scratch` and renamed.
pub fn replace(dir: BorrowedFd<'_>, path: &CStr, scratch: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let name = path.to_bytes_with_nul().rsplit(|byte| *byte == b'/').next();
    let name = name.and_then(|name| CStr::from_bytes_with_nul(name).ok()).unwrap_or_default();
    let written = create(scratch, name).map_err(Into::into).and_then(|mut file| file.write_all(bytes));
    let renamed = written.and_then(|()| Ok(sysfs::renameat(scratch, name, dir, path)?));
    if renamed.is_err() {
        let _ = sysfs::unlinkat(scratch, name);
    }
    renamed
}

/// The exclusive lock of a directory, until the result is dropped; waits for a process that has it.
pub fn lock(dir: BorrowedFd<'_>) -> sys::Result<OwnedFd> {
    // A lock belongs to an open file. Opened anew, it also excludes other threads of this process.
    let lock = open(dir, c".")?;
    sysfs::lock_exclusive(lock.as_fd())?;
    Ok(lock)
}

/// A name as the kernel takes it, of its parts. One with a NUL in it becomes empty, which no file has.
pub fn c_name(parts: &[&str]) -> CString {
    CString::new(parts.concat()).unwrap_or_default()
}
