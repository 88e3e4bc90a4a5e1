//! A layer's tar stream into its own directory, in-root, with overlayfs's
//! whiteouts and opaque marks.
//!
//! While members come, the directory holds only what the layer itself brings.
//! What must not depend on their order (whiteouts, opaque marks, directories'
//! times) is kept in `Lates` and settled when the archive has ended.

mod deferred;
mod hardlink;
pub mod lower;
mod lower_lookup;
mod resolve;
mod tree;

use crate::layer::pure::tar::{self, Entry, Event, Kind, Xattr};
use crate::layer::pure::whiteout::{self, Meaning};
use crate::layer::unpack::deferred::Lates;
pub use crate::layer::unpack::lower::Lower;
use crate::layer::unpack::tree::{Birth, Tree};
use crate::sys::path::{c_string, proc_path};
use crate::sys::{self, fs, io_text, overlayfs, Error};
use std::ffi::CStr;
use std::io::{BufRead, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Files of this size are refused before their first byte if there is no room.
const BIG_FILE_BYTES: u64 = 16 << 20;
/// What Linux's `mknod(2)` can express.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// Why a member is refused; its name is added once, in [`apply`].
pub enum Reason {
    Sys(sys::Error),
    Text(&'static str),
}

pub type Step<T> = Result<T, Reason>;

impl From<sys::Error> for Reason {
    fn from(error: sys::Error) -> Reason {
        Reason::Sys(error)
    }
}

impl From<whiteout::Error> for Reason {
    fn from(error: whiteout::Error) -> Reason {
        Reason::Text(error.text())
    }
}

impl From<tar::Error> for Reason {
    fn from(error: tar::Error) -> Reason {
        Reason::Text(error.text())
    }
}

/// What a layer asks of those that are made beside it.
pub trait Beside {
    /// The layers below, topmost first, once they are complete; none where one
    /// of them failed. May wait for them.
    fn below(&mut self) -> Option<Vec<Lower>>;

    /// Room for so many bytes, in all, of what must wait for the archive's end;
    /// false where another layer failed. May wait for the layers below.
    fn room(&mut self, bytes: usize) -> bool;
}

/// A layer that is being settled: all below it are complete, and it may go on.
struct Lowest;

impl Beside for Lowest {
    fn below(&mut self) -> Option<Vec<Lower>> {
        None
    }

    fn room(&mut self, _: usize) -> bool {
        true
    }
}

/// Unpacks the tar stream `source` into the empty directory `layer` (open for
/// reading, not `O_PATH`), and reads `source` to its end, so that its digest
/// covers every byte. What depends on the layers below is left to
/// [`Unsettled::settle`], but for hardlinks to their files.
///
/// An error names the member: `usr/bin/x: write: no space left on device`; the
/// directory is then to be thrown away. Needs `/proc`, and the rights to make
/// device nodes and to set `trusted.*` attributes.
pub fn read(
    source: &mut dyn BufRead,
    layer: OwnedFd,
    beside: &mut dyn Beside,
    warn: &mut dyn FnMut(&str),
) -> Result<Unsettled, String> {
    let mut parser = tar::Parser::new();
    let tree = Tree::new(layer, beside, Lates::default());
    let mut unpack = Unpack { tree, warn, warned: false, file: None, has_root: false };
    loop {
        let mut input = match source.fill_buf() {
            Ok(input) => input,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(io_text(&error)),
        };
        let count = input.len();
        if count == 0 {
            break;
        }
        loop {
            let result = match parser.next(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => unpack.event(event),
                Err(e) => Err(e.into()),
            };
            result.map_err(|reason| named(parser.name(), &reason))?;
        }
        source.consume(count);
    }
    parser.finish().map_err(|e| named(parser.name(), &e.into()))?;
    Ok(Unsettled { has_root: unpack.has_root, late: unpack.tree.into_late() })
}

/// A layer whose archive has been read. Hundreds may wait: they hold no descriptor.
pub struct Unsettled {
    late: Lates,
    has_root: bool,
}

impl Unsettled {
    /// Memory that is held, in bytes: the last that was asked for.
    pub fn bytes(&self) -> usize {
        self.late.room()
    }

    /// Finishes the layer in `layer`, the directory that was unpacked into:
    /// `lowers` are the finished directories of the layers below, topmost
    /// first. They say how parents that the layer implies look (mode, owner,
    /// attributes, times) and which whiteouts hide something. They are never
    /// written to.
    pub fn settle(self, layer: OwnedFd, lowers: Vec<Lower>) -> Result<(), String> {
        Tree::new(layer, &mut Lowest, self.late).settle(self.has_root, lowers)
    }
}

fn named(name: &[u8], reason: &Reason) -> String {
    let mut text = String::from_utf8_lossy(if name.is_empty() { b"/" } else { name }).into_owned();
    text.push_str(": ");
    match reason {
        Reason::Sys(error) => text.push_str(&error.to_string()),
        Reason::Text(reason) => text.push_str(reason),
    }
    text
}

struct Unpack<'a> {
    tree: Tree<'a>,
    warn: &'a mut dyn FnMut(&str),
    warned: bool,
    /// The file whose data come; none for what has no file, such as a whiteout.
    file: Option<(OwnedFd, Entry)>,
    has_root: bool,
}

impl Unpack<'_> {
    fn event(&mut self, event: Event<'_>) -> Step<()> {
        match event {
            Event::Entry(entry) => self.entry(entry),
            Event::Data { at, bytes } => match &self.file {
                Some((file, _)) => write_all(file.as_fd(), bytes, at),
                None => Ok(()),
            },
            Event::End => match self.file.take() {
                Some((file, entry)) => self.end_file(&file, &entry),
                None => Ok(()),
            },
        }
    }

    fn entry(&mut self, entry: Entry) -> Step<()> {
        let place = whiteout::place(&entry.path, entry.kind == Kind::Directory)?;
        match place.meaning {
            Meaning::Plain => {}
            Meaning::Ignored => return Ok(()),
            Meaning::Opaque => {
                let path = self.tree.real_path(place.path())?;
                return self.tree.hide(path, place.meaning);
            }
            Meaning::Whiteout => {
                let mut path = self.tree.real_path(place.parent())?;
                resolve::join(&mut path, place.name());
                return self.tree.hide(path, place.meaning);
            }
        }
        if place.name().is_empty() {
            return self.root_entry(&entry);
        }
        let name = c_string(place.name())?;
        match entry.kind {
            Kind::Hardlink => return self.hardlink(&place, &name, &entry),
            Kind::CharDevice if entry.device == (0, 0) => {
                return Err(Reason::Text("a device 0:0, which would be a whiteout"))
            }
            Kind::CharDevice | Kind::BlockDevice if entry.device.0 > MAX_MAJOR || entry.device.1 > MAX_MINOR => {
                return Err(Reason::Text("a device number that Linux does not have"))
            }
            _ => self.tree.enter(place.parent())?,
        }
        match entry.kind {
            Kind::File => self.file(&name, entry),
            Kind::Directory => self.directory(&name, &entry),
            _ => self.node(&name, &entry),
        }
    }

    /// `./`: the layer's own directory, which only a directory may be.
    fn root_entry(&mut self, entry: &Entry) -> Step<()> {
        if entry.kind != Kind::Directory {
            return Err(Reason::Text("the root is not a directory"));
        }
        self.has_root = true;
        self.tree.birth = None;
        let root = fs::openat(self.tree.root(), c".", fs::O_RDONLY | fs::O_DIRECTORY, 0)?;
        let root = root.as_fd();
        fs::fchown(root, entry.uid, entry.gid)?;
        fs::fchmod(root, entry.mode)?;
        self.xattrs(&entry.xattrs, &mut |name, value| fs::fsetxattr(root, name, value))?;
        self.tree.late(Vec::new())?.time = Some(time(entry));
        Ok(())
    }

    fn file(&mut self, name: &CStr, entry: Entry) -> Step<()> {
        if entry.data >= BIG_FILE_BYTES {
            let space = fs::statfs(self.tree.root())?;
            // ramfs, and a tmpfs without a limit, have a total of 0.
            if entry.data > space.free_bytes && space.total_bytes > 0 {
                return Err(Error::new("write", libc::ENOSPC).into());
            }
        }
        let flags = fs::O_CREAT | fs::O_EXCL | fs::O_WRONLY | fs::O_NOFOLLOW;
        let mode = entry.mode & 0o777;
        let file = self.tree.make(name, &mut |dir| fs::openat(dir, name, flags, mode))?;
        self.file = Some((file, entry));
        Ok(())
    }

    /// Owner before mode, which a change of owner would strip of setuid; data
    /// and owner before attributes, or `security.capability` is dropped; times
    /// after all of them.
    fn end_file(&mut self, file: &OwnedFd, entry: &Entry) -> Step<()> {
        let file = file.as_fd();
        if entry.data != entry.size {
            fs::ftruncate(file, entry.size)?;
        }
        let birth = match self.tree.birth {
            Some(birth) => birth,
            None => {
                let stat = fs::statat(file, c"")?;
                Birth { owner: (stat.uid, stat.gid), kept: stat.mode & entry.mode & 0o777 }
            }
        };
        self.tree.birth = Some(birth);
        // Each costs a disk a transaction, and is seldom needed.
        if birth.owner != (entry.uid, entry.gid) {
            fs::fchown(file, entry.uid, entry.gid)?;
        }
        if entry.mode & !birth.kept != 0 {
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
        let late = self.tree.late(path)?;
        (late.time, late.implied) = (Some(time(entry)), false);
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
        self.finish_node(name, mode, (entry.uid, entry.gid), &entry.xattrs, time(entry))
    }

    fn finish_node(
        &mut self,
        name: &CStr,
        mode: u32,
        owner: (u32, u32),
        xattrs: &[Xattr],
        time: (i64, u32),
    ) -> Step<()> {
        let dir = self.tree.parent();
        fs::fchownat(dir, name, owner.0, owner.1)?;
        if mode & fs::S_IFMT != fs::S_IFLNK {
            fs::fchmodat(dir, name, mode & 0o7777)?;
        }
        self.xattrs_at(name, xattrs)?;
        Ok(fs::utimensat(self.tree.parent(), name, time)?)
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
            // overlayfs's own marks are ours to set: one in a layer could name
            // another layer's file.
            if overlayfs::is_mark(name) {
                continue;
            }
            match set(&c_string(name)?, value) {
                Err(Error { errno: libc::EOPNOTSUPP | libc::EPERM, .. }) if !self.warned => {
                    self.warned = true;
                    (self.warn)("some extended attributes are not supported here, and left out");
                }
                Err(Error { errno: libc::EOPNOTSUPP | libc::EPERM, .. }) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

fn time(entry: &Entry) -> (i64, u32) {
    (entry.mtime.seconds, entry.mtime.nanoseconds)
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Step<()> {
    while !bytes.is_empty() {
        let n = fs::pwrite(file, bytes, at)?;
        if n == 0 {
            return Err(Error::new("write", libc::EIO).into());
        }
        at += n as u64;
        bytes = bytes.get(n..).unwrap_or(b"");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self as std_fs, File};

    struct Alone;

    impl Beside for Alone {
        fn below(&mut self) -> Option<Vec<Lower>> {
            Some(Vec::new())
        }

        fn room(&mut self, _: usize) -> bool {
            true
        }
    }

    #[test]
    fn layers_that_wait_hold_no_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = vec![0; 512];
        source[..3].copy_from_slice(b"d/f");
        source[124..136].copy_from_slice(b"00000000000\0");
        source[148..156].fill(b' ');
        let sum: u32 = source.iter().map(|byte| u32::from(*byte)).sum();
        source[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let read = || read(&mut &source[..], File::open(&dir).unwrap().into(), &mut Alone, &mut |_| {}).unwrap();
        let unsettled: Vec<_> = (0..3).map(|_| read()).collect();
        // Other tests have theirs elsewhere.
        let open =
            std_fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std_fs::read_link(fd.unwrap().path()).ok());
        assert_eq!(open.filter(|path| path.starts_with(dir.path())).count(), 0);
        for unsettled in unsettled {
            unsettled.settle(File::open(&dir).unwrap().into(), Vec::new()).unwrap();
        }
        assert!(dir.path().join("d/f").is_file());
    }
}
