//! The layer's directory: names are resolved inside it, whatever its symlinks say. What is deferred until the archive's
//! end is kept here.

use crate::layer::pure::whiteout::Meaning;
use crate::layer::unpack::deferred::{Deferred, DeferredPath};
use crate::layer::unpack::error::{Error as UnpackError, Reason, Step};
use crate::layer::unpack::lower::{self, Found, LookupBudget, Lower};
use crate::layer::unpack::lower_lookup::look_up;
use crate::layer::unpack::queue::LayerQueue;
use crate::layer::unpack::resolve::{ancestors, join, kind_at, open_real, remove_directory, resolve, split};
use crate::sys::path::c_string;
use crate::sys::{self, fs, overlayfs, Error};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The mode of a parent that neither this layer nor those below describe.
const IMPLIED_MODE: u32 = 0o755;
/// The root's mode where none of them describes it: podman's.
const ROOT_MODE: u32 = 0o555;

/// Attributes that a new file gets from its directory (set-group-ID, a default ACL), the mount and our umask.
#[derive(Clone, Copy)]
pub struct InheritedAttrs {
    pub owner: (u32, u32),
    /// Bits of the mode that are known to be kept.
    pub kept_mode: u32,
}

/// A layer's tree while it is made.
pub struct Tree<'b> {
    root: OwnedFd,
    queue: &'b mut dyn LayerQueue,
    /// The layers below, topmost first; none before a hardlink has needed them.
    lowers: Option<Vec<Lower>>,
    budget: LookupBudget,
    /// The directory that was entered last; none for the root.
    dir: Option<OwnedFd>,
    /// Its path, without symlinks.
    path: Vec<u8>,
    /// The path by which it was entered; none if that may lead elsewhere now.
    entered: Option<Vec<u8>>,
    /// What new files inherit in that directory; none before one was made there.
    pub inherited: Option<InheritedAttrs>,
    deferred: Deferred,
}

impl<'b> Tree<'b> {
    /// `deferred` is what the archive has left to be done, if it has ended.
    pub fn new(root: OwnedFd, queue: &'b mut dyn LayerQueue, deferred: Deferred) -> Tree<'b> {
        Tree {
            root,
            queue,
            lowers: None,
            budget: LookupBudget::default(),
            dir: None,
            path: Vec::new(),
            entered: None,
            inherited: None,
            deferred,
        }
    }

    /// At the archive's end: what is left to be done.
    pub fn into_deferred(self) -> Deferred {
        self.deferred
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Waits until the layers below are complete.
    pub fn wait_for_lowers(&mut self) -> Step<()> {
        if self.lowers.is_none() {
            self.lowers = Some(self.queue.lowers().ok_or(Reason::Text("a layer below it failed"))?);
        }
        Ok(())
    }

    /// What the layers below show at `path`, after [`Tree::wait_for_lowers`].
    pub fn find_lower(&mut self, path: &[u8]) -> Step<Option<Found>> {
        lower::find(self.lowers.as_deref().unwrap_or_default(), path, &mut self.budget)
    }

    /// The directory entered last.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.dir.as_ref().unwrap_or(&self.root).as_fd()
    }

    /// The path, without symlinks, of `name` in the directory entered last.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        join(&mut path, name);
        path
    }

    /// What is deferred for `path`.
    pub fn deferred(&mut self, path: Vec<u8>) -> Step<&mut DeferredPath> {
        self.deferred.at(&path, self.queue)
    }

    /// Hides `path` of the layers below, or what they have in it. What was copied up from there is removed at once: a
    /// later member must not follow a symlink of it.
    pub fn hide(&mut self, path: Vec<u8>, meaning: Meaning) -> Step<()> {
        let deferred = self.deferred(path.clone())?;
        let mark = if meaning == Meaning::Opaque { &mut deferred.opaque } else { &mut deferred.whiteout };
        let known = std::mem::replace(mark, true);
        // Without the layers below nothing was copied up.
        if known || self.lowers.is_none() {
            return Ok(());
        }
        let inside = self.deferred.from(&path).take_while(|(at, _)| at.starts_with(&path));
        let copied = inside.filter(|(at, deferred)| deferred.copied && self.is_hidden(at));
        for path in copied.map(|(path, _)| path.to_vec()).collect::<Vec<_>>() {
            self.remove_copy(&path)?;
        }
        Ok(())
    }

    /// Whether this layer, as far as it was read, hides what the layers below have at `path`.
    pub fn is_hidden(&self, path: &[u8]) -> bool {
        let hides = |at: &[u8], inside| self.deferred.get(at).is_some_and(|at| at.whiteout || inside && at.opaque);
        hides(path, false) || ancestors(path).any(|dir| hides(dir, true))
    }

    /// Enters the directory at `path` (normalized, empty for the root). Makes what is missing of it.
    pub fn enter(&mut self, path: &[u8]) -> Step<()> {
        if self.entered.as_deref() == Some(path) {
            return Ok(());
        }
        (self.entered, self.inherited) = (None, None);
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
        self.entered = Some(path.to_vec());
        Ok(())
    }

    /// The path, without symlinks, of the directory at `path`. It need not exist here: the layers below may have it.
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

    /// The directory that holds `parent`/`name`, and its path without symlinks, if this layer has that name.
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
        let deferred = self.deferred(path)?;
        (deferred.implied, deferred.finalized) = (true, false);
        Ok(())
    }

    /// Gives `dir` the attributes of the directory that a layer below has at `path`.
    fn imply(&mut self, dir: BorrowedFd<'_>, path: Vec<u8>, found: &Found) -> Step<()> {
        // What is no directory in the lower layer is hidden by this one.
        if !found.stat.is(fs::S_IFDIR) {
            return Ok(());
        }
        fs::fchown(dir, found.stat.uid, found.stat.gid)?;
        fs::fchmod(dir, found.stat.mode & 0o7777)?;
        found.each_xattr(&mut |name, value| fs::fsetxattr(dir, name, value))?;
        self.deferred(path)?.time = Some(found.stat.mtime);
        Ok(())
    }

    /// Makes `name` in the directory entered last, in place of what this layer had there.
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

    /// Gives `name` its owner, and then its mode: a change of owner clears the set-user-ID bit. A symlink has no mode.
    pub fn set_owner_and_mode(&self, name: &CStr, owner: (u32, u32), mode: u32) -> Step<()> {
        fs::fchownat(self.parent(), name, owner.0, owner.1)?;
        if mode & fs::S_IFMT != fs::S_IFLNK {
            fs::fchmodat(self.parent(), name, mode & 0o7777)?;
        }
        Ok(())
    }

    /// Makes the directory `name`, or keeps the one that is there. One that replaces something else is opaque: the
    /// other thing had hidden what the layers below have there.
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
        self.deferred(path)?.opaque = true;
        Ok(())
    }

    /// Removes `name`, with all that is in it, from the directory entered last.
    fn remove(&mut self, name: &CStr) -> Step<()> {
        // The path of the directory entered last may lead through it.
        self.entered = None;
        let path = self.path_of(name.to_bytes());
        match fs::unlinkat(self.parent(), name) {
            Err(Error { errno: libc::EISDIR, .. }) => {
                remove_directory(self.parent(), name)?;
                self.deferred.remove_below(&path);
            }
            result => result?,
        }
        self.deferred.remove(&path);
        Ok(())
    }

    /// Does what was deferred until the archive had ended and the layers below were complete.
    pub fn finalize(mut self, has_root: bool, lowers: Vec<Lower>) -> Result<(), UnpackError> {
        if !has_root {
            self.imply_root(lowers.first()).map_err(|reason| UnpackError::member(b"", reason))?;
        }
        // A whiteout may imply its parents, which need a second lookup. Those imply nothing more.
        while self.look_up_due(&lowers).map_err(|reason| UnpackError::member(b"", reason))? {
            let mut last = Vec::new();
            while let Some(path) = self.deferred.due_after(&last) {
                self.finalize_mark(&path, &lowers).map_err(|reason| UnpackError::member(&path, reason))?;
                last = path;
            }
        }
        for (path, deferred) in self.deferred.from(b"") {
            self.finalize_directory(path, deferred).map_err(|error| UnpackError::member(path, error.into()))?;
        }
        Ok(())
    }

    /// Looks up in the layers below all that is to be finalized; false if nothing is.
    fn look_up_due(&mut self, lowers: &[Lower]) -> Step<bool> {
        let queries = self.deferred.queries();
        if queries.is_empty() {
            return Ok(false);
        }
        look_up(lowers, queries, &mut self.budget)?;
        Ok(true)
    }

    fn imply_root(&mut self, top: Option<&Lower>) -> Step<()> {
        let root = fs::openat(self.root(), c".", fs::O_RDONLY | fs::O_DIRECTORY, 0)?;
        fs::fchmod(root.as_fd(), ROOT_MODE)?;
        top.map_or(Ok(()), |top| self.imply(root.as_fd(), Vec::new(), &lower::at(top, b"")?))
    }

    /// Removes a file that was copied up, since it is hidden with the lower layers' one, and the parents that it alone
    /// implied.
    fn remove_copy(&mut self, path: &[u8]) -> Step<()> {
        self.entered = None;
        self.deferred(path.to_vec())?.copied = false;
        let (parent, name) = split(path);
        let dir = open_real(self.root.as_fd(), parent, fs::O_PATH | fs::O_DIRECTORY)?;
        fs::unlinkat(dir.as_fd(), &c_string(name)?)?;
        let mut path = parent;
        while let Some(deferred) = self.deferred.get_mut(path).filter(|deferred| deferred.implied) {
            let (parent, name) = split(path);
            let dir = open_real(self.root.as_fd(), parent, fs::O_PATH | fs::O_DIRECTORY)?;
            match fs::rmdirat(dir.as_fd(), &c_string(name)?) {
                Err(Error { errno: libc::ENOTEMPTY, .. }) => break,
                result => result?,
            }
            deferred.implied = false;
            path = parent;
        }
        Ok(())
    }

    /// Turns a whiteout into overlayfs's form. Marks on what the layers below do not have leave nothing behind: in a
    /// directory that overlayfs does not merge, a whiteout would be listed.
    fn finalize_mark(&mut self, path: &[u8], lowers: &[Lower]) -> Step<()> {
        let hidden = self.deferred.is_in_opaque(path);
        let Some(deferred) = self.deferred.get_mut(path) else { return Ok(()) };
        deferred.finalized = true;
        let DeferredPath { opaque, whiteout, implied, .. } = *deferred;
        let lower = usize::from(deferred.lower.get()).checked_sub(1).filter(|_| !hidden);
        let lower = lower.and_then(|number| lowers.get(number));
        let (parent, name) = split(path);
        let name = c_string(name)?;
        match kind_at(self.root.as_fd(), parent, &name)? {
            Some(fs::S_IFDIR) => {
                deferred.opaque |= whiteout;
                if let Some(lower) = lower.filter(|_| implied && !whiteout) {
                    let dir = open_real(self.root(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
                    self.imply(dir.as_fd(), path.to_vec(), &lower::at(lower, path)?)?;
                }
                return Ok(());
            }
            Some(_) => {
                deferred.opaque = false;
                return Ok(());
            }
            None => {}
        }
        deferred.opaque = false;
        let Some(lower) = lower else { return Ok(()) };
        if whiteout {
            self.enter(parent)?;
            fs::mknodat(self.parent(), &name, fs::S_IFCHR, (0, 0))?;
        } else if opaque && lower::at(lower, path)?.stat.is(fs::S_IFDIR) {
            self.enter(path)?;
            self.deferred(path.to_vec())?.opaque = true;
        }
        Ok(())
    }

    fn finalize_directory(&self, path: &[u8], deferred: &DeferredPath) -> sys::Result<()> {
        if deferred.time.is_none() && !deferred.opaque {
            return Ok(());
        }
        let dir = open_real(self.root(), path, fs::O_RDONLY | fs::O_DIRECTORY)?;
        if deferred.opaque {
            overlayfs::set_opaque(dir.as_fd())?;
        }
        match deferred.time {
            Some(time) => fs::futimens(dir.as_fd(), time),
            None => Ok(()),
        }
    }
}
