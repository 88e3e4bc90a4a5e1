//! System calls, and the only `unsafe` of the crate: one function, one system
//! call, one SAFETY line. No policy, and no retries but for EINTR.

use std::fmt;
use std::os::fd::BorrowedFd;

pub use libc::{
    E2BIG, EACCES, EAGAIN, EBUSY, ECONNREFUSED, EDQUOT, EEXIST, EHOSTUNREACH, EINTR, EINVAL, EIO, EISDIR, ELOOP,
    ENAMETOOLONG, ENETUNREACH, ENOBUFS, ENODATA, ENODEV, ENOENT, ENOEXEC, ENOMEDIUM, ENOMEM, ENOSPC, ENOSYS, ENOTDIR,
    ENOTEMPTY, ENXIO, EOPNOTSUPP, EPERM, EPROTONOSUPPORT, ERANGE, EROFS, ETIMEDOUT, EXDEV,
};

pub mod bpf;
pub mod capabilities;
#[cfg(target_arch = "x86_64")]
mod chacha20_poly1305;
pub mod crash;
pub mod crc32;
#[cfg(target_arch = "x86_64")]
mod curve25519;
pub mod fs;
pub mod handover;
pub mod io;
pub mod last_words;
pub mod loopdev;
pub mod machine;
pub mod mount;
pub mod overlayfs;
#[cfg(target_arch = "x86_64")]
mod p256;
pub mod path;
pub mod process;
pub mod signal;
pub mod socket;
pub mod thread;
pub mod tty;

/// The standard descriptors, which every process has and PID 1 opens itself.
// SAFETY: nobody owns, and so nobody closes, 0, 1 and 2.
pub const STDIN: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(0) };
// SAFETY: as above.
pub const STDOUT: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(1) };
// SAFETY: as above.
pub const STDERR: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(2) };

/// A system call that failed: its name and the errno it left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error {
    pub call: &'static str,
    pub errno: i32,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub const fn new(call: &'static str, errno: i32) -> Error {
        Error { call, errno }
    }

    /// The current `errno`, with the name of the call that set it.
    pub fn last(call: &'static str) -> Error {
        Error { call, errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0) }
    }

    /// The errno of a std::io error, with the name of the call that std made.
    pub fn from_io(call: &'static str, error: &std::io::Error) -> Error {
        Error { call, errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// The errno, without the call.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        std::io::Error::from_raw_os_error(error.errno)
    }
}

/// `write: no space left on device`, the form of all console lines.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call)?;
        f.write_str(": ")?;
        match errno_text(self.errno) {
            Some(text) => f.write_str(text),
            None => write!(f, "errno {}", self.errno),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text of a std::io error as other console lines have it, without std's
/// " (os error N)".
pub fn io_text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => errno_text(errno).map_or_else(|| ["errno ", &errno.to_string()].concat(), String::from),
        None => error.to_string(),
    }
}

/// `strerror(3)` for the errors that a boot meets, without libc's tables.
fn errno_text(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "operation not permitted",
        libc::ENOENT => "no such file or directory",
        libc::ESRCH => "no such process",
        libc::EIO => "input/output error",
        libc::ENXIO => "no such device or address",
        libc::ENOEXEC => "exec format error",
        libc::EBADF => "bad file descriptor",
        libc::EAGAIN => "resource temporarily unavailable",
        libc::ENOMEM => "out of memory",
        libc::E2BIG => "argument list too long",
        libc::EACCES => "permission denied",
        libc::EBUSY => "device or resource busy",
        libc::EEXIST => "file exists",
        libc::EXDEV => "cross-device link",
        libc::ENODEV => "no such device",
        libc::ENOTDIR => "not a directory",
        libc::EISDIR => "is a directory",
        libc::EINVAL => "invalid argument",
        libc::EMFILE => "too many open files",
        libc::ETXTBSY => "text file busy",
        libc::EFBIG => "file too large",
        libc::ENOSPC => "no space left on device",
        libc::EROFS => "read-only file system",
        libc::EMLINK => "too many links",
        libc::EPIPE => "broken pipe",
        libc::ENAMETOOLONG => "file name too long",
        libc::ENOSYS => "function not implemented by this kernel",
        libc::ENOTEMPTY => "directory not empty",
        libc::ELOOP => "too many levels of symbolic links",
        libc::EOPNOTSUPP => "operation not supported",
        libc::EADDRINUSE => "address in use",
        libc::ENETDOWN => "network is down",
        libc::ENETUNREACH => "network is unreachable",
        libc::ECONNRESET => "connection reset by the other side",
        libc::ETIMEDOUT => "timed out",
        libc::ECONNREFUSED => "connection refused",
        libc::EPROTONOSUPPORT => "protocol not supported",
        libc::EREMOTEIO => "remote I/O error",
        libc::EHOSTUNREACH => "no route to host",
        libc::EDQUOT => "disk quota exceeded",
        _ => return None,
    })
}

/// A C result that is -1 on failure.
pub(crate) fn cvt(call: &'static str, result: libc::c_int) -> Result<libc::c_int> {
    if result == -1 {
        Err(Error::last(call))
    } else {
        Ok(result)
    }
}

/// As [`cvt`], for calls that return a size.
pub(crate) fn cvt_size(call: &'static str, result: isize) -> Result<usize> {
    if result < 0 {
        Err(Error::last(call))
    } else {
        Ok(result as usize)
    }
}

/// As [`cvt`], for raw `syscall(2)`.
pub(crate) fn cvt_long(call: &'static str, result: libc::c_long) -> Result<libc::c_long> {
    if result == -1 {
        Err(Error::last(call))
    } else {
        Ok(result)
    }
}
