//! The layer's directory: names are resolved inside it, whatever its symlinks
//! say, and what must wait for the archive's end is kept here.

use crate::layer::pure::whiteout::Meaning;
use crate::layer::unpack::deferred::{Late, Lates};
use crate::layer::unpack::lower::{self, Found, Lower};
use crate::layer::unpack::lower_lookup::{self, Looks};
use crate::layer::unpack::resolve::{ancestors, join, kind_at, open_real, remove_directory, resolve, split};
use crate::layer::unpack::{named, Beside, Reason, Step};
use crate::sys::path::c_string;
use crate::sys::{self, fs, overlayfs, Error};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The mode of a parent that neither this layer nor those below describe.
const IMPLIED_MODE: u32 = 0o755;
/// The root's, where none of them does: podman's.
const ROOT_MODE: u32 = 0o555;

/// What a directory (set-group-ID, a default ACL), the mount and our umask make
/// of a new file.
#[derive(Clone, Copy)]
pub struct Birth {
    pub owner: (u32, u32),
    /// Bits of the mode that are known to be kept.
    pub kept: u32,
}

/// A layer's tree in the making.
pub struct Tree<'b> {
    root: OwnedFd,
    pub beside: &'b mut dyn Beside,
    /// The layers below, topmost first; none while nobody has asked for them.
    pub lowers: Option<Vec<Lower>>,
    looks: Looks,
    /// The directory that was entered last (none: the root), where it really is
    /// (no symlink in it), and the path that led there, as long as it still does.
    dir: Option<OwnedFd>,
    path: Vec<u8>,
    asked: Option<Vec<u8>>,
    /// How files are born in that directory, as far as one was looked at.
    pub birth: Option<Birth>,
    late: Lates,
}

impl<'b> Tree<'b> {
    /// `late` is what has waited since the archive's end, if it has ended.
    pub fn new(root: OwnedFd, beside: &'b mut dyn Beside, late: Lates) -> Tree<'b> {
        Tree {
            root,
            beside,
            lowers: None,
            looks: Looks::default(),
            dir: None,
            path: Vec::new(),
            asked: None,
            birth: None,
            late,
        }
    }

    /// The archive has ended: what must wait for the layers below.
    pub fn into_late(self) -> Lates {
        self.late
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// What the layers below show at `path`; nothing where there are none.
    pub fn below(&mut self, path: &[u8]) -> Step<Option<Found>> {
        lower::find(self.lowers.as_deref().unwrap_or_default(), path, &mut self.looks)
    }

    /// The directory entered last.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.dir.as_ref().unwrap_or(&self.root).as_fd()
    }

    /// Where `name` in the directory entered last really is.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        join(&mut path, name);
        path
    }

    pub fn late(&mut self, path: Vec<u8>) -> Step<&mut Late> {
        self.late.at(path, self.beside)
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
        let inside = self.late.map.range(path.clone()..).take_while(|(at, _)| at.starts_with(&path));
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
                self.dir = Some(dir);
                self.path.clear();
                self.path.extend_from_slice(path);
            }
            Err(_) => {
                let (dir, path) = self.walk_making(path)?;
                (self.dir, self.path) = (Some(dir), path);
            }
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
        let late = self.late(path)?;
        (late.implied, late.settled) = (true, false);
        Ok(())
    }

    /// Gives `dir` the looks of what a layer below has in the place of `path`.
    fn imply(&mut self, dir: BorrowedFd<'_>, path: Vec<u8>, found: &Found) -> Step<()> {
        // Where a lower layer has something else there, a directory hides it.
        if !found.stat.is(fs::S_IFDIR) {
            return Ok(());
        }
        fs::fchown(dir, found.stat.uid, found.stat.gid)?;
        fs::fchmod(dir, found.stat.mode & 0o7777)?;
        found.each_xattr(&mut |name, value| fs::fsetxattr(dir, name, value))?;
        self.late(path)?.time = Some(found.stat.mtime);
        Ok(())
    }

    /// Makes `name` in the directory entered last; what this layer had there goes.
    pub fn make<T>(&mut self, name: &CStr, make: &mut dyn FnMut(BorrowedFd<'_>) -> sys::Result<T>) -> Step<T> {
        match make(self.parent()) {
            Err(Error { errno: libc::EEXIST, .. }) => {
                self.remove(name)?;
                Ok(make(self.parent())?)
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
        match fs::mkdirat(self.parent(), name, 0o700) {
            Err(Error { errno: libc::EEXIST, .. }) => {}
            result => return Ok(result?),
        }
        if fs::statat(self.parent(), name)?.is(fs::S_IFDIR) {
            return Ok(());
        }
        self.remove(name)?;
        fs::mkdirat(self.parent(), name, 0o700)?;
        let path = self.path_of(name.to_bytes());
        self.late(path)?.opaque = true;
        Ok(())
    }

    /// Removes `name` from the directory entered last, with all that is in it.
    fn remove(&mut self, name: &CStr) -> Step<()> {
        // The path that led here may have gone through it.
        self.asked = None;
        let path = self.path_of(name.to_bytes());
        match fs::unlinkat(self.parent(), name) {
            Err(Error { errno: libc::EISDIR, .. }) => {
                remove_directory(self.parent(), name)?;
                let (from, to) = ([&path[..], b"/"].concat(), [&path[..], b"0"].concat());
                while let Some((key, _)) = self.late.map.range(from.clone()..to.clone()).next() {
                    let key = key.clone();
                    self.late.forget(&key);
                }
            }
            result => result?,
        }
        self.late.forget(&path);
        Ok(())
    }

    /// Does what waited for the archive's end and for the layers below.
    pub fn settle(mut self, has_root: bool, lowers: Vec<Lower>) -> Result<(), String> {
        if !has_root {
            self.imply_root(lowers.first()).map_err(|reason| named(b"", &reason))?;
        }
        // Whiteouts may imply their parents, and those nothing more.
        while self.survey(&lowers).map_err(|reason| named(b"", &reason))? {
            let mut last = Vec::new();
            while let Some(path) = self.late.due_after(&last) {
                self.settle_mark(&path, &lowers).map_err(|reason| named(&path, &reason))?;
                last = path;
            }
        }
        for (path, late) in &self.late.map {
            self.settle_directory(path, late).map_err(|error| named(path, &error.into()))?;
        }
        Ok(())
    }

    /// Looks in the layers below for what is to be settled; false if nothing is.
    fn survey(&mut self, lowers: &[Lower]) -> Step<bool> {
        let due = self.late.due();
        if due.is_empty() {
            return Ok(false);
        }
        lower_lookup::look(lowers, due, &mut self.looks)?;
        Ok(true)
    }

    fn imply_root(&mut self, top: Option<&Lower>) -> Step<()> {
        let root = fs::openat(self.root(), c".", fs::O_RDONLY | fs::O_DIRECTORY, 0)?;
        fs::fchmod(root.as_fd(), ROOT_MODE)?;
        top.map_or(Ok(()), |top| self.imply(root.as_fd(), Vec::new(), &lower::at(top, b"")?))
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
        while let Some(late) = self.late.map.get_mut(path).filter(|late| late.implied) {
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
    fn settle_mark(&mut self, path: &[u8], lowers: &[Lower]) -> Step<()> {
        let hidden = self.late.is_in_opaque(path);
        let Some(late) = self.late.map.get_mut(path) else { return Ok(()) };
        late.settled = true;
        let Late { opaque, whiteout, implied, .. } = *late;
        let below = usize::from(late.below.get()).checked_sub(1).filter(|_| !hidden);
        let below = below.and_then(|number| lowers.get(number));
        let (parent, name) = split(path);
        let name = c_string(name)?;
        match kind_at(self.root.as_fd(), parent, &name)? {
            Some(fs::S_IFDIR) => {
                late.opaque |= whiteout;
                if let Some(lower) = below.filter(|_| implied && !whiteout) {
                    let dir = open_real(self.root(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
                    self.imply(dir.as_fd(), path.to_vec(), &lower::at(lower, path)?)?;
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
        let Some(lower) = below else { return Ok(()) };
        if whiteout {
            self.enter(parent)?;
            fs::mknodat(self.parent(), &name, fs::S_IFCHR, (0, 0))?;
        } else if opaque && lower::at(lower, path)?.stat.is(fs::S_IFDIR) {
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
            overlayfs::set_opaque(dir.as_fd())?;
        }
        match late.time {
            Some(time) => fs::futimens(dir.as_fd(), time),
            None => Ok(()),
        }
    }
}
