//! Files by descriptor; paths below a container's root are opened in-root.

use super::{cvt, cvt_long, cvt_size, Error, Result};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub use libc::{
    O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_TRUNC,
    O_WRONLY, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, S_IFBLK,
    S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
};

/// The current directory, where a descriptor of a directory is wanted.
// SAFETY: AT_FDCWD is no descriptor that anybody could close.
pub const CWD: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) };

/// The attributes of a file (`fstatat(2)`). Sizes are in bytes, `mtime` in seconds
/// and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub mtime: (i64, u32),
}

impl Stat {
    pub fn is(&self, kind: libc::mode_t) -> bool {
        self.mode & S_IFMT == kind
    }

    /// The character device 0:0, overlayfs's mark for a name that is gone.
    pub fn is_whiteout(&self) -> bool {
        self.is(S_IFCHR) && self.rdev == 0
    }
}

/// Space of a file system, in bytes, its type and its mount flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// The file system's magic number (`statfs(2)`).
    pub kind: u64,
    /// How it is mounted here: `MS_RDONLY`, `MS_NOSUID`, `MS_NODEV`, `MS_NOEXEC`, and others.
    pub flags: u64,
}

/// The major and minor number in a `dev_t`.
pub fn device_numbers(device: u64) -> (u32, u32) {
    (libc::major(device as _) as u32, libc::minor(device as _) as u32)
}

/// `openat(2)`; the last component is followed unless `flags` has `O_NOFOLLOW`.
pub fn openat(dir: BorrowedFd<'_>, path: &CStr, flags: libc::c_int, mode: u32) -> Result<OwnedFd> {
    loop {
        // SAFETY: the descriptor is borrowed and the path NUL-terminated.
        let fd = unsafe { libc::openat(dir.as_raw_fd(), path.as_ptr(), flags | libc::O_CLOEXEC, mode) };
        match cvt("open", fd) {
            // SAFETY: a fresh descriptor that nobody else has.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(Error { errno: libc::EINTR, .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Each try walks one path. The limit ends the loop where another process renames without a pause.
const TRIES_MAX: u32 = 10_000;

/// `openat2(2)`: `resolve` is a set of `RESOLVE_…` (Linux 5.6). Where a `..` has to stay inside, the call fails
/// (EAGAIN) if anything on the whole system is renamed or mounted meanwhile: then it is tried again.
pub fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: libc::c_int, mode: u32, resolve: u64) -> Result<OwnedFd> {
    // SAFETY: open_how is three integers; zero is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    let size = std::mem::size_of::<libc::open_how>();
    let mut tries = 0;
    loop {
        tries += 1;
        // SAFETY: path and struct live through the call; size is the struct's.
        let fd = unsafe { libc::syscall(libc::SYS_openat2, dir.as_raw_fd(), path.as_ptr(), &how, size) };
        match cvt_long("openat2", fd) {
            // SAFETY: a fresh descriptor that nobody else has.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
            Err(Error { errno: libc::EINTR, .. }) => {}
            Err(Error { errno: libc::EAGAIN, .. }) if tries < TRIES_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

pub fn mkdirat(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the descriptor is borrowed and the path NUL-terminated.
    cvt("mkdir", unsafe { libc::mkdirat(dir.as_raw_fd(), path.as_ptr(), mode) })?;
    Ok(())
}

/// Makes a FIFO, a device node or (`S_IFCHR`, 0:0) an overlayfs whiteout.
pub fn mknodat(dir: BorrowedFd<'_>, path: &CStr, mode: u32, device: (u32, u32)) -> Result<()> {
    let device = libc::makedev(device.0 as _, device.1 as _);
    // SAFETY: the descriptor is borrowed and the path NUL-terminated.
    cvt("mknod", unsafe { libc::mknodat(dir.as_raw_fd(), path.as_ptr(), mode, device) })?;
    Ok(())
}

pub fn symlinkat(target: &CStr, dir: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    // SAFETY: the descriptor is borrowed and both strings NUL-terminated.
    cvt("symlink", unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), path.as_ptr()) })?;
    Ok(())
}

/// Another name for `old`, which is itself linked if it is a symlink.
pub fn linkat(old_dir: BorrowedFd<'_>, old: &CStr, new_dir: BorrowedFd<'_>, new: &CStr) -> Result<()> {
    let (old_dir, new_dir) = (old_dir.as_raw_fd(), new_dir.as_raw_fd());
    // SAFETY: the descriptors are borrowed and both paths NUL-terminated.
    cvt("link", unsafe { libc::linkat(old_dir, old.as_ptr(), new_dir, new.as_ptr(), 0) })?;
    Ok(())
}

/// Removes a name that is not a directory.
pub fn unlinkat(dir: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    // SAFETY: the descriptor is borrowed and the path NUL-terminated.
    cvt("unlink", unsafe { libc::unlinkat(dir.as_raw_fd(), path.as_ptr(), 0) })?;
    Ok(())
}

/// Removes an empty directory.
pub fn rmdirat(dir: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    // SAFETY: the descriptor is borrowed and the path NUL-terminated.
    cvt("rmdir", unsafe { libc::unlinkat(dir.as_raw_fd(), path.as_ptr(), libc::AT_REMOVEDIR) })?;
    Ok(())
}

pub fn renameat(old_dir: BorrowedFd<'_>, old: &CStr, new_dir: BorrowedFd<'_>, new: &CStr) -> Result<()> {
    let (old_dir, new_dir) = (old_dir.as_raw_fd(), new_dir.as_raw_fd());
    // SAFETY: the descriptors are borrowed and both paths NUL-terminated.
    cvt("rename", unsafe { libc::renameat(old_dir, old.as_ptr(), new_dir, new.as_ptr()) })?;
    Ok(())
}

/// `flock(2)`: takes the exclusive lock of an open file or directory, until the
/// last copy of the descriptor is closed; waits for a process that has it.
pub fn lock_exclusive(file: BorrowedFd<'_>) -> Result<()> {
    loop {
        // SAFETY: the descriptor is borrowed for the call.
        match cvt("flock", unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }) {
            Err(Error { errno: libc::EINTR, .. }) => {}
            result => return result.map(drop),
        }
    }
}

/// As [`lock_exclusive`] without waiting: false where another has the lock.
pub fn try_lock_exclusive(file: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: the descriptor is borrowed for the call.
    match cvt("flock", unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(Error { errno: libc::EWOULDBLOCK, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

pub fn fchown(file: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call.
    cvt("chown", unsafe { libc::fchown(file.as_raw_fd(), uid, gid) })?;
    Ok(())
}

/// The owner of `path` itself, never of what a symlink names.
pub fn fchownat(dir: BorrowedFd<'_>, path: &CStr, uid: u32, gid: u32) -> Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the descriptor is borrowed and the path NUL-terminated.
    cvt("chown", unsafe { libc::fchownat(dir.as_raw_fd(), path.as_ptr(), uid, gid, flags) })?;
    Ok(())
}

pub fn fchmod(file: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call.
    cvt("chmod", unsafe { libc::fchmod(file.as_raw_fd(), mode) })?;
    Ok(())
}

/// The mode of `path`. Follows a symlink there: only for names that the caller
/// has just made and knows to be none.
pub fn fchmodat(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the descriptor is borrowed and the path NUL-terminated.
    cvt("chmod", unsafe { libc::fchmodat(dir.as_raw_fd(), path.as_ptr(), mode, 0) })?;
    Ok(())
}

fn timespec(time: (i64, u32)) -> libc::timespec {
    // 32-bit time_t: what does not fit is clamped. The type's own name is deprecated for musl.
    let latest = if time.0 < 0 { i32::MIN } else { i32::MAX };
    #[allow(clippy::useless_conversion)]
    let tv_sec = time.0.try_into().unwrap_or(latest.into());
    libc::timespec { tv_sec, tv_nsec: time.1 as libc::c_long }
}

/// Sets access and modification time: seconds and nanoseconds since 1970.
pub fn futimens(file: BorrowedFd<'_>, time: (i64, u32)) -> Result<()> {
    let times = [timespec(time); 2];
    // SAFETY: the descriptor is borrowed and the array has the two times.
    cvt("utimens", unsafe { libc::futimens(file.as_raw_fd(), times.as_ptr()) })?;
    Ok(())
}

/// As [`futimens`], for `path` itself, never for what a symlink names.
pub fn utimensat(dir: BorrowedFd<'_>, path: &CStr, time: (i64, u32)) -> Result<()> {
    let times = [timespec(time); 2];
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: descriptor borrowed, path NUL-terminated, two times in the array.
    cvt("utimens", unsafe { libc::utimensat(dir.as_raw_fd(), path.as_ptr(), times.as_ptr(), flags) })?;
    Ok(())
}

pub fn fsetxattr(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
    let (data, len) = (value.as_ptr().cast(), value.len());
    // SAFETY: pointer and length are of one slice; the name is NUL-terminated.
    cvt("setxattr", unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), data, len, 0) })?;
    Ok(())
}

/// Sets an attribute of `path` itself, never of what a symlink names.
pub fn lsetxattr(path: &CStr, name: &CStr, value: &[u8]) -> Result<()> {
    let (data, len) = (value.as_ptr().cast(), value.len());
    // SAFETY: pointer and length are of one slice; both strings are NUL-terminated.
    cvt("setxattr", unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), data, len, 0) })?;
    Ok(())
}

/// The value's length; with an empty `buffer`, the length it would have.
pub fn fgetxattr(file: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let (data, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: pointer and length are of one slice; the name is NUL-terminated.
    cvt_size("getxattr", unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), data, len) })
}

/// As [`fgetxattr`], for `path` itself, never for what a symlink names.
pub fn lgetxattr(path: &CStr, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let (data, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: pointer and length are of one slice; both strings are NUL-terminated.
    cvt_size("getxattr", unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), data, len) })
}

/// The names of the attributes of `path` itself, each with a NUL behind it; returns their length.
pub fn llistxattr(path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let (data, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: pointer and length are of one slice; the path is NUL-terminated.
    cvt_size("listxattr", unsafe { libc::llistxattr(path.as_ptr(), data, len) })
}

pub fn ftruncate(file: BorrowedFd<'_>, size: u64) -> Result<()> {
    let size = libc::off64_t::try_from(size).map_err(|_| Error::new("truncate", libc::EFBIG))?;
    // SAFETY: the descriptor is borrowed for the call.
    cvt("truncate", unsafe { libc::ftruncate64(file.as_raw_fd(), size) })?;
    Ok(())
}

/// Writes at an offset; may write less than all of `bytes`.
pub fn pwrite(file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> Result<usize> {
    let at = libc::off64_t::try_from(at).map_err(|_| Error::new("write", libc::EFBIG))?;
    let (data, len) = (bytes.as_ptr().cast(), bytes.len());
    loop {
        // SAFETY: pointer and length are of one slice.
        match cvt_size("write", unsafe { libc::pwrite64(file.as_raw_fd(), data, len, at) }) {
            Err(Error { errno: libc::EINTR, .. }) => {}
            result => return result,
        }
    }
}

/// Writes all of `bytes` at an offset.
pub fn write_all_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<()> {
    while !bytes.is_empty() {
        let written = pwrite(file, bytes, at)?;
        if written == 0 {
            return Err(Error::new("write", libc::EIO));
        }
        at += written as u64;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Reads at an offset; 0 at the end of the file.
pub fn pread(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize> {
    let at = libc::off64_t::try_from(at).map_err(|_| Error::new("read", libc::EFBIG))?;
    let (data, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    loop {
        // SAFETY: pointer and length are of one slice.
        match cvt_size("read", unsafe { libc::pread64(file.as_raw_fd(), data, len, at) }) {
            Err(Error { errno: libc::EINTR, .. }) => {}
            result => return result,
        }
    }
}

/// linux/memfd.h: the file may be executed, which has to be stated since Linux 6.3.
const MFD_EXEC: libc::c_uint = 0x10;
const SEAL_TRIES_MAX: u32 = 100;
const SEALS: libc::c_int = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// A sealed file in memory with these bytes, which cannot be changed any more (memfd_create(2)).
pub fn sealed(name: &CStr, bytes: &[u8]) -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is NUL-terminated.
    let create = |flags| cvt("memfd_create", unsafe { libc::memfd_create(name.as_ptr(), flags) });
    let fd = create(flags | MFD_EXEC).or_else(|_| create(flags))?;
    // SAFETY: a fresh descriptor that nobody else has.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    write_all_at(file.as_fd(), bytes, 0)?;
    let mut tries = 0;
    loop {
        tries += 1;
        // SAFETY: takes numbers only.
        match cvt("fcntl", unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) }) {
            // The kernel itself holds a page for a moment; each try waits a little.
            Err(Error { errno: libc::EBUSY, .. }) if tries < SEAL_TRIES_MAX => {}
            result => return result.map(|_| file),
        }
    }
}

/// Whether `file` is one of [`sealed`].
pub fn is_sealed(file: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: the descriptor is borrowed for the call.
    match cvt("fcntl", unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) }) {
        Err(Error { errno: libc::EINVAL, .. }) => Ok(false),
        seals => Ok(seals? & SEALS == SEALS),
    }
}

/// `fstatat(2)`: `path` itself, never what a symlink names; the descriptor's
/// own file where `path` is empty.
pub fn statat(dir: BorrowedFd<'_>, path: &CStr) -> Result<Stat> {
    // SAFETY: stat64 is plain integers; zero is a valid value.
    let mut stat: libc::stat64 = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: descriptor borrowed, path NUL-terminated, the struct is ours.
    cvt("stat", unsafe { libc::fstatat64(dir.as_raw_fd(), path.as_ptr(), &mut stat, flags) })?;
    Ok(Stat {
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        mode: stat.st_mode,
        nlink: stat.st_nlink as u64,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u64,
        size: stat.st_size as u64,
        mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
    })
}

/// Space left on the file system of `file`, for an unprivileged writer.
pub fn statfs(file: BorrowedFd<'_>) -> Result<Space> {
    // SAFETY: statfs64 is plain integers; zero is a valid value.
    let mut stat: libc::statfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is borrowed and the struct ours.
    cvt("statfs", unsafe { libc::fstatfs64(file.as_raw_fd(), &mut stat) })?;
    let block = stat.f_bsize as u64;
    Ok(Space {
        free_bytes: (stat.f_bavail as u64).saturating_mul(block),
        total_bytes: (stat.f_blocks as u64).saturating_mul(block),
        kind: stat.f_type as u64,
        flags: stat.f_flags as u64,
    })
}

/// Reads the target of a symlink: of `path` or, where that is empty, of the
/// descriptor (`O_PATH | O_NOFOLLOW`) itself. Returns its length, at most the
/// buffer's.
pub fn readlinkat(dir: BorrowedFd<'_>, path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let (data, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: descriptor borrowed, path NUL-terminated, pointer and length of one slice.
    cvt_size("readlink", unsafe { libc::readlinkat(dir.as_raw_fd(), path.as_ptr(), data, len) })
}

/// One buffer of directory entries, as the kernel packs them (for
/// [`for_each_name`]); 0 at the end.
pub fn getdents(dir: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: pointer and length are of one slice.
    let n = cvt_long("getdents", unsafe {
        libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
    })?;
    Ok(n as usize)
}

/// Calls `each` with every name in what [`getdents`] filled, but `.` and `..`.
pub fn for_each_name<E>(
    entries: &[u8],
    mut each: impl FnMut(&CStr) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut rest = entries;
    // linux_dirent64: inode 8, offset 8, record length 2, type 1, name with NUL.
    while let Some(length) = rest.get(16..18) {
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
        let Some(record) = rest.get(..length).filter(|r| r.len() > 19) else { break };
        if let Ok(name) = CStr::from_bytes_until_nul(&record[19..]) {
            if name != c"." && name != c".." {
                each(name)?;
            }
        }
        rest = &rest[length..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as stdfs;

    /// Promise: renames-meanwhile
    #[test]
    fn paths_are_found_while_others_rename() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        stdfs::create_dir_all(at("root/a/b/c")).unwrap();
        stdfs::write(at("x"), "").unwrap();
        let root: OwnedFd = stdfs::File::open(at("root")).unwrap().into();
        let find = || openat2(root.as_fd(), c"a/b/c/../../../../../a/b/../b", O_PATH, 0, RESOLVE_IN_ROOT);
        let done = std::sync::atomic::AtomicBool::new(false);
        let mut failed = None;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    stdfs::rename(at("x"), at("y")).unwrap();
                    stdfs::rename(at("y"), at("x")).unwrap();
                }
            });
            failed = (0..20_000).find_map(|_| find().err());
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(failed, None);
    }
}
