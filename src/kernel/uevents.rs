//! Receives the kernel's uevents.

use crate::kernel::pure::uevent::{self, Event};
use crate::sys::{socket, Error, Result, ENOBUFS};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The kernel's limit for a message is 2 KiB of properties, and a path.
const MESSAGE_BYTES: usize = 8192;
/// What the kernel keeps while nobody reads: a server has some thousand devices.
const QUEUE_BYTES: u32 = 4 << 20;
/// Messages that are read before what they tell is acted on.
const MESSAGES_MAX: usize = 1024;

/// A socket that gets all uevents since it was opened.
pub struct Uevents {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Uevents {
    pub fn open() -> Result<Uevents> {
        let socket = socket::netlink_uevent()?;
        // If this fails, more may be lost, which is noticed.
        let _ = socket::set_receive_bytes(socket.as_fd(), QUEUE_BYTES);
        socket::netlink_bind(socket.as_fd(), socket::UEVENTS)?;
        Ok(Uevents { socket, buffer: vec![0; MESSAGE_BYTES] })
    }

    /// Is readable when there are some.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Calls `each` with what the kernel has told since the last call; false if something was lost. Messages of other
    /// senders (a container with CAP_NET_ADMIN can send some) are dropped.
    pub fn take(&mut self, each: &mut dyn FnMut(Event)) -> bool {
        for _ in 0..MESSAGES_MAX {
            match socket::netlink_receive(self.socket.as_fd(), &mut self.buffer) {
                Ok((length, true)) => uevent::parse(self.buffer.get(..length).unwrap_or_default(), each),
                Ok(_) => {}
                Err(Error { errno: ENOBUFS, .. }) => return false,
                Err(_) => break,
            }
        }
        true
    }
}
