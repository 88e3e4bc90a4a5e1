//! Removes a tree of any depth. std needs a descriptor for each level, but a container can nest directories deeper than
//! the limits of descriptors and of a path.

use crate::sys::fs::{self, O_DIRECTORY, O_NOFOLLOW, O_RDONLY};
use crate::sys::path::c_path;
use crate::sys::{self, Error, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Directory entries that are read at a time.
const ENTRIES_BYTES: usize = 32 << 10;
/// Opens a directory, and follows no symlink.
const DIRECTORY: i32 = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

/// Removes `path` and all below it. It is no error if it does not exist. Symlinks are not followed. What is mounted
/// there or below stays, and is an error.
pub fn tree(path: &Path) -> io::Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(to_io(Error::new("open", EINVAL)));
    };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let (above, name) = (c_path(above).map_err(to_io)?, c_path(name.as_ref()).map_err(to_io)?);
    match fs::openat(fs::CWD, &above, fs::O_PATH | O_DIRECTORY, 0) {
        Err(error) if error.errno == ENOENT => Ok(()),
        above => above.and_then(|above| beneath(above.as_fd(), &name)).map_err(to_io),
    }
}

/// As [`tree`], for `name` in `above`.
pub fn beneath(above: BorrowedFd<'_>, name: &CStr) -> sys::Result<()> {
    match fs::openat2(above, name, DIRECTORY, 0, fs::RESOLVE_NO_XDEV | fs::RESOLVE_BENEATH) {
        Ok(top) => opened(above, name, top.as_fd()),
        Err(error) if error.errno == ENOENT => Ok(()),
        Err(error) if error.errno == ENOTDIR => fs::unlinkat(above, name),
        Err(error) => Err(error),
    }
}

/// Removes `path` and the directories below it, where the kernel removes files with their directory and moves nothing:
/// control groups, which a container may nest deeper than a path can be.
pub fn directories(path: &Path) -> io::Result<()> {
    let path = c_path(path).map_err(to_io)?;
    match fs::rmdirat(fs::CWD, &path) {
        // Most have no others below.
        Ok(()) => Ok(()),
        Err(_) => inner_directories(&path).and_then(|()| fs::rmdirat(fs::CWD, &path)).map_err(to_io),
    }
}

fn inner_directories(path: &CStr) -> sys::Result<()> {
    let mut here = fs::openat(fs::CWD, path, DIRECTORY, 0)?;
    let mut names = Vec::new();
    loop {
        if let Some((name, inner)) = first_directory(&here)? {
            names.push(name);
            here = inner;
        } else if let Some(name) = names.pop() {
            here = fs::openat(here.as_fd(), c"..", DIRECTORY, 0)?;
            fs::rmdirat(here.as_fd(), &name)?;
        } else {
            return Ok(());
        }
    }
}

fn first_directory(dir: &OwnedFd) -> sys::Result<Option<(CString, OwnedFd)>> {
    let mut buffer = vec![0; ENTRIES_BYTES];
    let mut found = None;
    while found.is_none() {
        let length = fs::getdents(dir.as_fd(), &mut buffer)?;
        if length == 0 {
            break;
        }
        fs::for_each_name(buffer.get(..length).unwrap_or_default(), |name| -> Result<(), Error> {
            if found.is_none() {
                found = fs::openat(dir.as_fd(), name, DIRECTORY, 0).ok().map(|inner| (name.to_owned(), inner));
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn to_io(error: Error) -> io::Error {
    error.into()
}

/// Removes all that is in the directory `top`, and then `top`, which is `name` in `above`.
pub fn opened(above: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>) -> sys::Result<()> {
    let mut removal = Removal { top, next: 0, progress: true, error: None };
    while removal.progress {
        removal.progress = false;
        // Opened anew, a directory is read from its start.
        let top = removal.open(c".")?;
        removal.each(&top, &mut |removal, name| {
            let unlinked = unlink(removal.top, name);
            match unlinked {
                Err(error) if is_full(error) => removal.flatten(name),
                result => result,
            }
        })?;
    }
    match fs::rmdirat(above, name) {
        // What could not be removed explains it better.
        Err(error) if is_full(error) => Err(removal.error.unwrap_or(error)),
        result => result,
    }
}

/// Removes a file, or an empty directory.
fn unlink(dir: BorrowedFd<'_>, name: &CStr) -> sys::Result<()> {
    match fs::unlinkat(dir, name) {
        Err(error) if error.errno == EISDIR => fs::rmdirat(dir, name),
        result => result,
    }
}

fn is_full(error: Error) -> bool {
    error.errno == ENOTEMPTY || error.errno == EEXIST
}

/// Directories that are not empty are moved up into the tree's top, so that no path is longer than two names.
struct Removal<'a> {
    top: BorrowedFd<'a>,
    /// A number for the next name that is free in the top.
    next: u64,
    /// Something was removed, or moved up, since this was last read.
    progress: bool,
    error: Option<Error>,
}

impl Removal<'_> {
    fn open(&self, name: &CStr) -> sys::Result<OwnedFd> {
        fs::openat2(self.top, name, DIRECTORY, 0, fs::RESOLVE_NO_XDEV | fs::RESOLVE_BENEATH)
    }

    /// Empties the directory `name` of the top, and removes it.
    fn flatten(&mut self, name: &CStr) -> sys::Result<()> {
        let dir = self.open(name)?;
        self.each(&dir, &mut |removal, child| match unlink(dir.as_fd(), child) {
            Err(error) if is_full(error) => removal.move_up(dir.as_fd(), child),
            result => result,
        })?;
        fs::rmdirat(self.top, name)
    }

    fn move_up(&mut self, dir: BorrowedFd<'_>, child: &CStr) -> sys::Result<()> {
        loop {
            let name = CString::new(self.next.to_string()).unwrap_or_default();
            self.next += 1;
            match fs::renameat(dir, child, self.top, &name) {
                // The tree itself has that name. An empty directory of that name is replaced.
                Err(error) if is_full(error) || error.errno == ENOTDIR => {}
                result => return result,
            }
        }
    }

    /// Calls `step` with each name in `dir`. Keeps the first error, and goes on.
    fn each(&mut self, dir: &OwnedFd, step: &mut dyn FnMut(&mut Self, &CStr) -> sys::Result<()>) -> sys::Result<()> {
        let mut buffer = vec![0; ENTRIES_BYTES];
        loop {
            let length = fs::getdents(dir.as_fd(), &mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            fs::for_each_name(buffer.get(..length).unwrap_or_default(), |name| -> Result<(), Error> {
                match step(self, name) {
                    Ok(()) => self.progress = true,
                    Err(error) => {
                        self.error.get_or_insert(error);
                    }
                }
                Ok(())
            })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as stdfs;
    use std::os::unix::fs::symlink;

    /// Nests `depth` directories, made from the innermost out: longer than a path may be.
    fn deep(top: &Path, depth: u32) {
        stdfs::create_dir_all(top.join("made")).unwrap();
        for _ in 0..depth {
            stdfs::create_dir(top.join("outer")).unwrap();
            stdfs::rename(top.join("made"), top.join("outer/a-directory")).unwrap();
            stdfs::write(top.join("outer/file"), "x").unwrap();
            stdfs::rename(top.join("outer"), top.join("made")).unwrap();
        }
    }

    #[test]
    fn a_tree_deeper_than_descriptors_and_paths() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        // Deep enough for std::fs::remove_dir_all to run out of descriptors, with names that the removal itself
        // chooses.
        deep(&top, 1500);
        stdfs::create_dir_all(top.join("0/x/y")).unwrap();
        stdfs::write(top.join("1"), "x").unwrap();
        let outside = dir.path().join("outside");
        stdfs::create_dir_all(outside.join("kept")).unwrap();
        symlink(&outside, top.join("link")).unwrap();
        symlink(&outside, top.join("0/x/link")).unwrap();
        tree(&top).unwrap();
        assert!(!top.exists());
        assert!(outside.join("kept").exists());
    }

    /// Promise: nested-control-groups
    #[test]
    fn directories_deeper_than_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        let made = |outer: &Path, depth| {
            stdfs::create_dir_all(outer.join("made")).unwrap();
            for _ in 0..depth {
                stdfs::create_dir(outer.join("outer")).unwrap();
                stdfs::rename(outer.join("made"), outer.join("outer/a-directory")).unwrap();
                stdfs::rename(outer.join("outer"), outer.join("made")).unwrap();
            }
        };
        made(&top, 1500);
        made(&top.join("beside"), 3);
        directories(&top).unwrap();
        assert!(!top.exists());
        // What cannot be removed is an error, and no endless loop.
        stdfs::create_dir_all(top.join("a/b")).unwrap();
        stdfs::write(top.join("a/file"), "x").unwrap();
        assert_eq!(directories(&top).unwrap_err().raw_os_error(), Some(ENOTEMPTY));
        assert_eq!(directories(&dir.path().join("none")).unwrap_err().raw_os_error(), Some(ENOENT));
    }

    #[test]
    fn no_directory_and_nothing_at_all() {
        let dir = tempfile::tempdir().unwrap();
        stdfs::create_dir(dir.path().join("kept")).unwrap();
        symlink("kept", dir.path().join("link")).unwrap();
        tree(&dir.path().join("link")).unwrap();
        tree(&dir.path().join("none")).unwrap();
        assert!(dir.path().join("kept").exists() && !dir.path().join("link").exists());
    }
}
