//! The layer's directory: names are resolved inside it, whatever its symlinks
//! say, and what must wait for the archive's end is kept here.

use super::{below, c_string, named, Reason, Step};
use crate::proto::whiteout::MAX_PATH_BYTES;
use crate::sys::fs;
use crate::sys::{self, Error};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Symlinks in one path, as Linux counts them.
const MAX_LINKS: u32 = 40;
/// What may wait for the archive's end: enough for 300 000 directories.
const MAX_LATE_BYTES: usize = 64 << 20;
/// What one waiting thing takes beside its path.
const LATE_OVERHEAD_BYTES: usize = 100;
/// The mode of a parent that neither this layer nor those below describe.
const IMPLIED_MODE: u32 = 0o755;
const DIRENT_BYTES: usize = 32 << 10;

/// What a path is to get when the archive has ended.
#[derive(Default)]
pub struct Late {
    /// A directory's time: making names in it would change it.
    pub time: Option<(i64, u32)>,
    /// A directory that hides those below it.
    pub opaque: bool,
    /// The layers below lose this name.
    pub whiteout: bool,
    /// A file of a lower layer, copied up for a hardlink.
    pub copied: bool,
}

pub struct Tree<'a> {
    root: BorrowedFd<'a>,
    lowers: &'a [BorrowedFd<'a>],
    /// The directory that was entered last, where it really is (no symlink in
    /// it), and the path that led there, as long as it still does.
    dir: OwnedFd,
    path: Vec<u8>,
    asked: Option<Vec<u8>>,
    late: BTreeMap<Vec<u8>, Late>,
    late_bytes: usize,
}

impl<'a> Tree<'a> {
    pub fn new(root: BorrowedFd<'a>, lowers: &'a [BorrowedFd<'a>]) -> Step<Tree<'a>> {
        let dir = fs::openat(root, c".", fs::O_PATH | fs::O_DIRECTORY, 0)?;
        Ok(Tree { root, lowers, dir, path: Vec::new(), asked: None, late: BTreeMap::new(), late_bytes: 0 })
    }

    pub fn root(&self) -> BorrowedFd<'a> {
        self.root
    }

    pub fn lowers(&self) -> &'a [BorrowedFd<'a>] {
        self.lowers
    }

    /// The directory entered last.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub fn parent_path(&self) -> &[u8] {
        &self.path
    }

    /// Where `name` in the directory entered last really is.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        join(&mut path, name);
        path
    }

    pub fn late(&mut self, path: Vec<u8>) -> Step<&mut Late> {
        if !self.late.contains_key(&path) {
            self.late_bytes += path.len() + LATE_OVERHEAD_BYTES;
            if self.late_bytes > MAX_LATE_BYTES {
                return Err(Reason::Text("too many directories and whiteouts"));
            }
        }
        Ok(self.late.entry(path).or_default())
    }

    /// Whether this layer, as far as it was read, hides what the layers below
    /// have at `path`.
    pub fn is_hidden(&self, path: &[u8]) -> bool {
        self.late.get(path).is_some_and(|late| late.whiteout)
            || ancestors(path).any(|dir| self.late.get(dir).is_some_and(|late| late.whiteout || late.opaque))
    }

    /// Goes to the directory at `path` (normal, empty for the root), making
    /// what is missing of it.
    pub fn enter(&mut self, path: &[u8]) -> Step<()> {
        if self.asked.as_deref() == Some(path) {
            return Ok(());
        }
        self.asked = None;
        match open_real(self.root, path, fs::O_PATH | fs::O_DIRECTORY) {
            Ok(dir) => {
                self.dir = dir;
                self.path.clear();
                self.path.extend_from_slice(path);
            }
            Err(_) => (self.dir, self.path) = self.walk(path, true)?,
        }
        self.asked = Some(path.to_vec());
        Ok(())
    }

    /// The directory that holds `parent`/`name`, and where it really is, if
    /// that is there in this layer.
    pub fn locate(&mut self, parent: &[u8], name: &CStr) -> Step<Option<(OwnedFd, Vec<u8>)>> {
        let found = match open_real(self.root, parent, fs::O_PATH | fs::O_DIRECTORY) {
            Ok(dir) => Ok((dir, parent.to_vec())),
            Err(_) => self.walk(parent, false),
        };
        let (dir, path) = match found {
            Ok(found) => found,
            Err(Reason::Sys(Error { errno: libc::ENOENT, .. })) => return Ok(None),
            Err(reason) => return Err(reason),
        };
        match fs::statat(dir.as_fd(), name) {
            Ok(stat) if stat.is(fs::S_IFDIR) => Err(Reason::Text("a hardlink to a directory")),
            Ok(_) => Ok(Some((dir, path))),
            Err(Error { errno: libc::ENOENT, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Resolves `path` name by name, as the kernel would in a chroot; makes
    /// missing directories if `make`.
    fn walk(&mut self, path: &[u8], make: bool) -> Step<(OwnedFd, Vec<u8>)> {
        let mut todo: Vec<Vec<u8>> = path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        let mut at = Vec::new();
        let mut dir = open_real(self.root, b"", fs::O_PATH | fs::O_DIRECTORY)?;
        while let Some(name) = todo.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
                    dir = open_real(self.root, &at, fs::O_PATH | fs::O_DIRECTORY)?;
                    continue;
                }
                _ => {}
            }
            let c_name = c_string(&name)?;
            let stat = match fs::statat(dir.as_fd(), &c_name) {
                Err(Error { errno: libc::ENOENT, .. }) if make => {
                    let mut path = at.clone();
                    join(&mut path, &name);
                    self.make_implied(dir.as_fd(), &c_name, path)?;
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
                    dir = open_real(self.root, b"", fs::O_PATH | fs::O_DIRECTORY)?;
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

    /// A parent that the layer does not describe looks as it does below.
    fn make_implied(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: Vec<u8>) -> Step<()> {
        fs::mkdirat(dir, name, 0o700)?;
        let made = fs::openat(dir, name, fs::O_RDONLY | fs::O_DIRECTORY | fs::O_NOFOLLOW, 0)?;
        self.imply(made.as_fd(), path)
    }

    fn imply(&mut self, dir: BorrowedFd<'_>, path: Vec<u8>) -> Step<()> {
        // Where a lower layer has something else there, a directory hides it.
        let Some(found) = below::find(self.lowers, &path)?.filter(|found| found.stat.is(fs::S_IFDIR)) else {
            fs::fchown(dir, 0, 0)?;
            return Ok(fs::fchmod(dir, IMPLIED_MODE)?);
        };
        fs::fchown(dir, found.stat.uid, found.stat.gid)?;
        fs::fchmod(dir, found.stat.mode & 0o7777)?;
        below::each_xattr(found.open()?.as_fd(), &mut |name, value| fs::fsetxattr(dir, name, value))?;
        self.late(path)?.time = Some(found.stat.mtime);
        Ok(())
    }

    /// Makes `name` in the directory entered last; what this layer had there goes.
    pub fn make<T>(&mut self, name: &CStr, make: &mut dyn FnMut(BorrowedFd<'_>) -> sys::Result<T>) -> Step<T> {
        match make(self.dir.as_fd()) {
            Err(Error { errno: libc::EEXIST, .. }) => {
                self.remove(name)?;
                Ok(make(self.dir.as_fd())?)
            }
            result => Ok(result?),
        }
    }

    pub fn make_node(&mut self, name: &CStr, mode: u32, device: (u32, u32), link: &[u8]) -> Step<()> {
        if mode & fs::S_IFMT == fs::S_IFLNK {
            let link = c_string(link)?;
            return self.make(name, &mut |dir| fs::symlinkat(&link, dir, name));
        }
        self.make(name, &mut |dir| fs::mknodat(dir, name, mode & (fs::S_IFMT | 0o600), device))
    }

    /// Makes the directory `name`, or keeps the one that is there. One that
    /// takes the place of something else has nothing of the layers below: the
    /// other thing had hidden that.
    pub fn make_directory(&mut self, name: &CStr) -> Step<()> {
        match fs::mkdirat(self.dir.as_fd(), name, 0o700) {
            Err(Error { errno: libc::EEXIST, .. }) => {}
            result => return Ok(result?),
        }
        if fs::statat(self.dir.as_fd(), name)?.is(fs::S_IFDIR) {
            return Ok(());
        }
        self.remove(name)?;
        fs::mkdirat(self.dir.as_fd(), name, 0o700)?;
        let path = self.path_of(name.to_bytes());
        self.late(path)?.opaque = true;
        Ok(())
    }

    /// Removes `name` from the directory entered last, with all that is in it.
    fn remove(&mut self, name: &CStr) -> Step<()> {
        // The path that led here may have gone through it.
        self.asked = None;
        let path = self.path_of(name.to_bytes());
        match fs::unlinkat(self.dir.as_fd(), name) {
            Err(Error { errno: libc::EISDIR, .. }) => {
                remove_directory(self.dir.as_fd(), name)?;
                let (from, to) = ([&path[..], b"/"].concat(), [&path[..], b"0"].concat());
                while let Some((key, _)) = self.late.range(from.clone()..to.clone()).next() {
                    let key = key.clone();
                    self.forget(&key);
                }
            }
            result => result?,
        }
        self.forget(&path);
        Ok(())
    }

    fn forget(&mut self, path: &[u8]) {
        if self.late.remove(path).is_some() {
            self.late_bytes -= path.len() + LATE_OVERHEAD_BYTES;
        }
    }

    /// Does what waited for the archive's end. Returns whether the root is opaque.
    pub fn settle(mut self, has_root: bool) -> Result<bool, String> {
        if !has_root {
            self.imply(self.root, Vec::new()).map_err(|reason| named(b"", &reason))?;
        }
        let mut late = std::mem::take(&mut self.late);
        // Parents sort before what they hold: their marks are settled first.
        let keys: Vec<Vec<u8>> = late.iter().filter(|(_, l)| l.whiteout || l.copied).map(|(k, _)| k.clone()).collect();
        for path in keys {
            let hidden = ancestors(&path).any(|dir| late.get(dir).is_some_and(|late| late.opaque));
            if let Some(this) = late.get_mut(&path) {
                self.settle_whiteout(&path, this, hidden).map_err(|reason| named(&path, &reason))?;
            }
        }
        for (path, late) in &late {
            self.settle_directory(path, late).map_err(|error| named(path, &error.into()))?;
        }
        Ok(late.get(&b""[..]).is_some_and(|late| late.opaque))
    }

    /// `hidden`: a directory above is opaque; a whiteout there would show up in
    /// listings, as overlayfs only looks for them where it merges.
    fn settle_whiteout(&self, path: &[u8], late: &mut Late, hidden: bool) -> Step<()> {
        let split = path.iter().rposition(|b| *b == b'/');
        let parent = path.get(..split.unwrap_or(0)).unwrap_or(b"");
        let name = c_string(path.get(split.map_or(0, |slash| slash + 1)..).unwrap_or(b""))?;
        let dir = open_real(self.root, parent, fs::O_PATH | fs::O_DIRECTORY)?;
        match fs::statat(dir.as_fd(), &name) {
            Ok(stat) if stat.is(fs::S_IFDIR) => {
                late.opaque |= late.whiteout;
                return Ok(());
            }
            // What was copied up is the lower layers' file, and goes with them.
            Ok(_) if late.copied && (late.whiteout || hidden) => fs::unlinkat(dir.as_fd(), &name)?,
            Ok(_) => return Ok(()),
            Err(Error { errno: libc::ENOENT, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if late.whiteout && !hidden && below::find(self.lowers, path)?.is_some() {
            fs::mknodat(dir.as_fd(), &name, fs::S_IFCHR, (0, 0))?;
        }
        Ok(())
    }

    fn settle_directory(&self, path: &[u8], late: &Late) -> sys::Result<()> {
        if late.time.is_none() && !late.opaque {
            return Ok(());
        }
        let dir = open_real(self.root, path, fs::O_RDONLY | fs::O_DIRECTORY)?;
        if late.opaque {
            fs::fsetxattr(dir.as_fd(), below::OPAQUE, b"y")?;
        }
        match late.time {
            Some(time) => fs::futimens(dir.as_fd(), time),
            None => Ok(()),
        }
    }
}

/// Opens `path` below `root` only if it has no symlink in it.
fn open_real(root: BorrowedFd<'_>, path: &[u8], flags: libc::c_int) -> sys::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let path = CString::new(path).map_err(|_| Error::new("open", libc::EINVAL))?;
    let resolve = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_MAGICLINKS;
    fs::openat2(root, &path, flags, 0, resolve)
}

/// Removes the directory `dir`/`name` and all that is in it, however deep,
/// without recursion and with one descriptor at a time.
fn remove_directory(dir: BorrowedFd<'_>, name: &CStr) -> Step<()> {
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

/// The directories above `path`: the root first.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root = (!path.is_empty()).then_some(&b""[..]);
    root.into_iter().chain(path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| &path[..at]))
}

/// A path to `name` in `dir` for calls that take no descriptor.
pub fn proc_path(dir: BorrowedFd<'_>, name: &CStr) -> Step<CString> {
    let mut path = b"/proc/self/fd/".to_vec();
    path.extend_from_slice(dir.as_raw_fd().to_string().as_bytes());
    join(&mut path, name.to_bytes());
    c_string(&path)
}
