//! Copies a tree of files with all their attributes: what an image has at the path where a new volume, or a tmpfs, is
//! mounted.

use crate::pure::index::Index;
use crate::sys::fs::{self, Stat, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY};
use crate::sys::path::{c_string, proc_path, PATH_MAX};
use crate::sys::{Result, EOPNOTSUPP, EPERM};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Directory entries that are read at a time.
const ENTRIES_BYTES: usize = 32 << 10;
/// Bytes of a file that are copied at a time.
const COPY_BYTES: usize = 128 << 10;
/// Attribute names of one file, and one value (Linux, limits.h: XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 << 10;

/// Copies what is below `from` into `to`, which is empty, and the directory's own owner, mode, attributes and times.
/// Symlinks are copied, devices and FIFOs made anew; no symlink is followed. A path of the tree may be as long as the
/// kernel takes one.
pub fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let (pending, buffer) = (vec![c".".into()], vec![0; COPY_BYTES]);
    let mut copy = Copy { from, to, pending, links: Index::default(), firsts: Vec::new(), buffer };
    while let Some(path) = copy.pending.pop() {
        copy.directory(&path)?;
    }
    Ok(())
}

/// Whether the directory has no names.
pub fn is_empty(dir: BorrowedFd<'_>) -> Result<bool> {
    // The caller's descriptor may be of O_PATH.
    let dir = open(dir, c".")?;
    let mut empty = true;
    each_name(&dir, &mut |_| {
        empty = false;
        Ok(())
    })?;
    Ok(empty)
}

struct Copy<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    /// Directories that were made, and are still empty.
    pending: Vec<CString>,
    /// Files of more than one name: the bytes of their device and number, and which of `firsts` is theirs.
    links: Index,
    /// The first name of each one's copy.
    firsts: Vec<CString>,
    buffer: Vec<u8>,
}

impl Copy<'_> {
    /// The directory's own times come last: each name that is made in it changes them.
    fn directory(&mut self, path: &CStr) -> Result<()> {
        let (from, to) = (open(self.from, path)?, open(self.to, path)?);
        each_name(&from, &mut |name| self.one(path, &from, &to, name))?;
        let stat = fs::statat(from.as_fd(), c"")?;
        xattrs(&proc_path(from.as_fd(), c"."), &proc_path(to.as_fd(), c"."))?;
        fs::fchown(to.as_fd(), stat.uid, stat.gid)?;
        fs::fchmod(to.as_fd(), stat.mode & 0o7777)?;
        fs::futimens(to.as_fd(), stat.mtime)
    }

    fn one(&mut self, parent: &CStr, from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
        let stat = fs::statat(from.as_fd(), name)?;
        let path = join(parent, name)?;
        if stat.is(fs::S_IFDIR) {
            fs::mkdirat(to.as_fd(), name, 0o700)?;
            self.pending.push(path);
            return Ok(());
        }
        let file = [stat.dev, stat.ino].map(u64::to_ne_bytes).concat();
        if let Some(first) = self.links.get(&file).and_then(|at| self.firsts.get(at)) {
            return fs::linkat(self.to, first, to.as_fd(), name);
        }
        if stat.nlink > 1 {
            self.links.insert(&file, self.firsts.len());
            self.firsts.push(path);
        }
        match stat.mode & fs::S_IFMT {
            fs::S_IFREG => self.file(from, to, name)?,
            fs::S_IFLNK => {
                let mut target = vec![0; PATH_MAX];
                let length = fs::readlinkat(from.as_fd(), name, &mut target)?;
                target.truncate(length);
                fs::symlinkat(&c_string(&target)?, to.as_fd(), name)?;
            }
            _ => fs::mknodat(to.as_fd(), name, stat.mode, fs::device_numbers(stat.rdev))?,
        }
        finish(from, to, name, &stat)
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
        let from = fs::openat(from.as_fd(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0)?;
        let flags = fs::O_CREAT | fs::O_EXCL | fs::O_WRONLY | O_NOFOLLOW;
        let to = fs::openat(to.as_fd(), name, flags, 0o600)?;
        let mut at = 0;
        loop {
            let count = fs::pread(from.as_fd(), &mut self.buffer, at)?;
            let mut rest = self.buffer.get(..count).unwrap_or_default();
            if rest.is_empty() {
                return fs::ftruncate(to.as_fd(), at);
            }
            let end = at + count as u64;
            // Holes stay holes.
            while at < end && rest.iter().any(|byte| *byte != 0) {
                let written = fs::pwrite(to.as_fd(), rest, at)?;
                at += written as u64;
                rest = rest.get(written..).unwrap_or_default();
            }
            at = end;
        }
    }
}

/// Owner before mode, since a change of owner takes set-user-ID away.
fn finish(from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<()> {
    fs::fchownat(to.as_fd(), name, stat.uid, stat.gid)?;
    if !stat.is(fs::S_IFLNK) {
        fs::fchmodat(to.as_fd(), name, stat.mode & 0o7777)?;
    }
    xattrs(&proc_path(from.as_fd(), name), &proc_path(to.as_fd(), name))?;
    fs::utimensat(to.as_fd(), name, stat.mtime)
}

/// Copies the extended attributes, as far as the target's file system keeps them.
fn xattrs(from: &CStr, to: &CStr) -> Result<()> {
    let mut names = vec![0; XATTR_MAX];
    let length = match fs::llistxattr(from, &mut names) {
        Err(error) if matches!(error.errno, EOPNOTSUPP | EPERM) => 0,
        result => result?,
    };
    let names = names.get(..length).unwrap_or_default();
    for name in names.split_inclusive(|byte| *byte == 0).flat_map(CStr::from_bytes_with_nul) {
        let mut value = vec![0; fs::lgetxattr(from, name, &mut [])?];
        fs::lgetxattr(from, name, &mut value)?;
        match fs::lsetxattr(to, name, &value) {
            Err(error) if matches!(error.errno, EOPNOTSUPP | EPERM) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Opens a directory of the tree, and of no file system that is mounted in it.
fn open(top: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    let resolve = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_XDEV;
    fs::openat2(top, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, resolve)
}

fn join(path: &CStr, name: &CStr) -> Result<CString> {
    c_string(&[path.to_bytes(), b"/", name.to_bytes()].concat())
}

fn each_name(dir: &OwnedFd, each: &mut dyn FnMut(&CStr) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; ENTRIES_BYTES];
    loop {
        let length = fs::getdents(dir.as_fd(), &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        fs::for_each_name(buffer.get(..length).unwrap_or_default(), |name| -> Result<()> { each(name) })?;
    }
}

/// Changes the owner of all of the tree, its top included; of symlinks themselves, never of what they name.
pub fn chown(top: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    let mut pending: Vec<CString> = vec![c".".into()];
    while let Some(path) = pending.pop() {
        let dir = open(top, &path)?;
        fs::fchown(dir.as_fd(), uid, gid)?;
        each_name(&dir, &mut |name| {
            if fs::statat(dir.as_fd(), name)?.is(fs::S_IFDIR) {
                pending.push(join(&path, name)?);
                return Ok(());
            }
            fs::fchownat(dir.as_fd(), name, uid, gid)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
    use std::path::Path;

    /// What a copy must have: type, mode, owner, time, size, content, target.
    fn facts(top: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let mut pending = vec![top.to_path_buf()];
        while let Some(path) = pending.pop() {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let link = std::fs::read_link(&path).unwrap_or_default();
            let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            let time = if meta.is_symlink() { 0 } else { meta.mtime() };
            let name = path.strip_prefix(top).unwrap();
            let (owner, nlink) = ((meta.uid(), meta.gid()), if meta.is_dir() { 0 } else { meta.nlink() });
            lines.push(format!("{name:?} {:o} {owner:?} {nlink} {time} {link:?} {content:?}", meta.mode()));
            if meta.is_dir() {
                pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        lines.sort();
        lines
    }

    fn sample(top: &Path) {
        std::fs::create_dir_all(top.join("a/b/c")).unwrap();
        std::fs::write(top.join("a/file"), "text").unwrap();
        std::fs::hard_link(top.join("a/file"), top.join("a/b/twin")).unwrap();
        std::fs::set_permissions(top.join("a/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        std::fs::set_permissions(top.join("a/b"), PermissionsExt::from_mode(0o1777)).unwrap();
        symlink("/etc/passwd", top.join("a/out")).unwrap();
        symlink("missing", top.join("dangling")).unwrap();
        let old = File::open(top.join("a/b")).unwrap();
        fs::futimens(old.as_fd(), (1_000_000, 0)).unwrap();
        fs::mknodat(old.as_fd(), c"fifo", fs::S_IFIFO | 0o640, (0, 0)).unwrap();
        fs::futimens(old.as_fd(), (1_000_000, 0)).unwrap();
    }

    /// Promise: named-volumes, new-volume-copies-image
    #[test]
    fn all_that_files_are() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        sample(&from);
        std::fs::create_dir(&to).unwrap();
        assert!(is_empty(File::open(&to).unwrap().as_fd()).unwrap());
        tree(File::open(&from).unwrap().as_fd(), File::open(&to).unwrap().as_fd()).unwrap();
        assert_eq!(facts(&from), facts(&to));
        assert!(!is_empty(File::open(&to).unwrap().as_fd()).unwrap());
        assert_eq!(std::fs::metadata(to.join("a/file")).unwrap().ino(), {
            std::fs::metadata(to.join("a/b/twin")).unwrap().ino()
        });
    }

    #[test]
    fn a_large_hole_takes_no_space() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(&from).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        let file = File::create(from.join("sparse")).unwrap();
        file.set_len(4 << 20).unwrap();
        fs::pwrite(file.as_fd(), b"end", (4 << 20) - 3).unwrap();
        tree(File::open(&from).unwrap().as_fd(), File::open(&to).unwrap().as_fd()).unwrap();
        let copied = std::fs::metadata(to.join("sparse")).unwrap();
        assert_eq!(copied.len(), 4 << 20);
        assert!(copied.blocks() * 512 < 1 << 20, "{}", copied.blocks());
        assert_eq!(std::fs::read(to.join("sparse")).unwrap(), std::fs::read(from.join("sparse")).unwrap());
    }

    #[test]
    fn owners_change_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        if std::fs::metadata(dir.path()).unwrap().uid() != 0 {
            skip!("owners take root");
        }
        let outside = dir.path().join("outside");
        std::fs::write(&outside, "").unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        symlink(&outside, top.join("a/link")).unwrap();
        chown(File::open(&top).unwrap().as_fd(), 7, 8).unwrap();
        for path in ["", "a", "a/b", "a/link"] {
            let meta = std::fs::symlink_metadata(top.join(path)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (7, 8), "{path}");
        }
        assert_eq!(std::fs::metadata(&outside).unwrap().uid(), 0);
    }
}
