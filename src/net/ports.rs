//! The wired interfaces, each with its clients, and the sockets that all of them share.

use crate::net::ipv6::Ipv6;
use crate::net::pure::dhcp::{Action, Client, Lease};
use crate::net::pure::netlink::{self, Link};
use crate::net::random::random;
use crate::net::rtnetlink::{wired, Kernel};
use crate::net::step::failed;
use crate::report::{Outcome, Report};
use crate::sys::io::{self, Poll};
use crate::sys::machine::uptime_ms;
use crate::sys::{self, socket};
use std::os::fd::{AsFd, OwnedFd};

const BROADCAST: [u8; 6] = [0xff; 6];
/// More than the payload of an Ethernet frame, for larger frames.
const PACKET_BYTES: usize = 2048;
/// Packets that are read before timers are checked again: a busy network must not delay them.
const MAX_PACKETS: usize = 64;

/// A wired interface; its clients run while it has a carrier.
pub struct Port {
    pub link: Link,
    pub v4: Option<Client>,
    /// The lease of `v4`, and when something like it was first offered.
    pub lease: Option<(Lease, u64)>,
    /// Why it could not be raised, or the last packet not be sent.
    pub error: Option<sys::Error>,
}

impl Port {
    fn new(link: Link, error: Option<sys::Error>) -> Port {
        Port { link, v4: None, lease: None, error }
    }
}

/// What came of a port's clients.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The port has a lease, or its lease was renewed and may have changed.
    Bound,
    /// The address may not be used any more.
    Lost,
}

/// All wired interfaces.
pub struct Ports {
    pub all: Vec<Port>,
    pub v6: Ipv6,
    packets: OwnedFd,
    buffer: Vec<u8>,
}

impl Ports {
    /// Raises all wired interfaces. One that cannot be raised (without its firmware, or pulled out again) is no reason
    /// to give up the others.
    pub fn raise(kernel: &mut Kernel) -> Outcome<Ports> {
        let packets = socket::packets(socket::IPV4).map_err(|error| {
            failed("packet socket", error).hint("does the kernel have CONFIG_PACKET? It may be a module: af_packet")
        })?;
        // Before an advertisement can come.
        let v6 = Ipv6::open();
        let all = raise_all(kernel).map_err(|error| failed("rtnetlink", error))?;
        Ok(Ports { all, v6, packets, buffer: vec![0; PACKET_BYTES] })
    }

    /// Lets the clients of port `at` do what is due, and starts them where it has a carrier.
    pub fn drive(&mut self, at: usize, now_ms: u64) -> Option<Event> {
        let port = self.all.get_mut(at).filter(|port| port.link.carrier)?;
        let mac = port.link.mac;
        let client = port.v4.get_or_insert_with(|| {
            let mix = mac.iter().fold(0, |mix, byte| mix << 8 | u64::from(*byte));
            Client::new(now_ms, mac, random(mix) as u32)
        });
        match client.poll(now_ms) {
            Action::Bound(lease) => {
                port.lease = Some((lease, now_ms));
                return Some(Event::Bound);
            }
            Action::Lost => {
                port.lease = None;
                return Some(Event::Lost);
            }
            // As a packet that was lost, one that could not be sent is sent again.
            Action::Broadcast(packet) => {
                port.error =
                    socket::packet_send(self.packets.as_fd(), socket::IPV4, port.link.index, BROADCAST, &packet).err();
            }
            // Only a client that goes on after its first lease renews it.
            Action::Idle | Action::Unicast(..) => {}
        }
        None
    }

    /// Lets IPv6 do on all ports what is due.
    pub fn drive_v6(&mut self, kernel: &mut Kernel, now_ms: u64, report: &Report) {
        self.all.iter().for_each(|port| self.v6.follow(&port.link, now_ms));
        self.v6.drive(kernel, now_ms, report);
    }

    /// When a client has something to do again.
    pub fn next_wake(&self) -> Option<u64> {
        self.all.iter().filter_map(|port| port.v4.as_ref()?.next_wake()).chain(self.v6.next_wake()).min()
    }

    /// Waits for packets and for changes of links, at most `timeout_ms`, and hands them on.
    pub fn wait(&mut self, kernel: &mut Kernel, timeout_ms: i32) -> Outcome<()> {
        let fds = [self.packets.as_fd(), kernel.events()].into_iter().chain(self.v6.fds());
        let fds: Vec<Poll> = fds.map(|fd| Poll { fd, write: false }).collect();
        let ready = io::poll(&fds, timeout_ms).map_err(|error| failed("network", error))?;
        for index in self.v6.receive(ready >> 2) {
            // A switch's port has begun to forward, perhaps: a DHCPv4 server can be reached now, too.
            let port = self.all.iter_mut().find(|port| port.link.index == index);
            if let Some(client) = port.and_then(|port| port.v4.as_mut()) {
                client.resend_now(uptime_ms());
            }
        }
        if ready & 1 != 0 {
            self.receive();
        }
        if ready & 2 != 0 {
            self.follow(kernel).map_err(|error| failed("rtnetlink", error))?;
        }
        Ok(())
    }

    /// Hands the packets that have come to their ports' clients.
    fn receive(&mut self) {
        for _ in 0..MAX_PACKETS {
            // EAGAIN, mostly; ENETDOWN when a link disappears. Neither needs to be handled.
            let received = socket::packet_receive(self.packets.as_fd(), &mut self.buffer);
            let Ok((length, index)) = received else { return };
            let port = self.all.iter_mut().find(|port| port.link.index == index);
            if let Some(client) = port.and_then(|port| port.v4.as_mut()) {
                client.handle(uptime_ms(), self.buffer.get(..length).unwrap_or_default());
            }
        }
    }

    /// Follows changes of links: carriers that come and go, interfaces that appear late (USB) or are removed.
    fn follow(&mut self, kernel: &mut Kernel) -> sys::Result<()> {
        let (links, gone) = kernel.changes()?;
        for link in links {
            match self.all.iter_mut().find(|port| port.link.index == link.index) {
                Some(port) => {
                    if link.running && !port.link.running {
                        self.v6.resend_now(link.index, uptime_ms());
                    }
                    port.follow(link);
                    self.v6.follow(&port.link, uptime_ms());
                }
                None if wired(&link) => {
                    let raised = link.up.then_some(Ok(()));
                    let raised =
                        raised.unwrap_or_else(|| kernel.request(|number| netlink::link_up(number, link.index)));
                    self.all.push(Port::new(link, raised.err()));
                }
                None => {}
            }
        }
        self.all.retain(|port| !gone.contains(&port.link.index));
        gone.iter().for_each(|index| self.v6.forget(*index));
        Ok(())
    }
}

impl Port {
    fn follow(&mut self, link: Link) {
        if !link.carrier {
            // The next carrier may be another network's.
            if self.v4.take().is_some() {
                (self.error, self.lease) = (None, None);
            }
        } else if link.running && !self.link.running {
            if let Some(client) = &mut self.v4 {
                client.resend_now(uptime_ms());
            }
        }
        self.link = link;
    }
}

fn raise_all(kernel: &mut Kernel) -> sys::Result<Vec<Port>> {
    let mut ports = Vec::new();
    for link in kernel.links()?.into_iter().filter(wired) {
        let error = kernel.request(|sequence| netlink::link_up(sequence, link.index)).err();
        ports.push(Port::new(link, error));
    }
    for link in kernel.links()? {
        if let Some(port) = ports.iter_mut().find(|port| port.link.index == link.index) {
            port.link = link;
        }
    }
    Ok(ports)
}
