//! `mount(2)` and its kin, split by intent.

use super::{cvt, cvt_long, Result};
use std::ffi::CStr;
use std::ptr::null;

pub use libc::{
    MNT_DETACH, MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT,
    MS_SLAVE, MS_STRICTATIME, UMOUNT_NOFOLLOW,
};

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

/// Makes the whole file system at `target` read-only: what is left to do for
/// one that cannot be unmounted.
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
