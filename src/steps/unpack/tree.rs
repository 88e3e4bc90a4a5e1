//! The layer's directory: names are resolved inside it, whatever its symlinks
//! say, and what must wait for the archive's end is kept here.

use super::below::{self, Found, Lower};
use super::resolve::{ancestors, join, kind_at, open_real, remove_directory, resolve};
use super::{c_string, named, Reason, Step};
use crate::proto::whiteout::Meaning;
use crate::sys::fs;
use crate::sys::{self, Error};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What may wait for the archive's end: enough for 300 000 directories.
const MAX_LATE_BYTES: usize = 64 << 20;
/// What one waiting thing takes beside its path.
const LATE_OVERHEAD_BYTES: usize = 100;
/// The mode of a parent that neither this layer nor those below describe.
const IMPLIED_MODE: u32 = 0o755;

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
    /// A directory that no entry describes: it looks as it does below, unless
    /// this layer hides what is there.
    pub implied: bool,
}

/// What a directory (set-group-ID, a default ACL), the mount and our umask make
/// of a new file.
#[derive(Clone, Copy)]
pub struct Birth {
    pub owner: (u32, u32),
    /// Bits of the mode that are known to be kept.
    pub kept: u32,
}

/// A layer's tree in the making.
pub struct Tree {
    root: OwnedFd,
    /// The layers below, topmost first; none while nobody has asked for them.
    pub lowers: Option<Vec<Lower>>,
    /// The directory that was entered last, where it really is (no symlink in
    /// it), and the path that led there, as long as it still does.
    dir: OwnedFd,
    path: Vec<u8>,
    asked: Option<Vec<u8>>,
    /// How files are born in that directory, as far as one was looked at.
    pub birth: Option<Birth>,
    late: BTreeMap<Vec<u8>, Late>,
    late_bytes: usize,
    /// The archive has ended: nothing waits any more.
    settling: bool,
}

impl Tree {
    pub fn new(root: OwnedFd) -> Step<Tree> {
        let dir = fs::openat(root.as_fd(), c".", fs::O_PATH | fs::O_DIRECTORY, 0)?;
        Ok(Tree {
            root,
            lowers: None,
            dir,
            path: Vec::new(),
            asked: None,
            birth: None,
            late: BTreeMap::new(),
            late_bytes: 0,
            settling: false,
        })
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// What the layers below show at `path`; nothing where there are none.
    pub fn below(&self, path: &[u8]) -> sys::Result<Option<Found>> {
        below::find(self.lowers.as_deref().unwrap_or_default(), path)
    }

    /// Memory for what waits for the archive's end.
    pub fn late_bytes(&self) -> usize {
        self.late_bytes
    }

    /// The directory entered last.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
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

    /// The layers below lose `path`, or what they have in it. What was copied up
    /// from there goes at once: a later member must not follow a symlink of it.
    pub fn hide(&mut self, path: Vec<u8>, meaning: Meaning) -> Step<()> {
        let late = self.late(path.clone())?;
        let mark = if meaning == Meaning::Opaque { &mut late.opaque } else { &mut late.whiteout };
        let known = std::mem::replace(mark, true);
        // Nobody has asked for the layers below: nothing was copied up.
        if known || self.lowers.is_none() {
            return Ok(());
        }
        let inside = self.late.range(path.clone()..).take_while(|(at, _)| at.starts_with(&path));
        let copied = inside.filter(|(at, late)| late.copied && self.is_hidden(at));
        for path in copied.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.remove_copy(&path)?;
        }
        Ok(())
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
        (self.asked, self.birth) = (None, None);
        match open_real(self.root(), path, fs::O_PATH | fs::O_DIRECTORY) {
            Ok(dir) => {
                self.dir = dir;
                self.path.clear();
                self.path.extend_from_slice(path);
            }
            Err(_) => (self.dir, self.path) = self.walk_making(path)?,
        }
        self.asked = Some(path.to_vec());
        Ok(())
    }

    /// Where the directory at `path` really is, or would be if it were made:
    /// the layers below may have it.
    pub fn real_path(&self, path: &[u8]) -> Step<Vec<u8>> {
        if open_real(self.root(), path, fs::O_PATH | fs::O_DIRECTORY).is_ok() {
            return Ok(path.to_vec());
        }
        let mut made = None;
        let found = resolve(self.root(), path, &mut |_, _, mut path, rest| {
            for name in rest.iter().rev() {
                match &name[..] {
                    b"" | b"." => {}
                    b".." => path.truncate(path.iter().rposition(|b| *b == b'/').unwrap_or(0)),
                    name => join(&mut path, name),
                }
            }
            made = Some(path);
            Err(Error::new("open", libc::ENOENT).into())
        });
        match (found, made) {
            (Ok((_, path)), _) | (Err(_), Some(path)) => Ok(path),
            (Err(reason), None) => Err(reason),
        }
    }

    /// The directory that holds `parent`/`name`, and where it really is, if
    /// that is there in this layer.
    pub fn locate(&mut self, parent: &[u8], name: &CStr) -> Step<Option<(OwnedFd, Vec<u8>)>> {
        let found = match open_real(self.root(), parent, fs::O_PATH | fs::O_DIRECTORY) {
            Ok(dir) => Ok((dir, parent.to_vec())),
            Err(_) => self.walk(parent),
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

    fn walk(&self, path: &[u8]) -> Step<(OwnedFd, Vec<u8>)> {
        resolve(self.root(), path, &mut |_, _, _, _| Err(Error::new("open", libc::ENOENT).into()))
    }

    fn walk_making(&mut self, path: &[u8]) -> Step<(OwnedFd, Vec<u8>)> {
        let root = fs::openat(self.root(), c".", fs::O_PATH | fs::O_DIRECTORY, 0)?;
        resolve(root.as_fd(), path, &mut |dir, name, path, _| self.make_implied(dir, name, path))
    }

    fn make_implied(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: Vec<u8>) -> Step<()> {
        fs::mkdirat(dir, name, 0o700)?;
        fs::fchownat(dir, name, 0, 0)?;
        fs::fchmodat(dir, name, IMPLIED_MODE)?;
        if self.settling {
            let made = fs::openat(dir, name, fs::O_RDONLY | fs::O_DIRECTORY | fs::O_NOFOLLOW, 0)?;
            return self.imply(made.as_fd(), path);
        }
        self.late(path)?.implied = true;
        Ok(())
    }

    /// Gives `dir` the looks of the directory that the layers below have at `path`.
    fn imply(&mut self, dir: BorrowedFd<'_>, path: Vec<u8>) -> Step<()> {
        // Where a lower layer has something else there, a directory hides it.
        let Some(found) = self.below(&path)?.filter(|found| found.stat.is(fs::S_IFDIR)) else {
            return Ok(());
        };
        fs::fchown(dir, found.stat.uid, found.stat.gid)?;
        fs::fchmod(dir, found.stat.mode & 0o7777)?;
        found.each_xattr(&mut |name, value| fs::fsetxattr(dir, name, value))?;
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

    /// Does what waited for the archive's end and for the layers below. Returns
    /// whether the root is opaque.
    pub fn settle(mut self, has_root: bool, lowers: Vec<Lower>) -> Result<bool, String> {
        self.settling = true;
        self.lowers = Some(lowers);
        if !has_root {
            self.imply_root().map_err(|reason| named(b"", &reason))?;
        }
        // Parents sort before what they hold: their marks are settled first.
        let marks = self.late.iter().filter(|(_, late)| late.opaque || late.whiteout || late.implied);
        for path in marks.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.settle_mark(&path).map_err(|reason| named(&path, &reason))?;
        }
        for (path, late) in &self.late {
            self.settle_directory(path, late).map_err(|error| named(path, &error.into()))?;
        }
        Ok(self.late.get(&b""[..]).is_some_and(|late| late.opaque))
    }

    fn imply_root(&mut self) -> Step<()> {
        let root = fs::openat(self.root(), c".", fs::O_RDONLY | fs::O_DIRECTORY, 0)?;
        fs::fchmod(root.as_fd(), IMPLIED_MODE)?;
        self.imply(root.as_fd(), Vec::new())
    }

    /// What was copied up is the lower layers' file, and goes with them; so do
    /// the parents that it alone implied.
    fn remove_copy(&mut self, path: &[u8]) -> Step<()> {
        self.asked = None;
        self.late(path.to_vec())?.copied = false;
        let (parent, name) = split(path);
        let dir = open_real(self.root.as_fd(), parent, fs::O_PATH | fs::O_DIRECTORY)?;
        fs::unlinkat(dir.as_fd(), &c_string(name)?)?;
        let mut path = parent;
        while let Some(late) = self.late.get_mut(path).filter(|late| late.implied) {
            let (parent, name) = split(path);
            let dir = open_real(self.root.as_fd(), parent, fs::O_PATH | fs::O_DIRECTORY)?;
            match fs::rmdirat(dir.as_fd(), &c_string(name)?) {
                Err(Error { errno: libc::ENOTEMPTY, .. }) => break,
                result => result?,
            }
            late.implied = false;
            path = parent;
        }
        Ok(())
    }

    /// Turns a whiteout into overlayfs's form. Marks on what the layers below
    /// do not have leave nothing behind: in a directory that overlayfs does not
    /// merge, a whiteout would show up in listings.
    fn settle_mark(&mut self, path: &[u8]) -> Step<()> {
        let hidden = ancestors(path).any(|dir| self.late.get(dir).is_some_and(|late| late.opaque));
        let Some(late) = self.late.get_mut(path).filter(|_| !path.is_empty()) else { return Ok(()) };
        let Late { opaque, whiteout, implied, .. } = *late;
        let (parent, name) = split(path);
        let name = c_string(name)?;
        match kind_at(self.root.as_fd(), parent, &name)? {
            Some(fs::S_IFDIR) => {
                late.opaque |= whiteout;
                if implied && !whiteout && !hidden {
                    let dir = open_real(self.root(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
                    self.imply(dir.as_fd(), path.to_vec())?;
                }
                return Ok(());
            }
            Some(_) => {
                late.opaque = false;
                return Ok(());
            }
            None => {}
        }
        late.opaque = false;
        let found = if hidden { None } else { self.below(path)? };
        let Some(found) = found else { return Ok(()) };
        if whiteout {
            self.enter(parent)?;
            fs::mknodat(self.parent(), &name, fs::S_IFCHR, (0, 0))?;
        } else if opaque && found.stat.is(fs::S_IFDIR) {
            self.enter(path)?;
            self.late(path.to_vec())?.opaque = true;
        }
        Ok(())
    }

    fn settle_directory(&self, path: &[u8], late: &Late) -> sys::Result<()> {
        if late.time.is_none() && !late.opaque {
            return Ok(());
        }
        let dir = open_real(self.root(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
        if late.opaque {
            fs::fsetxattr(dir.as_fd(), below::OPAQUE, b"y")?;
        }
        match late.time {
            Some(time) => fs::futimens(dir.as_fd(), time),
            None => Ok(()),
        }
    }
}

/// Parent and name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or(b""), path.get(slash + 1..).unwrap_or(b"")),
        None => (b"", path),
    }
}
