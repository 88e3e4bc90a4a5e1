//! `mount(2)` and other calls about mounts, split by intent.

use super::{cvt, cvt_long, Result};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null;

pub use libc::{
    MNT_DETACH, MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT,
    MS_SHARED, MS_SLAVE, MS_STRICTATIME, MS_UNBINDABLE, UMOUNT_NOFOLLOW,
};

/// Symbolic links are not followed (linux/mount.h, since Linux 5.10; older ones ignore it).
pub const MS_NOSYMFOLLOW: libc::c_ulong = 0x100;

/// Mounts a new file system of type `kind`; `data` is its option string.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong, data: &CStr) -> Result<()> {
    // SAFETY: all four strings are NUL-terminated and live through the call.
    cvt("mount", unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) })?;
    Ok(())
}

/// Makes `source` appear at `target`; with `recursive`, its submounts too.
pub fn bind(source: &CStr, target: &CStr, recursive: bool) -> Result<()> {
    let flags = if recursive { MS_BIND | MS_REC } else { MS_BIND };
    // SAFETY: both paths are NUL-terminated; a bind takes no type and no data.
    cvt("mount(bind)", unsafe { libc::mount(source.as_ptr(), target.as_ptr(), null(), flags, null()) })?;
    Ok(())
}

/// Changes the flags of the mount at `target` (a bind mount keeps its own set).
pub fn remount(target: &CStr, flags: libc::c_ulong) -> Result<()> {
    // SAFETY: the path is NUL-terminated; a remount reads no source and no type.
    cvt("mount(remount)", unsafe {
        libc::mount(null(), target.as_ptr(), null(), MS_REMOUNT | MS_BIND | flags, null())
    })?;
    Ok(())
}

/// Makes the whole file system at `target` read-only, for one that cannot be
/// unmounted.
pub fn remount_read_only(target: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated; a remount reads no source, no type and no data.
    cvt("mount(remount)", unsafe { libc::mount(null(), target.as_ptr(), null(), MS_REMOUNT | MS_RDONLY, null()) })?;
    Ok(())
}

/// Sets the propagation (`MS_PRIVATE`, `MS_SLAVE`, with `MS_REC`) at `target`.
pub fn propagation(target: &CStr, flags: libc::c_ulong) -> Result<()> {
    // SAFETY: the path is NUL-terminated; a change of propagation reads nothing else.
    cvt("mount(propagation)", unsafe { libc::mount(null(), target.as_ptr(), null(), flags, null()) })?;
    Ok(())
}

/// Moves the mount at `source` to `target`.
pub fn move_(source: &CStr, target: &CStr) -> Result<()> {
    // SAFETY: both paths are NUL-terminated; a move takes no type and no data.
    cvt("mount(move)", unsafe { libc::mount(source.as_ptr(), target.as_ptr(), null(), libc::MS_MOVE, null()) })?;
    Ok(())
}

/// Unmounts `target`; `flags` is a set of [`MNT_DETACH`] and [`UMOUNT_NOFOLLOW`].
pub fn umount(target: &CStr, flags: libc::c_int) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    cvt("umount", unsafe { libc::umount2(target.as_ptr(), flags) })?;
    Ok(())
}

/// Makes `new_root` the root mount and puts the old one at `put_old`.
pub fn pivot_root(new_root: &CStr, put_old: &CStr) -> Result<()> {
    // SAFETY: both paths are NUL-terminated.
    cvt_long("pivot_root", unsafe { libc::syscall(libc::SYS_pivot_root, new_root.as_ptr(), put_old.as_ptr()) })?;
    Ok(())
}

/// Linux, mount.h: what fsconfig(2) is asked for.
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

/// A new file system of type `kind`, without options yet (Linux 5.2).
pub fn fs_open(kind: &CStr) -> Result<OwnedFd> {
    const CLOEXEC: u32 = 1;
    // SAFETY: the name is NUL-terminated.
    let fd = cvt_long("fsopen", unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) })?;
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// One option of a file system of [`fs_open`]: `key=value`, or `key` alone.
pub fn fs_option(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> Result<()> {
    let command = if value.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
    let value = value.map_or(null(), CStr::as_ptr);
    // SAFETY: both strings are NUL-terminated and live through the call; a flag has no value.
    cvt_long("fsconfig", unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), value, 0)
    })?;
    Ok(())
}

/// Makes a mount of the file system of [`fs_open`], which is not attached yet.
pub fn fs_mount(context: BorrowedFd<'_>) -> Result<OwnedFd> {
    const CLOEXEC: u32 = 1;
    let none = null::<libc::c_char>();
    // SAFETY: this command takes neither key nor value.
    cvt_long("fsconfig", unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0)
    })?;
    // SAFETY: takes numbers only.
    let fd = cvt_long("fsmount", unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) })?;
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches the mount of [`fs_mount`] at `target`, a descriptor of `O_PATH`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    /// Both paths are empty: the descriptors themselves.
    const EMPTY_PATHS: u32 = 0x4 | 0x40;
    // SAFETY: both descriptors are borrowed, and the paths are NUL-terminated.
    cvt_long("move_mount", unsafe {
        let (mount, target) = (mount.as_raw_fd(), target.as_raw_fd());
        libc::syscall(libc::SYS_move_mount, mount, c"".as_ptr(), target, c"".as_ptr(), EMPTY_PATHS)
    })?;
    Ok(())
}
