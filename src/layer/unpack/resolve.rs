//! Paths to descriptors, always inside one root.

use crate::layer::pure::whiteout::MAX_PATH_BYTES;
use crate::layer::unpack::error::Step;
use crate::sys::path::c_string;
use crate::sys::{self, fs, Error};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Symlinks in one path: the limit of Linux.
const MAX_LINKS: u32 = 40;
/// Directory entries that are read at a time.
pub const DIRENT_BYTES: usize = 32 << 10;

/// Opens `path` below `root` only if it has no symlink in it.
pub fn open_real(root: BorrowedFd<'_>, path: &[u8], flags: libc::c_int) -> sys::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let path = c_string(path)?;
    let resolve = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_MAGICLINKS;
    fs::openat2(root, &path, flags, 0, resolve)
}

/// Called where a name is missing, with the directory, the name, the whole path, and the names that would follow, the
/// next one last.
pub type Missing<'m> = dyn FnMut(BorrowedFd<'_>, &CStr, Vec<u8>, &[Vec<u8>]) -> Step<()> + 'm;

/// Resolves `path` name by name, as the kernel would in a chroot of `root`. Returns the directory, and its path without
/// symlinks.
pub fn resolve(root: BorrowedFd<'_>, path: &[u8], missing: &mut Missing<'_>) -> Step<(OwnedFd, Vec<u8>)> {
    let mut todo: Vec<Vec<u8>> = path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    let mut at = Vec::new();
    let mut dir = open_real(root, b"", fs::O_PATH | fs::O_DIRECTORY)?;
    while let Some(name) = todo.pop() {
        match &name[..] {
            b"" | b"." => continue,
            b".." => {
                at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
                dir = open_real(root, &at, fs::O_PATH | fs::O_DIRECTORY)?;
                continue;
            }
            _ => {}
        }
        let c_name = c_string(&name)?;
        let stat = match fs::statat(dir.as_fd(), &c_name) {
            Err(Error { errno: libc::ENOENT, .. }) => {
                let mut path = at.clone();
                join(&mut path, &name);
                missing(dir.as_fd(), &c_name, path, &todo)?;
                fs::statat(dir.as_fd(), &c_name)?
            }
            result => result?,
        };
        if stat.is(fs::S_IFLNK) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::new("open", libc::ELOOP).into());
            }
            let mut target = vec![0; MAX_PATH_BYTES];
            let n = fs::readlinkat(dir.as_fd(), &c_name, &mut target)?;
            target.truncate(n);
            if target.first() == Some(&b'/') {
                at.clear();
                dir = open_real(root, b"", fs::O_PATH | fs::O_DIRECTORY)?;
            }
            todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
            continue;
        }
        if !stat.is(fs::S_IFDIR) {
            return Err(Error::new("open", libc::ENOTDIR).into());
        }
        join(&mut at, &name);
        if at.len() > MAX_PATH_BYTES {
            return Err(Error::new("open", libc::ENAMETOOLONG).into());
        }
        dir = fs::openat(dir.as_fd(), &c_name, fs::O_PATH | fs::O_DIRECTORY | fs::O_NOFOLLOW, 0)?;
    }
    Ok((dir, at))
}

/// The type of `parent`/`name`; none if it does not exist, 0 if `parent` is no directory without symlinks.
pub fn kind_at(root: BorrowedFd<'_>, parent: &[u8], name: &CStr) -> sys::Result<Option<libc::mode_t>> {
    let dir = open_real(root, parent, fs::O_PATH | fs::O_DIRECTORY);
    match dir.and_then(|dir| fs::statat(dir.as_fd(), name)) {
        Ok(stat) => Ok(Some(stat.mode & fs::S_IFMT)),
        Err(Error { errno: libc::ENOENT, .. }) => Ok(None),
        Err(Error { errno: libc::ENOTDIR | libc::ELOOP, .. }) => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

/// Removes the directory `dir`/`name` and all that is in it, at any depth, without recursion and with one descriptor at
/// a time.
pub fn remove_directory(dir: BorrowedFd<'_>, name: &CStr) -> Step<()> {
    let mut found = vec![name.to_bytes().to_vec()];
    let mut buffer = vec![0; DIRENT_BYTES];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        let here = open_real(dir, &path, fs::O_RDONLY | fs::O_DIRECTORY)?;
        loop {
            let n = fs::getdents(here.as_fd(), &mut buffer)?;
            if n == 0 {
                break;
            }
            fs::for_each_name(buffer.get(..n).unwrap_or(b""), |name| match fs::unlinkat(here.as_fd(), name) {
                Err(Error { errno: libc::EISDIR, .. }) => {
                    let mut path = path.clone();
                    join(&mut path, name.to_bytes());
                    found.push(path);
                    Ok(())
                }
                result => result,
            })?;
        }
    }
    for path in found.iter().rev() {
        fs::rmdirat(dir, &c_string(path)?)?;
    }
    Ok(())
}

/// `path` becomes `path`/`name`.
pub fn join(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Parent and name of a path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or(b""), path.get(slash + 1..).unwrap_or(b"")),
        None => (b"", path),
    }
}

/// The directories above `path`: the root first.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root = (!path.is_empty()).then_some(&b""[..]);
    root.into_iter().chain(path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| &path[..at]))
}
