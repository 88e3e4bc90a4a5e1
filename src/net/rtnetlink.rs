//! Requests to the kernel by rtnetlink, and its notifications.

use crate::net::pure::netlink::{self, Link, Reply, RECEIVE_BYTES};
use crate::sys::{socket, Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const ENOBUFS: i32 = 105;

/// Datagrams read for one request or at one time: dumps come in pieces of 32 KiB.
const MAX_DATAGRAMS: usize = 4096;

/// The kernel's side of rtnetlink.
pub struct Kernel {
    requests: OwnedFd,
    events: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Notifications are kept from here on: what changes after a dump is not missed.
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
    pub fn request(&mut self, message: impl Fn(u32) -> Vec<u8>) -> Result<()> {
        self.converse(&message, &mut |_| {})
    }

    /// The replies of a dump that `choose` takes.
    pub fn dump<T>(&mut self, message: fn(u32) -> Vec<u8>, choose: fn(Reply) -> Option<T>) -> Result<Vec<T>> {
        let mut chosen = Vec::new();
        self.converse(&message, &mut |reply| chosen.extend(choose(reply)))?;
        Ok(chosen)
    }

    pub fn links(&mut self) -> Result<Vec<Link>> {
        self.dump(netlink::get_links, |reply| if let Reply::Link(link) = reply { Some(link) } else { None })
    }

    /// What changed since the last time: links as they are now, and indices of those that are gone.
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
                // Some were lost: what is now counts.
                Err(Error { errno: ENOBUFS, .. }) => links = self.links()?,
                Err(error) => return Err(error),
            }
        }
        Ok((links, gone))
    }

    /// Sends a request and reads until its end. The kernel answers within the calls: nothing here waits.
    fn converse(&mut self, message: &dyn Fn(u32) -> Vec<u8>, each: &mut dyn FnMut(Reply)) -> Result<()> {
        self.sequence += 1;
        socket::send(self.requests.as_fd(), &message(self.sequence))?;
        for _ in 0..MAX_DATAGRAMS {
            let length = socket::receive(self.requests.as_fd(), &mut self.buffer)?;
            for (sequence, reply) in netlink::parse(self.buffer.get(..length).unwrap_or_default()) {
                match reply {
                    _ if sequence != self.sequence => {}
                    Reply::Done | Reply::Ack(0) => return Ok(()),
                    Reply::Ack(errno) => return Err(Error::new("rtnetlink", errno)),
                    reply => each(reply),
                }
            }
        }
        Err(Error::new("rtnetlink", EIO))
    }
}

/// Whether `link` is a wired network card, as seen from here: Ethernet with a device behind it, or one end of a pair
/// whose other end is somebody else's (a network namespace); not wireless, which needs keys; no bridge, bond or tunnel.
pub fn wired(link: &Link) -> bool {
    let about = Path::new("/sys/class/net").join(&link.name);
    let real = link.kind == "veth" || about.join("device").exists();
    link.ethernet && real && !about.join("wireless").exists() && !about.join("phy80211").exists()
}
