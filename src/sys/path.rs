//! Paths and texts as system calls take them.

use super::{Error, Result, EINVAL};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest path, with its NUL (Linux, limits.h).
pub const PATH_MAX: usize = 4096;

/// A path for the kernel. One with a NUL in it is EINVAL.
pub fn c_path(path: &Path) -> Result<CString> {
    c_string(path.as_os_str().as_bytes())
}

/// A path, a name or another text for the kernel. One with a NUL in it is EINVAL.
pub fn c_string(text: &[u8]) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new("open", EINVAL))
}

/// A path to `name` in `dir`, for system calls that take no descriptor.
pub fn proc_path(dir: BorrowedFd<'_>, name: &CStr) -> CString {
    let number = dir.as_raw_fd().to_string();
    CString::new([b"/proc/self/fd/", number.as_bytes(), b"/", name.to_bytes()].concat()).unwrap_or_default()
}

/// The path `/proc/self/fd/N` of a descriptor, for `mount(2)`, made without an
/// allocation.
pub struct FdPath([u8; 32]);

impl FdPath {
    pub fn new(fd: &impl AsRawFd) -> FdPath {
        let mut path = [0; 32];
        let prefix = b"/proc/self/fd/";
        let (start, rest) = path.split_at_mut(prefix.len());
        start.copy_from_slice(prefix);
        let mut number = fd.as_raw_fd();
        let mut digits = [0; 10];
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            count += 1;
            if number == 0 {
                break;
            }
        }
        for (to, from) in rest.iter_mut().zip(digits.iter().skip(10 - count)) {
            *to = *from;
        }
        FdPath(path)
    }

    pub fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}
