//! Hardlinks, also to files of the layers below.

use crate::layer::pure::tar::Entry;
use crate::layer::pure::whiteout::{self, Place};
use crate::layer::unpack::{lower, resolve, write_all, Reason, Step, Unpack};
use crate::sys::fs::{self, Stat};
use crate::sys::path::{c_string, proc_path};
use std::ffi::CStr;
use std::os::fd::AsFd;

const NO_TARGET: Reason = Reason::Text("the hardlink's target does not exist");

/// What is copied at a time.
const COPY_BYTES: usize = 128 << 10;

impl Unpack<'_> {
    /// The inode's mode, owner and times are those of its first name: a link
    /// has none of its own.
    pub(super) fn hardlink(&mut self, place: &Place, name: &CStr, entry: &Entry) -> Step<()> {
        let target = whiteout::normal(&entry.link)?;
        let target_name = c_string(target.name())?;
        if target.name().is_empty() {
            return Err(Reason::Text("a hardlink to a directory"));
        }
        let (dir, mut path) = match self.tree.locate(target.parent(), &target_name)? {
            Some(found) => found,
            None => {
                let parent = self.tree.real_path(target.parent())?;
                self.copy_up(&parent, &target_name)?;
                self.tree.locate(&parent, &target_name)?.ok_or(NO_TARGET)?
            }
        };
        resolve::join(&mut path, target.name());
        self.tree.enter(place.parent())?;
        if path == self.tree.path_of(place.name()) {
            return Err(Reason::Text("a hardlink to itself"));
        }
        self.tree.make(name, &mut |to| fs::linkat(dir.as_fd(), &target_name, to, name))
    }

    /// A file of a lower layer that this one links to comes into this layer, at
    /// its own path: both names are then one file again, as overlayfs does it.
    fn copy_up(&mut self, parent: &[u8], name: &CStr) -> Step<()> {
        let mut path = parent.to_vec();
        resolve::join(&mut path, name.to_bytes());
        if self.tree.is_hidden(&path) {
            return Err(NO_TARGET);
        }
        if self.tree.lowers.is_none() {
            self.tree.lowers = Some(self.tree.beside.below().ok_or(Reason::Text("a layer below it failed"))?);
        }
        let found = self.tree.below(&path)?.ok_or(NO_TARGET)?;
        let stat = found.stat;
        self.tree.enter(parent)?;
        match stat.mode & fs::S_IFMT {
            fs::S_IFDIR => return Err(Reason::Text("a hardlink to a directory")),
            fs::S_IFREG => self.copy_file(&found, name)?,
            _ => {
                let link = if stat.is(fs::S_IFLNK) { found.link()? } else { Vec::new() };
                let device = fs::device_numbers(stat.rdev);
                self.tree.make_node(name, stat.mode, device, &link)?;
                let to = proc_path(self.tree.parent(), name);
                found.each_xattr(&mut |name, value| fs::lsetxattr(&to, name, value))?;
                self.finish_node(name, stat.mode, (stat.uid, stat.gid), &[], stat.mtime)?;
            }
        }
        self.tree.late(path)?.copied = true;
        Ok(())
    }

    fn copy_file(&mut self, found: &lower::Found, name: &CStr) -> Step<()> {
        let from = found.open()?;
        let flags = fs::O_CREAT | fs::O_EXCL | fs::O_WRONLY | fs::O_NOFOLLOW;
        let to = fs::openat(self.tree.parent(), name, flags, 0o600)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        loop {
            let n = fs::pread(from.as_fd(), &mut buffer, at)?;
            let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { break };
            // Holes stay holes.
            if bytes.iter().any(|b| *b != 0) {
                write_all(to.as_fd(), bytes, at)?;
            }
            at += n as u64;
        }
        let Stat { uid, gid, mode, mtime, .. } = found.stat;
        fs::ftruncate(to.as_fd(), at)?;
        fs::fchown(to.as_fd(), uid, gid)?;
        fs::fchmod(to.as_fd(), mode & 0o7777)?;
        found.each_xattr(&mut |name, value| fs::fsetxattr(to.as_fd(), name, value))?;
        Ok(fs::futimens(to.as_fd(), mtime)?)
    }
}
