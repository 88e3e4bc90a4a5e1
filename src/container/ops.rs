//! The changes that the child makes to a container's tree, in order. Nothing here allocates.

use crate::container::in_root::{self, is_null, open};
use crate::sys::path::{FdPath, PATH_MAX};
use crate::sys::{fs, io, mount, Error, Result, EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENODEV, ENOENT, ENOTDIR};
use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One change to the container's tree. A path is relative to the container's root.
pub enum Op {
    /// A directory, made where it is missing; its parent exists.
    Directory(CString),
    /// A directory, made where it is missing with all on the way to it; then it belongs to `owner`.
    MkdirChown {
        path: CString,
        owner: (u32, u32),
    },
    /// A device node, made where nothing is.
    Node {
        path: CString,
        mode: u32,
        device: (u32, u32),
        owner: (u32, u32),
    },
    Symlink {
        path: CString,
        target: CString,
    },
    /// A new file system; an `optional` one is left out where the kernel refuses.
    Mount {
        kind: &'static CStr,
        path: CString,
        flags: u64,
        data: Cow<'static, CStr>,
        optional: bool,
    },
    /// A tmpfs with the kernel's own options.
    Tmpfs {
        /// Its source in `/proc/mounts`.
        name: &'static CStr,
        path: CString,
        flags: u64,
        data: CString,
    },
    /// Attaches a mount that was made detached (fsmount(2)).
    Attach {
        mount: OwnedFd,
        path: CString,
        flags: u64,
    },
    /// A file or directory of the host.
    Bind {
        source: CString,
        path: CString,
        is_directory: bool,
        /// Mounts below the source come along.
        recursive: bool,
        /// The mount's flags, where they are not the source's.
        flags: Option<u64>,
        propagation: u64,
    },
    /// A parameter of the kernel, below the container's `/proc`; an `optional` one may be missing.
    Write {
        path: CString,
        value: CString,
        optional: bool,
    },
    /// Hides what exists at the path.
    Mask(CString),
    /// Makes what exists at the path read-only.
    ReadonlyPath(CString),
    /// Sets the flags of a mount that was optional, if it is there.
    RemountOptional {
        path: CString,
        flags: u64,
    },
    /// Sets the flags of a mount.
    Remount {
        path: CString,
        flags: u64,
    },
}

impl Op {
    /// The path that an error names.
    pub fn path(&self) -> &CStr {
        match self {
            Op::Directory(path) | Op::Mask(path) | Op::ReadonlyPath(path) | Op::RemountOptional { path, .. } => path,
            Op::Node { path, .. } | Op::Symlink { path, .. } | Op::Mount { path, .. } | Op::Tmpfs { path, .. } => path,
            Op::Attach { path, .. } | Op::Bind { path, .. } | Op::Write { path, .. } | Op::Remount { path, .. } => path,
            Op::MkdirChown { path, .. } => path,
        }
    }
}

/// Makes the changes below `root`, in their order.
pub struct Builder<'a> {
    root: BorrowedFd<'a>,
    /// The directory that the last node was made in, and its path: a privileged container has a hundred in `/dev`.
    last: Option<(&'a [u8], OwnedFd)>,
}

impl<'a> Builder<'a> {
    pub fn new(root: BorrowedFd<'a>) -> Builder<'a> {
        Builder { root, last: None }
    }

    /// Makes one change.
    pub fn apply(&mut self, op: &'a Op) -> Result<()> {
        let root = self.root;
        if !matches!(op, Op::Directory(_) | Op::Node { .. } | Op::Symlink { .. }) {
            // After a mount the same path leads elsewhere.
            self.last = None;
        }
        match op {
            Op::Directory(path) => {
                let (parent, name) = self.parent(path)?;
                exists_already(fs::mkdirat(parent, name, 0o755))
            }
            Op::Node { path, mode, device, owner } => {
                let (parent, name) = self.parent(path)?;
                let made = fs::mknodat(parent, name, *mode, *device);
                exists_already(made.and_then(|()| chown_new(parent, name, *owner)))
            }
            Op::Symlink { path, target } => {
                let (parent, name) = self.parent(path)?;
                exists_already(fs::symlinkat(target, parent, name))
            }
            Op::MkdirChown { path, owner } => mkdir_chown(root, path, *owner),
            Op::Mount { kind, path, flags, data, .. } => {
                let target = plain_directory(root, path)?;
                mount::mount(kind, FdPath::new(&target).as_cstr(), kind, *flags as _, data)
            }
            Op::Tmpfs { name, path, flags, data } => {
                let target = target(root, path, true)?;
                // Its mount is read-only, not the file system.
                let writable = *flags & !mount::MS_RDONLY;
                mount::mount(name, FdPath::new(&target).as_cstr(), c"tmpfs", writable as _, data)?;
                (writable == *flags).then_some(()).map_or_else(|| remount(root, path, *flags), Ok)
            }
            Op::Attach { mount, path, flags } => {
                mount::attach(mount.as_fd(), target(root, path, true)?.as_fd())?;
                remount(root, path, *flags)
            }
            Op::Bind { source, path, is_directory, recursive, flags, propagation } => {
                let target = target(root, path, *is_directory)?;
                mount::bind(source, FdPath::new(&target).as_cstr(), *recursive)?;
                // Opened again: now it is the mount, not what it covers.
                let target = open(root, path, fs::O_PATH)?;
                mount::propagation(FdPath::new(&target).as_cstr(), *propagation as _)?;
                flags.map_or(Ok(()), |flags| mount::remount(FdPath::new(&target).as_cstr(), flags as _))
            }
            Op::Write { path, value, optional } => match write_parameter(root, path, value) {
                Err(_) if *optional => Ok(()),
                result => result,
            },
            Op::Remount { path, flags } => remount(root, path, *flags),
            Op::Mask(path) => mask(root, path),
            Op::ReadonlyPath(path) => make_readonly(root, path),
            Op::RemountOptional { path, flags } => match remount(root, path, *flags) {
                // Left out.
                Err(error) if error.errno == EINVAL => Ok(()),
                result => result,
            },
        }
    }

    /// The directory that `path` lies in, opened anew only where it is not that of the change before, and its last
    /// name.
    fn parent(&mut self, path: &'a CStr) -> Result<(BorrowedFd<'_>, &'a CStr)> {
        let (directory, name) = split(path);
        let opened = match self.last.take() {
            Some((last, opened)) if last == directory => opened,
            _ => open_directory(self.root, directory)?,
        };
        let last = self.last.insert((directory, opened));
        Ok((last.1.as_fd(), name))
    }
}

/// Changes the owner of a new file, which is root's already.
fn chown_new(parent: BorrowedFd<'_>, name: &CStr, owner: (u32, u32)) -> Result<()> {
    match owner {
        (0, 0) => Ok(()),
        (uid, gid) => fs::fchownat(parent, name, uid, gid),
    }
}

/// Writes to a file of the container's `/proc`, and to no other that merely has its path.
fn write_parameter(root: BorrowedFd<'_>, path: &CStr, value: &CStr) -> Result<()> {
    let file = in_root::open_plain(root, path, fs::O_WRONLY | fs::O_NONBLOCK)?;
    in_root::expect_kind(&file, in_root::PROC)?;
    io::write(file.as_fd(), value.to_bytes()).map(drop)
}

/// Where the kernel's own file systems are mounted, made where it is missing; its parent is there. No symlink of the
/// image leads to it: what is written below its path would go to whatever the image has there.
fn plain_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    let open = || in_root::open_plain(root, path, fs::O_PATH | fs::O_DIRECTORY);
    match open() {
        Err(error) if error.errno == ENOENT => {
            let (parent, name) = parent(root, path)?;
            fs::mkdirat(parent.as_fd(), name, 0o755)?;
            open()
        }
        result => result,
    }
}

fn mkdir_chown(root: BorrowedFd<'_>, path: &CStr, owner: (u32, u32)) -> Result<()> {
    match open(root, path, fs::O_PATH) {
        Err(error) if error.errno == ENOENT => {
            in_root::make(root, path, Some(0o755))?;
            let made = open(root, path, fs::O_RDONLY | fs::O_DIRECTORY)?;
            fs::fchown(made.as_fd(), owner.0, owner.1)
        }
        found => found.map(drop),
    }
}

/// Where a volume or a tmpfs comes to lie, made where it is missing. A symlink of the image must not lead it into the
/// kernel's file systems, where it would cover what is trusted to be the kernel's; a
/// container line may name such a path itself.
fn target(root: BorrowedFd<'_>, path: &CStr, is_directory: bool) -> Result<OwnedFd> {
    let target = in_root::make(root, path, is_directory.then_some(in_root::MOUNT_POINT))?;
    let is_named = [&b"proc/"[..], b"sys/"].iter().any(|top| path.to_bytes().starts_with(top));
    let is_kernels = [in_root::PROC, in_root::SYSFS].contains(&fs::statfs(target.as_fd())?.kind);
    match is_kernels && !is_named {
        true => Err(Error::new("open", ELOOP)),
        false => Ok(target),
    }
}

fn remount(root: BorrowedFd<'_>, path: &CStr, flags: u64) -> Result<()> {
    mount::remount(FdPath::new(&open(root, path, fs::O_PATH)?).as_cstr(), flags as _)
}

/// Covers a directory with an empty tmpfs, and a file with `/dev/null`.
fn mask(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    let Some(target) = if_there(open(root, path, fs::O_PATH))? else { return Ok(()) };
    let is_directory = fs::statat(target.as_fd(), c"")?.is(fs::S_IFDIR);
    let target = FdPath::new(&target);
    match is_directory {
        true => mount::mount(c"tmpfs", target.as_cstr(), c"tmpfs", 0, c"size=0k,mode=555"),
        false => mount::bind(FdPath::new(&null()?).as_cstr(), target.as_cstr(), false),
    }?;
    // A chmod of the cover would be one of the host's /dev/null.
    let target = open(root, path, fs::O_PATH)?;
    mount::remount(FdPath::new(&target).as_cstr(), mount::MS_RDONLY)
}

/// The host's `/dev/null`, once it is known to be that device (CVE-2025-31133).
fn null() -> Result<OwnedFd> {
    let null = fs::openat(fs::CWD, c"/dev/null", fs::O_PATH, 0)?;
    match is_null(&null)? {
        true => Ok(null),
        false => Err(Error::new("open", ENODEV)),
    }
}

/// Binds a path to itself, read-only.
fn make_readonly(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    let Some(target) = if_there(open(root, path, fs::O_PATH))? else { return Ok(()) };
    let has = fs::statfs(target.as_fd())?.flags & (mount::MS_NOSUID | mount::MS_NODEV | mount::MS_NOEXEC);
    mount::bind(FdPath::new(&target).as_cstr(), FdPath::new(&target).as_cstr(), true)?;
    // Opened again: now it is the mount, not what it covers.
    let target = open(root, path, fs::O_PATH)?;
    mount::remount(FdPath::new(&target).as_cstr(), has | mount::MS_RDONLY)
}

fn if_there<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if matches!(error.errno, ENOENT | ENOTDIR) => Ok(None),
        result => result.map(Some),
    }
}

fn exists_already(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.errno == EEXIST => Ok(()),
        result => result,
    }
}

/// The directory that `path` (`a/b/c`, no slash at either end) lies in, and its last name.
fn parent<'a>(root: BorrowedFd<'_>, path: &'a CStr) -> Result<(OwnedFd, &'a CStr)> {
    let (directory, name) = split(path);
    Ok((open_directory(root, directory)?, name))
}

/// The path of the directory, empty for the root, and the last name.
fn split(path: &CStr) -> (&[u8], &CStr) {
    let bytes = path.to_bytes_with_nul();
    let Some(slash) = bytes.iter().rposition(|b| *b == b'/') else { return (b"", path) };
    let name = bytes.get(slash + 1..).and_then(|name| CStr::from_bytes_with_nul(name).ok()).unwrap_or(c"");
    (bytes.get(..slash).unwrap_or_default(), name)
}

fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    // Ended by hand in a buffer of our own.
    let mut buffer = [0; PATH_MAX];
    let place = buffer.get_mut(..path.len()).filter(|place| place.len() < PATH_MAX);
    place.ok_or(Error::new("open", ENAMETOOLONG))?.copy_from_slice(path);
    let path = CStr::from_bytes_until_nul(&buffer).unwrap_or(c"");
    let path = if path.is_empty() { c"." } else { path };
    open(root, path, fs::O_PATH | fs::O_DIRECTORY)
}
