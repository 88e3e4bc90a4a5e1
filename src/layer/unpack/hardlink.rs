//! Hardlinks, also to files of the layers below.

use crate::layer::pure::whiteout::{self, WhiteoutTarget};
use crate::layer::unpack::error::{Reason, Step};
use crate::layer::unpack::lower::Found;
use crate::layer::unpack::resolve::join;
use crate::layer::unpack::tree::Tree;
use crate::sys::fs::{self, Stat};
use crate::sys::path::{c_string, proc_path};
use std::ffi::CStr;
use std::os::fd::AsFd;

const NO_TARGET: Reason = Reason::Text("the hardlink's target does not exist");

/// Bytes of a file that are copied at a time.
const COPY_BYTES: usize = 128 << 10;

impl Tree<'_> {
    /// Makes `name` at `target` a hardlink to the file at `link`. Mode, owner and times stay those of the inode: a
    /// hardlink's entry does not change them.
    pub(super) fn hardlink(&mut self, target: &WhiteoutTarget, name: &CStr, link: &[u8]) -> Step<()> {
        let old = whiteout::normalize(link)?;
        let old_name = c_string(old.name())?;
        if old.name().is_empty() {
            return Err(Reason::Text("a hardlink to a directory"));
        }
        let (dir, mut path) = match self.locate(old.parent(), &old_name)? {
            Some(found) => found,
            None => {
                let parent = self.real_path(old.parent())?;
                self.copy_up(&parent, &old_name)?;
                self.locate(&parent, &old_name)?.ok_or(NO_TARGET)?
            }
        };
        join(&mut path, old.name());
        self.enter(target.parent())?;
        if path == self.path_of(target.name()) {
            return Err(Reason::Text("a hardlink to itself"));
        }
        self.make(name, &mut |to| fs::linkat(dir.as_fd(), &old_name, to, name))
    }

    /// Copies a file of a lower layer into this one at its own path, since this layer links to it. Both names are then
    /// one file, as overlayfs does it.
    fn copy_up(&mut self, parent: &[u8], name: &CStr) -> Step<()> {
        let mut path = parent.to_vec();
        join(&mut path, name.to_bytes());
        if self.is_hidden(&path) {
            return Err(NO_TARGET);
        }
        self.wait_for_lowers()?;
        let found = self.find_lower(&path)?.ok_or(NO_TARGET)?;
        let stat = found.stat;
        self.enter(parent)?;
        match stat.mode & fs::S_IFMT {
            fs::S_IFDIR => return Err(Reason::Text("a hardlink to a directory")),
            fs::S_IFREG => self.copy_file(&found, name)?,
            _ => {
                let link = if stat.is(fs::S_IFLNK) { found.link()? } else { Vec::new() };
                self.make_node(name, stat.mode, fs::device_numbers(stat.rdev), &link)?;
                self.set_owner_and_mode(name, (stat.uid, stat.gid), stat.mode)?;
                let to = proc_path(self.parent(), name);
                found.each_xattr(&mut |name, value| fs::lsetxattr(&to, name, value))?;
                fs::utimensat(self.parent(), name, stat.mtime)?;
            }
        }
        self.deferred(path)?.copied = true;
        Ok(())
    }

    fn copy_file(&mut self, found: &Found, name: &CStr) -> Step<()> {
        let from = found.open()?;
        let flags = fs::O_CREAT | fs::O_EXCL | fs::O_WRONLY | fs::O_NOFOLLOW;
        let to = fs::openat(self.parent(), name, flags, 0o600)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        loop {
            let n = fs::pread(from.as_fd(), &mut buffer, at)?;
            let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { break };
            // Holes stay holes.
            if bytes.iter().any(|b| *b != 0) {
                fs::write_all_at(to.as_fd(), bytes, at)?;
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
