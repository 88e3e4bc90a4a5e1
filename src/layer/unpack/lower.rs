//! What the layers below show at a path, read without overlayfs: whiteouts and opaque marks are honoured, symlinks
//! never followed.

use crate::layer::unpack::error::{Reason, Step};
use crate::layer::unpack::resolve::{open_real, split};
use crate::sys::fs::{self, Stat};
use crate::sys::overlayfs::{self, is_opaque};
use crate::sys::path::{c_string, proc_path, PATH_MAX};
use crate::sys::{self, Error};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX` of Linux.
const XATTR_BYTES: usize = 64 << 10;

/// Names that may be looked up, or read, in the layers below for one layer: some seconds' work. An honest layer needs
/// ten thousands.
pub(super) const MAX_LOOKUPS: usize = 8 << 20;

/// How many names were looked up in the layers below.
#[derive(Default)]
pub struct LookupBudget(pub(super) usize);

impl LookupBudget {
    pub fn spend(&mut self, count: usize) -> Step<()> {
        self.0 += count;
        if self.0 > MAX_LOOKUPS {
            return Err(Reason::Text("too much to be looked for in the layers below"));
        }
        Ok(())
    }
}

/// The root of a layer below.
pub type Lower = Arc<OwnedFd>;

/// A file of a lower layer.
pub struct Found {
    dir: OwnedFd,
    name: CString,
    pub stat: Stat,
}

impl Found {
    /// Opens a regular file for reading.
    pub fn open(&self) -> sys::Result<OwnedFd> {
        let flags = fs::O_RDONLY | fs::O_NOFOLLOW | fs::O_NONBLOCK;
        fs::openat(self.dir.as_fd(), &self.name, flags, 0)
    }

    /// A symlink's target.
    pub fn link(&self) -> sys::Result<Vec<u8>> {
        let mut target = vec![0; PATH_MAX];
        let n = fs::readlinkat(self.dir.as_fd(), &self.name, &mut target)?;
        target.truncate(n);
        Ok(target)
    }

    /// Calls `each` with the name and value of every attribute that a layer keeps. Those that `each` may not set are
    /// left out: it writes to the same file system, so the process lacks a right, and a warning has said so before.
    pub fn each_xattr(&self, each: &mut dyn FnMut(&CStr, &[u8]) -> sys::Result<()>) -> Step<()> {
        // By path, since a device or a symlink cannot be opened for it.
        let path = proc_path(self.dir.as_fd(), &self.name);
        let mut names = vec![0; XATTR_BYTES];
        let n = match fs::llistxattr(&path, &mut names) {
            Ok(n) => n,
            Err(Error { errno: libc::EOPNOTSUPP, .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut value = vec![0; if n > 0 { XATTR_BYTES } else { 0 }];
        let mut rest = names.get(..n).unwrap_or(b"");
        while let Ok(name) = CStr::from_bytes_until_nul(rest) {
            rest = rest.get(name.count_bytes() + 1..).unwrap_or(b"");
            if is_dropped(name.to_bytes()) {
                continue;
            }
            let n = fs::lgetxattr(&path, name, &mut value)?;
            match each(name, value.get(..n).unwrap_or(b"")) {
                Err(Error { errno: libc::EOPNOTSUPP | libc::EPERM, .. }) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

/// Whether the attribute `name` is left out of a layer. Only we set overlayfs's marks: one in a layer could name
/// another layer's file. A label belongs to the policy of the machine that made the layer; podman leaves it out, too.
pub fn is_dropped(name: &[u8]) -> bool {
    overlayfs::is_mark(name) || name == b"security.selinux"
}

/// What `lower` itself has at `path` (normalized, empty for the root).
pub fn at(lower: &Lower, path: &[u8]) -> Step<Found> {
    let (parent, name) = split(path);
    let dir = open_real(lower.as_fd(), parent, fs::O_RDONLY | fs::O_DIRECTORY)?;
    let name = c_string(if name.is_empty() { b"." } else { name })?;
    let stat = fs::statat(dir.as_fd(), &name)?;
    Ok(Found { dir, name, stat })
}

/// What is visible at `path` (normalized, not the root's) in `lowers`, topmost first.
pub fn find(lowers: &[Lower], path: &[u8], budget: &mut LookupBudget) -> Step<Option<Found>> {
    for lower in lowers {
        let mut dir = fs::openat(lower.as_fd(), c".", fs::O_RDONLY | fs::O_DIRECTORY, 0)?;
        let mut opaque = is_opaque(dir.as_fd())?;
        let mut names = path.split(|b| *b == b'/').peekable();
        while let Some(name) = names.next() {
            budget.spend(1)?;
            let name = c_string(name)?;
            let stat = match fs::statat(dir.as_fd(), &name) {
                Ok(stat) if stat.is_whiteout() => return Ok(None),
                Ok(stat) => stat,
                Err(Error { errno: libc::ENOENT, .. }) => break,
                Err(error) => return Err(error.into()),
            };
            if names.peek().is_none() {
                return Ok(Some(Found { dir, name, stat }));
            }
            if !stat.is(fs::S_IFDIR) {
                return Ok(None);
            }
            dir = fs::openat(dir.as_fd(), &name, fs::O_RDONLY | fs::O_DIRECTORY | fs::O_NOFOLLOW, 0)?;
            opaque |= is_opaque(dir.as_fd())?;
        }
        if opaque {
            return Ok(None);
        }
    }
    Ok(None)
}
