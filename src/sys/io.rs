//! Descriptors: pipes, polling, and sockets that pass descriptors to another process.

use super::{cvt, cvt_size, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A pipe: its read and its write end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array is ours.
    cvt("pipe2", unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: two new descriptors, owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// A descriptor to wait for in [`poll`].
pub struct Poll<'a> {
    pub fd: BorrowedFd<'a>,
    /// Wait for room to write rather than for something to read.
    pub write: bool,
}

/// Waits until one of `wanted` (at most 8) is ready, for at most `timeout_ms` (-1:
/// without a limit). Bit N of the result: number N is ready, or at its end.
pub fn poll(wanted: &[Poll], timeout_ms: i32) -> Result<u32> {
    let mut fds = [libc::pollfd { fd: -1, events: 0, revents: 0 }; 8];
    for (slot, poll) in fds.iter_mut().zip(wanted) {
        slot.fd = poll.fd.as_raw_fd();
        slot.events = if poll.write { libc::POLLOUT } else { libc::POLLIN };
    }
    // SAFETY: the array is ours and has 8 places.
    let result = cvt("poll", unsafe { libc::poll(fds.as_mut_ptr(), 8, timeout_ms) });
    match result {
        Err(error) if error.errno != libc::EINTR => Err(error),
        Err(_) => Ok(0),
        Ok(_) => Ok(fds.iter().enumerate().filter(|(_, fd)| fd.revents != 0).map(|(n, _)| 1 << n).sum()),
    }
}

/// Sets whether reads and writes of `fd` fail with EAGAIN rather than block.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call.
    let flags = cvt("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: as above; the flags are the file's own.
    cvt("fcntl", unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) })?;
    Ok(())
}

/// Reads at most a buffer of bytes; 0 is the end.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: pointer and length are of one slice.
    cvt_size("read", unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Writes, and returns how much was written.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    // SAFETY: pointer and length are of one slice.
    cvt_size("write", unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// A pair of connected sockets, for [`send_fd`] and [`receive_fd`].
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: the array is ours.
    cvt("socketpair", unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: two new descriptors, owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Room for one descriptor in a control message, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends a copy of `fd`, with one byte, over a socket.
pub fn send_fd(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<()> {
    let mut byte = [0u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 64]);
    // SAFETY: all pointers are to locals that live through the call; the control buffer has room for one descriptor.
    cvt_size("sendmsg", unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL)
    })?;
    Ok(())
}

/// Receives a descriptor; `None` where the other side ended without one.
pub fn receive_fd(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let mut byte = [0u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 64]);
    // SAFETY: all pointers are to locals that live through the call; the header is read only where the kernel wrote
    // one.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        cvt_size("recvmsg", libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC))?;
        let header = libc::CMSG_FIRSTHDR(&message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Ok(None);
        }
        let fd = libc::CMSG_DATA(header).cast::<i32>().read_unaligned();
        Ok(Some(OwnedFd::from_raw_fd(fd)))
    }
}
