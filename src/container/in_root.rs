//! Opens and makes paths in a container's root: no symlink of the image leads out of it. The child does that, so
//! nothing here allocates, but for `open_below`.

use crate::sys::fs::{self, O_DIRECTORY, O_PATH};
use crate::sys::path::PATH_MAX;
use crate::sys::{Error, Result, EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENODEV, ENOENT};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Symlinks in a path, as the kernel counts them (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Opens `path` below `root`. The image's symlinks are followed in the root; magic links of `/proc` are not.
pub fn open(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    fs::openat2(root, path, flags, 0, fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS)
}

/// As [`open`], for the parent, which has the root by its path.
pub fn open_below(root: &std::path::Path, path: &CStr, flags: i32) -> Result<OwnedFd> {
    let root = File::open(root).map_err(|error| Error::from_io("open", &error))?;
    open(root.as_fd(), path, flags)
}

/// As [`open`], but a symlink anywhere in `path` is an error (ELOOP).
pub fn open_plain(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    fs::openat2(root, path, flags, 0, fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_SYMLINKS)
}

/// Linux, magic.h.
pub const PROC: u64 = 0x9fa0;
pub const SYSFS: u64 = 0x6265_6572;
pub const DEVPTS: u64 = 0x1cd1;

/// An error unless `file` lies in a file system of this kind: nothing is written to what merely has its path
/// (CVE-2025-52881).
pub fn expect_kind(file: &OwnedFd, kind: u64) -> Result<()> {
    match fs::statfs(file.as_fd())?.kind == kind {
        true => Ok(()),
        false => Err(Error::new("statfs", ENODEV)),
    }
}

/// Whether it is the device that `/dev/null` is everywhere.
pub fn is_null(file: &OwnedFd) -> Result<bool> {
    let stat = fs::statat(file.as_fd(), c"")?;
    Ok(stat.is(fs::S_IFCHR) && fs::device_numbers(stat.rdev) == (1, 3))
}

/// A path in a buffer of fixed size.
struct Path {
    bytes: [u8; PATH_MAX],
    length: usize,
}

impl Path {
    fn new(path: &CStr) -> Result<Path> {
        let mut new = Path { bytes: [0; PATH_MAX], length: 0 };
        new.push(path.to_bytes())?;
        Ok(new)
    }

    /// One byte stays free for the NUL.
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.length + bytes.len();
        let room = self.bytes.get_mut(self.length..end).filter(|_| end < PATH_MAX);
        room.ok_or(Error::new("open", ENAMETOOLONG))?.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Calls `with` with the first `length` bytes as a string; none are `.`.
    fn start<T>(&mut self, length: usize, with: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
        if length == 0 {
            return with(c".");
        }
        let place = self.bytes.get_mut(length).ok_or(Error::new("open", ENAMETOOLONG))?;
        let was = std::mem::replace(place, 0);
        let result = with(CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default());
        self.bytes[length] = was;
        result
    }
}

/// The mode of a directory that is made to mount another there, as crun has it.
pub const MOUNT_POINT: u32 = 0o1755;

/// Opens `path`; where it is missing, makes it as a directory of this `mode`, or, without one, as a file, with each
/// directory on the way to it. A dangling symlink is followed in the root: what it names is made.
pub fn make(root: BorrowedFd<'_>, path: &CStr, mode: Option<u32>) -> Result<OwnedFd> {
    let mut path = Path::new(path)?;
    for _ in 0..LINKS_MAX {
        let end = path.length;
        if let Some(place) = found(path.start(end, |path| open(root, path, O_PATH)))? {
            return Ok(place);
        }
        make_missing(root, &mut path, mode)?;
    }
    Err(Error::new("open", ELOOP))
}

fn found(result: Result<OwnedFd>) -> Result<Option<OwnedFd>> {
    match result {
        Err(error) if error.errno == ENOENT => Ok(None),
        result => result.map(Some),
    }
}

/// Makes what is missing of `path`; where a symlink is in the way, what it
/// names takes its place in `path` instead.
fn make_missing(root: BorrowedFd<'_>, path: &mut Path, mode: Option<u32>) -> Result<()> {
    let mut at = 0;
    loop {
        let rest = path.bytes().get(at..).unwrap_or_default();
        let begin = at + rest.iter().take_while(|byte| **byte == b'/').count();
        let rest = path.bytes().get(begin..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        if length == 0 {
            return Ok(());
        }
        let (parent, end) = (begin.saturating_sub(1), begin + length);
        let is_last = path.bytes().get(end..).unwrap_or_default().iter().all(|byte| *byte == b'/');
        if found(path.start(end, |path| open(root, path, O_PATH)))?.is_none() {
            let dir = path.start(parent, |path| open(root, path, O_PATH | O_DIRECTORY))?;
            let mut name = [0; 256];
            let from = path.bytes().get(begin..end).unwrap_or_default();
            name.get_mut(..length)
                .filter(|_| length < 256)
                .ok_or(Error::new("open", ENAMETOOLONG))?
                .copy_from_slice(from);
            let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
            let made = match mode.or((!is_last).then_some(0o755)) {
                Some(mode) => fs::mkdirat(dir.as_fd(), name, mode),
                None => fs::mknodat(dir.as_fd(), name, fs::S_IFREG | 0o644, (0, 0)),
            };
            match made {
                Err(error) if error.errno == EEXIST => return follow(&dir, name, path, (parent, end)),
                made => made?,
            }
        }
        at = end;
    }
}

/// Puts the target of the symlink `name` into `path`, in the place of its own.
fn follow(dir: &OwnedFd, name: &CStr, path: &mut Path, (parent, end): (usize, usize)) -> Result<()> {
    let mut target = [0; PATH_MAX];
    let length = fs::readlinkat(dir.as_fd(), name, &mut target)?;
    let target = target.get(..length).filter(|target| !target.is_empty()).ok_or(Error::new("readlink", EINVAL))?;
    let old = Path { bytes: path.bytes, length: path.length };
    path.length = if target.starts_with(b"/") { 0 } else { parent };
    path.push(b"/")?;
    path.push(target)?;
    path.push(old.bytes().get(end..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn in_root(what: &dyn Fn(&std::path::Path)) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        what(&dir.path().join("root"));
        dir
    }

    fn made(dir: &tempfile::TempDir, path: &CStr, is_directory: bool) -> Result<OwnedFd> {
        let mode = is_directory.then_some(0o755);
        make(File::open(dir.path().join("root")).unwrap().as_fd(), path, mode)
    }

    #[test]
    fn what_is_missing_is_made() {
        let dir = in_root(&|root| std::fs::create_dir(root.join("there")).unwrap());
        for (path, is_directory) in
            [(c"there/a/b", true), (c"file", false), (c"/x//y/", true), (c"there/z/file", false)]
        {
            made(&dir, path, is_directory).unwrap();
            let place = dir.path().join("root").join(path.to_str().unwrap().trim_start_matches('/'));
            assert_eq!(place.is_dir(), is_directory, "{path:?}");
            // And found the next time.
            made(&dir, path, is_directory).unwrap();
        }
        made(&dir, c".", true).unwrap();
    }

    /// Promise: mount-targets-inside
    #[test]
    fn links_are_followed_inside_only() {
        let dir = in_root(&|root| {
            std::fs::create_dir_all(root.join("etc/deep")).unwrap();
            symlink("../run/resolve/stub.conf", root.join("etc/resolv.conf")).unwrap();
            symlink("/run/absolute", root.join("etc/absolute")).unwrap();
            symlink("../../../../../../outside", root.join("etc/out")).unwrap();
            symlink("resolv.conf", root.join("etc/twice")).unwrap();
        });
        made(&dir, c"etc/twice", false).unwrap();
        made(&dir, c"etc/absolute/below", false).unwrap();
        made(&dir, c"etc/out", true).unwrap();
        let root = dir.path().join("root");
        assert!(root.join("run/resolve/stub.conf").is_file() && root.join("run/absolute/below").is_file());
        assert!(root.join("outside").is_dir() && !dir.path().join("outside").exists());
    }

    /// Promise: mount-targets-inside
    #[test]
    fn loops_and_long_paths_end() {
        let dir = in_root(&|root| {
            symlink("b", root.join("a")).unwrap();
            symlink("a", root.join("b")).unwrap();
        });
        assert!(made(&dir, c"a", true).is_err_and(|error| error.errno == ELOOP));
        assert!(made(&dir, c"b/c", false).is_err_and(|error| error.errno == ELOOP));
        let long = std::ffi::CString::new("y/".repeat(3000)).unwrap();
        assert!(made(&dir, &long, true).is_err_and(|error| error.errno == ENAMETOOLONG));
        let name = std::ffi::CString::new("n".repeat(256)).unwrap();
        assert!(made(&dir, &name, true).is_err_and(|error| error.errno == ENAMETOOLONG));
        // A file on the way stays a file.
        std::fs::write(dir.path().join("root/file"), "").unwrap();
        assert!(made(&dir, c"file/below", true).is_err());
    }
}
