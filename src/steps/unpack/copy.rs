//! Copies a folder with all that is in it: what a new volume gets of the image.

use super::below::{self, Found, Lower};
use super::{c_string, named, resolve, write_all, Step};
use crate::sys::fs::{self, Stat};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is copied, and what is listed, at a time.
const COPY_BYTES: usize = 128 << 10;

/// Copies all in the folder `from` into the empty folder `to`, and what the
/// folder itself is: owner, mode, times, attributes. Symlinks stay what they
/// are. An error names the file.
pub fn folder(from: OwnedFd, to: OwnedFd) -> Result<(), String> {
    let mut copy = Copy { from: from.into(), to, links: Vec::new(), folders: vec![Vec::new()], buffer: Vec::new() };
    copy.buffer.resize(COPY_BYTES, 0);
    let mut done = 0;
    while let Some(path) = copy.folders.get(done).cloned() {
        copy.inside(&path)?;
        done += 1;
    }
    // Last, and the innermost first: what is made in a folder changes its times.
    while let Some(path) = copy.folders.pop() {
        copy.finish_folder(&path).map_err(|reason| named(&path, &reason))?;
    }
    Ok(())
}

struct Copy {
    from: Lower,
    to: OwnedFd,
    /// Files with several names: their inodes, and the first name here.
    links: Vec<((u64, u64), Vec<u8>)>,
    /// Folders that are made, an outer one before those in it.
    folders: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Copy {
    fn inside(&mut self, path: &[u8]) -> Result<(), String> {
        for name in self.names(path).map_err(|reason| named(path, &reason))? {
            let mut child = path.to_vec();
            resolve::join(&mut child, name.as_bytes());
            self.one(&child).map_err(|reason| named(&child, &reason))?;
        }
        Ok(())
    }

    fn names(&mut self, path: &[u8]) -> Step<Vec<CString>> {
        let dir = resolve::open_real(self.from.as_fd(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
        let mut names = Vec::new();
        loop {
            let length = fs::getdents(dir.as_fd(), &mut self.buffer)?;
            if length == 0 {
                return Ok(names);
            }
            fs::for_each_name(self.buffer.get(..length).unwrap_or_default(), |name| -> Step<()> {
                names.push(name.into());
                Ok(())
            })?;
        }
    }

    /// The name `path`, whose folder is there already.
    fn one(&mut self, path: &[u8]) -> Step<()> {
        let found = below::at(&self.from, path)?;
        let (parent, name) = resolve::split(path);
        let dir = resolve::open_real(self.to.as_fd(), parent, fs::O_RDONLY | fs::O_DIRECTORY)?;
        let (dir, name, stat) = (dir.as_fd(), c_string(name)?, found.stat);
        if stat.is(fs::S_IFDIR) {
            self.folders.push(path.into());
            return Ok(fs::mkdirat(dir, &name, 0o700)?);
        }
        let inode = (stat.dev, stat.ino);
        if let Some((_, first)) = self.links.iter().find(|(known, _)| *known == inode) {
            let (parent, first) = resolve::split(first);
            let parent = resolve::open_real(self.to.as_fd(), parent, fs::O_RDONLY | fs::O_DIRECTORY)?;
            return Ok(fs::linkat(parent.as_fd(), &c_string(first)?, dir, &name)?);
        }
        if stat.nlink > 1 {
            self.links.push((inode, path.into()));
        }
        if stat.is(fs::S_IFREG) {
            let flags = fs::O_CREAT | fs::O_EXCL | fs::O_WRONLY | fs::O_NOFOLLOW;
            let to = fs::openat(dir, &name, flags, 0o600)?;
            self.content(&found, to.as_fd())?;
            return finish(&found, to.as_fd(), &stat);
        }
        if stat.is(fs::S_IFLNK) {
            fs::symlinkat(&c_string(&found.link()?)?, dir, &name)?;
        } else {
            fs::mknodat(dir, &name, stat.mode, fs::device_numbers(stat.rdev))?;
        }
        fs::fchownat(dir, &name, stat.uid, stat.gid)?;
        if !stat.is(fs::S_IFLNK) {
            fs::fchmodat(dir, &name, stat.mode & 0o7777)?;
        }
        let path = resolve::proc_path(dir, &name)?;
        found.each_xattr(&mut |name, value| fs::lsetxattr(&path, name, value))?;
        Ok(fs::utimensat(dir, &name, stat.mtime)?)
    }

    fn content(&mut self, found: &Found, to: BorrowedFd<'_>) -> Step<()> {
        let from = found.open()?;
        let mut at = 0;
        loop {
            let length = fs::pread(from.as_fd(), &mut self.buffer, at)?;
            let Some(bytes) = self.buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            // Holes stay holes.
            if bytes.iter().any(|byte| *byte != 0) {
                write_all(to, bytes, at)?;
            }
            at += length as u64;
        }
        Ok(fs::ftruncate(to, at)?)
    }

    fn finish_folder(&self, path: &[u8]) -> Step<()> {
        let found = below::at(&self.from, path)?;
        let to = resolve::open_real(self.to.as_fd(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
        finish(&found, to.as_fd(), &found.stat)
    }
}

/// The owner before the mode, which a change of owner takes bits from; times last.
fn finish(found: &Found, to: BorrowedFd<'_>, stat: &Stat) -> Step<()> {
    fs::fchown(to, stat.uid, stat.gid)?;
    fs::fchmod(to, stat.mode & 0o7777)?;
    found.each_xattr(&mut |name, value| fs::fsetxattr(to, name, value))?;
    Ok(fs::futimens(to, stat.mtime)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as stdfs;
    use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
    use std::path::Path;

    fn open(path: &Path) -> OwnedFd {
        stdfs::File::open(path).unwrap().into()
    }

    #[test]
    fn all_kinds_with_their_modes_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        stdfs::create_dir_all(from.join("a/b")).unwrap();
        stdfs::create_dir(&to).unwrap();
        stdfs::write(dir.path().join("outside"), "x").unwrap();
        stdfs::write(from.join("a/file"), [vec![0; 200_000], b"end".to_vec()].concat()).unwrap();
        stdfs::hard_link(from.join("a/file"), from.join("twin")).unwrap();
        symlink("../outside", from.join("link")).unwrap();
        stdfs::set_permissions(from.join("a/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        stdfs::set_permissions(&from, PermissionsExt::from_mode(0o1770)).unwrap();
        for path in [from.join("a/b"), from.join("a"), from.clone()] {
            fs::futimens(open(&path).as_fd(), (1000, 5)).unwrap();
        }
        folder(open(&from), open(&to)).unwrap();
        assert_eq!(stdfs::read(to.join("twin")).unwrap(), stdfs::read(from.join("a/file")).unwrap());
        let meta = |path: &str| stdfs::symlink_metadata(to.join(path)).unwrap();
        assert_eq!((meta("a/file").mode() & 0o7777, meta("").mode() & 0o7777), (0o4751, 0o1770));
        assert_eq!(meta("a/file").ino(), meta("twin").ino());
        assert_eq!(["a/b", "a", ""].map(|path| meta(path).mtime()), [1000; 3]);
        assert_eq!(stdfs::read_link(to.join("link")).unwrap(), Path::new("../outside"));
        assert!(meta("a/file").blocks() * 512 < 200_000, "the hole is filled");
    }

    #[test]
    fn an_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        stdfs::create_dir_all(from.join("a")).unwrap();
        stdfs::create_dir_all(to.join("a")).unwrap();
        assert_eq!(folder(open(&from), open(&to)).unwrap_err(), "a: mkdir: file exists");
    }
}
