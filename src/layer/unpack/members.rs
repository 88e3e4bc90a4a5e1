//! The members of an archive: each is made as its entry describes it.

use crate::layer::pure::tar::{Entry, Event, Kind, Xattr};
use crate::layer::pure::whiteout::{self, Meaning};
use crate::layer::unpack::deferred::Deferred;
use crate::layer::unpack::error::{Reason, Step};
use crate::layer::unpack::lower::is_dropped;
use crate::layer::unpack::resolve::join;
use crate::layer::unpack::tree::{InheritedAttrs, Tree};
use crate::sys::path::{c_string, proc_path};
use crate::sys::{self, fs, Error, ENOSPC, EOPNOTSUPP, EPERM};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// A file of this size is refused before its first byte if the file system has no space for it.
const BIG_FILE_BYTES: u64 = 16 << 20;
/// The largest device numbers that Linux's `mknod(2)` takes.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// Makes the members of one archive.
pub struct Members<'a> {
    tree: Tree<'a>,
    warn: &'a mut dyn FnMut(&str),
    /// A missing support for extended attributes was warned of.
    warned: bool,
    /// The file whose data follows; none for an entry that makes no file, such as a whiteout.
    file: Option<(OwnedFd, Entry)>,
    has_root: bool,
}

impl<'a> Members<'a> {
    /// Makes them in the empty `tree`.
    pub fn new(tree: Tree<'a>, warn: &'a mut dyn FnMut(&str)) -> Members<'a> {
        Members { tree, warn, warned: false, file: None, has_root: false }
    }

    /// At the archive's end: what is deferred, and whether the archive described the root.
    pub fn into_deferred(self) -> (Deferred, bool) {
        (self.tree.into_deferred(), self.has_root)
    }

    pub fn event(&mut self, event: Event<'_>) -> Step<()> {
        match event {
            Event::Entry(entry) => self.entry(entry),
            Event::Data { at, bytes } => match &self.file {
                Some((file, _)) => Ok(fs::write_all_at(file.as_fd(), bytes, at)?),
                None => Ok(()),
            },
            Event::End => match self.file.take() {
                Some((file, entry)) => self.end_file(&file, &entry),
                None => Ok(()),
            },
        }
    }

    fn entry(&mut self, entry: Entry) -> Step<()> {
        let target = whiteout::target(&entry.path, entry.kind == Kind::Directory)?;
        match target.meaning {
            Meaning::Plain => {}
            Meaning::Ignored => return Ok(()),
            Meaning::Opaque => {
                let path = self.tree.real_path(target.path())?;
                return self.tree.hide(path, target.meaning);
            }
            Meaning::Whiteout => {
                let mut path = self.tree.real_path(target.parent())?;
                join(&mut path, target.name());
                return self.tree.hide(path, target.meaning);
            }
        }
        if target.name().is_empty() {
            return self.root_entry(&entry);
        }
        let name = c_string(target.name())?;
        match entry.kind {
            Kind::Hardlink => return self.tree.hardlink(&target, &name, &entry.link),
            Kind::CharDevice if entry.device == (0, 0) => {
                return Err(Reason::Text("a device 0:0, which would be a whiteout"))
            }
            Kind::CharDevice | Kind::BlockDevice if entry.device.0 > MAX_MAJOR || entry.device.1 > MAX_MINOR => {
                return Err(Reason::Text("a device number that Linux does not have"))
            }
            _ => self.tree.enter(target.parent())?,
        }
        match entry.kind {
            Kind::File => self.file(&name, entry),
            Kind::Directory => self.directory(&name, &entry),
            _ => self.node(&name, &entry),
        }
    }

    /// `./`: the layer's root. Its entry must be a directory's.
    fn root_entry(&mut self, entry: &Entry) -> Step<()> {
        if entry.kind != Kind::Directory {
            return Err(Reason::Text("the root is not a directory"));
        }
        self.has_root = true;
        self.tree.inherited = None;
        let root = fs::openat(self.tree.root(), c".", fs::O_RDONLY | fs::O_DIRECTORY, 0)?;
        let root = root.as_fd();
        fs::fchown(root, entry.uid, entry.gid)?;
        fs::fchmod(root, entry.mode)?;
        self.xattrs(&entry.xattrs, &mut |name, value| fs::fsetxattr(root, name, value))?;
        self.tree.deferred(Vec::new())?.time = Some(time(entry));
        Ok(())
    }

    fn file(&mut self, name: &CStr, entry: Entry) -> Step<()> {
        if entry.data >= BIG_FILE_BYTES {
            let space = fs::statfs(self.tree.root())?;
            // ramfs, and a tmpfs without a limit, have a total of 0.
            if entry.data > space.free_bytes && space.total_bytes > 0 {
                return Err(Error::new("write", ENOSPC).into());
            }
        }
        let flags = fs::O_CREAT | fs::O_EXCL | fs::O_WRONLY | fs::O_NOFOLLOW;
        let mode = entry.mode & 0o777;
        let file = self.tree.make(name, &mut |dir| fs::openat(dir, name, flags, mode))?;
        self.file = Some((file, entry));
        Ok(())
    }

    /// The owner comes before the mode, since a change of owner clears the set-user-ID bit; data and owner come before
    /// the attributes, since a change drops `security.capability`; the times come last.
    fn end_file(&mut self, file: &OwnedFd, entry: &Entry) -> Step<()> {
        let file = file.as_fd();
        if entry.data != entry.size {
            fs::ftruncate(file, entry.size)?;
        }
        let inherited = match self.tree.inherited {
            Some(inherited) => inherited,
            None => {
                let stat = fs::statat(file, c"")?;
                InheritedAttrs { owner: (stat.uid, stat.gid), kept_mode: stat.mode & entry.mode & 0o777 }
            }
        };
        self.tree.inherited = Some(inherited);
        // Each of these calls costs a transaction of the disk, and is seldom needed.
        if inherited.owner != (entry.uid, entry.gid) {
            fs::fchown(file, entry.uid, entry.gid)?;
        }
        if entry.mode & !inherited.kept_mode != 0 {
            fs::fchmod(file, entry.mode)?;
        }
        self.xattrs(&entry.xattrs, &mut |name, value| fs::fsetxattr(file, name, value))?;
        Ok(fs::futimens(file, time(entry))?)
    }

    fn directory(&mut self, name: &CStr, entry: &Entry) -> Step<()> {
        self.tree.make_directory(name)?;
        let dir = self.tree.parent();
        fs::fchownat(dir, name, entry.uid, entry.gid)?;
        fs::fchmodat(dir, name, entry.mode)?;
        self.xattrs_at(name, &entry.xattrs)?;
        let path = self.tree.path_of(name.to_bytes());
        let deferred = self.tree.deferred(path)?;
        (deferred.time, deferred.implied) = (Some(time(entry)), false);
        Ok(())
    }

    /// A symlink, a FIFO or a device.
    fn node(&mut self, name: &CStr, entry: &Entry) -> Step<()> {
        let mode = match entry.kind {
            Kind::CharDevice => fs::S_IFCHR,
            Kind::BlockDevice => fs::S_IFBLK,
            Kind::Fifo => fs::S_IFIFO,
            _ => fs::S_IFLNK,
        } | entry.mode;
        self.tree.make_node(name, mode, entry.device, &entry.link)?;
        self.tree.set_owner_and_mode(name, (entry.uid, entry.gid), mode)?;
        self.xattrs_at(name, &entry.xattrs)?;
        Ok(fs::utimensat(self.tree.parent(), name, time(entry))?)
    }

    fn xattrs_at(&mut self, name: &CStr, xattrs: &[Xattr]) -> Step<()> {
        if xattrs.is_empty() {
            return Ok(());
        }
        let path = proc_path(self.tree.parent(), name);
        self.xattrs(xattrs, &mut |name, value| fs::lsetxattr(&path, name, value))
    }

    fn xattrs(&mut self, xattrs: &[Xattr], set: &mut dyn FnMut(&CStr, &[u8]) -> sys::Result<()>) -> Step<()> {
        for (name, value) in xattrs {
            if is_dropped(name) {
                continue;
            }
            match set(&c_string(name)?, value) {
                Err(Error { errno: EOPNOTSUPP | EPERM, .. }) if !self.warned => {
                    self.warned = true;
                    (self.warn)("some extended attributes are not supported here, and left out");
                }
                Err(Error { errno: EOPNOTSUPP | EPERM, .. }) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

fn time(entry: &Entry) -> (i64, u32) {
    (entry.mtime.seconds, entry.mtime.nanoseconds)
}
