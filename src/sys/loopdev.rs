//! Loop devices: a file as a block device (Linux, include/uapi/linux/loop.h).

use super::{cvt, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

const LOOP_SET_FD: u32 = 0x4c00;
const LOOP_SET_STATUS64: u32 = 0x4c04;
const LOOP_CONFIGURE: u32 = 0x4c0a;
const LOOP_CTL_GET_FREE: u32 = 0x4c82;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_info64`; all that we set are the flags.
#[repr(C)]
struct Info {
    /// Device, inode, rdevice, offset, size limit, then four numbers of 32 bits.
    numbers: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    /// File name, cipher's name, key, init.
    texts: [u64; 22],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    file: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const fn info(flags: u32) -> Info {
    Info { numbers: [0; 5], number: 0, encryption: [0; 2], flags, texts: [0; 22] }
}

/// The number of a free loop device, made if there is none; `control` is
/// `/dev/loop-control`. Another process may take it before we do.
pub fn get_free(control: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: the descriptor is borrowed; this request has no argument.
    Ok(cvt("ioctl(LOOP_CTL_GET_FREE)", unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) })? as u32)
}

/// Binds `device` to `file`, read-only, by direct I/O where that can be, until
/// the device's last user is gone (Linux 5.8).
pub fn configure(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<()> {
    let flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    let config = Config { file: file.as_raw_fd() as u32, block_size: 0, info: info(flags), reserved: [0; 8] };
    // SAFETY: both descriptors are borrowed; the struct is as the kernel has it, and lives through the call.
    cvt("ioctl(LOOP_CONFIGURE)", unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &config) })?;
    Ok(())
}

/// As [`configure`], for kernels before 5.8: until [`set_autoclear`], the
/// device stays bound. `file` open for reading makes it read-only.
pub fn set_file(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: both descriptors are borrowed for the call.
    cvt("ioctl(LOOP_SET_FD)", unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD as _, file.as_raw_fd()) })?;
    Ok(())
}

/// Unbinds `device` when its last user is gone.
pub fn set_autoclear(device: BorrowedFd<'_>) -> Result<()> {
    let info = info(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR);
    // SAFETY: the descriptor is borrowed; the struct is as the kernel has it, and lives through the call.
    cvt("ioctl(LOOP_SET_STATUS64)", unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_STATUS64 as _, &info) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's sizes: with others, the ioctls would read past our structs.
    #[test]
    fn the_structs_are_the_kernels() {
        assert_eq!((std::mem::size_of::<Info>(), std::mem::size_of::<Config>()), (232, 304));
        assert_eq!(std::mem::offset_of!(Info, flags), 52);
    }
}
