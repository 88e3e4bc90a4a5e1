//! Requests to the kernel by rtnetlink, and its notifications of changes.

use crate::net::pure::netlink::{self, Link, Reply, RECEIVE_BYTES};
use crate::sys::{socket, Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const ENOBUFS: i32 = 105;

/// The kind of a pair's end.
pub const VETH: &str = "veth";

/// Datagrams that are read for one request: dumps come in pieces of 32 KiB.
const MAX_DATAGRAMS: usize = 4096;

/// A connection to the kernel's rtnetlink.
pub struct Kernel {
    requests: OwnedFd,
    events: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Kernel {
    /// From now on notifications are queued, so that no change after a dump is missed.
    pub fn open() -> Result<Kernel> {
        let events = socket::netlink_route()?;
        socket::netlink_bind(events.as_fd(), socket::LINK_EVENTS)?;
        Ok(Kernel { requests: socket::netlink_route()?, events, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Becomes readable when links come, go or change.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// One change, and the kernel's own error if it refuses.
    pub fn request(&mut self, message: Vec<u8>) -> Result<()> {
        self.dump(message).map(drop)
    }

    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for reply in self.dump(netlink::get_links())? {
            if let Reply::Link(link) = reply {
                links.push(link);
            }
        }
        Ok(links)
    }

    /// Changes since the last call: links as they are now, and indices of links that are gone.
    pub fn changes(&mut self) -> Result<(Vec<Link>, Vec<u32>)> {
        let (mut links, mut gone) = (Vec::new(), Vec::new());
        for _ in 0..MAX_DATAGRAMS {
            match socket::receive(self.events.as_fd(), &mut self.buffer) {
                Ok(length) => {
                    for (_, reply) in netlink::parse(self.buffer.get(..length).unwrap_or_default()) {
                        match reply {
                            Reply::Link(link) => links.push(link),
                            Reply::LinkGone(index) => gone.push(index),
                            _ => {}
                        }
                    }
                }
                Err(Error { errno: EAGAIN, .. }) => break,
                // Some notifications were lost: all links are read again.
                Err(Error { errno: ENOBUFS, .. }) => links = self.links()?,
                Err(error) => return Err(error),
            }
        }
        Ok((links, gone))
    }

    /// Sends a request and reads its answer to the end. The kernel answers within the calls, so that nothing here
    /// waits.
    pub fn dump(&mut self, mut message: Vec<u8>) -> Result<Vec<Reply>> {
        self.sequence += 1;
        netlink::finish(&mut message, self.sequence);
        socket::send(self.requests.as_fd(), &message)?;
        let mut replies = Vec::new();
        for _ in 0..MAX_DATAGRAMS {
            let length = socket::receive(self.requests.as_fd(), &mut self.buffer)?;
            for (sequence, reply) in netlink::parse(self.buffer.get(..length).unwrap_or_default()) {
                match reply {
                    _ if sequence != self.sequence => {}
                    Reply::Done | Reply::Ack(0) => return Ok(replies),
                    Reply::Ack(errno) => return Err(Error::new("rtnetlink", errno)),
                    reply => replies.push(reply),
                }
            }
        }
        Err(Error::new("rtnetlink", EIO))
    }
}

/// Whether `link` is a wired network card: Ethernet with a device, or one end of a veth pair (in a network namespace).
/// Not wireless, which needs keys; no bridge, bond or tunnel.
pub fn wired(link: &Link) -> bool {
    let about = Path::new("/sys/class/net").join(&link.name);
    let real = link.kind == VETH || about.join("device").exists();
    link.ethernet && real && !about.join("wireless").exists() && !about.join("phy80211").exists()
}
