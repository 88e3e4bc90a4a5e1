//! The wired interfaces, each with its clients, and the sockets that all of them share.

use crate::net::ipv6::{filtered, Ipv6};
use crate::net::pure::dhcp::frame::{self, FILTER};
use crate::net::pure::dhcp::{self, Action, Client, Lease};
use crate::net::pure::netlink::{self, Link};
use crate::net::random::seed;
use crate::net::rtnetlink::{wired, Kernel, VETH};
use crate::net::step::failed;
use crate::report::{Outcome, Report};
use crate::sys::io::{self, Poll};
use crate::sys::machine::uptime_ms;
use crate::sys::{self, process, socket, Error};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

const BROADCAST: [u8; 6] = [0xff; 6];
/// More than the payload of an Ethernet frame, for larger frames.
const PACKET_BYTES: usize = 2048;
/// Packets that are read before timers are checked again: a busy network must not delay them.
const MAX_PACKETS: usize = 64;
/// What a client does at once, at most.
const MAX_ACTIONS: usize = 8;

/// A wired interface; its clients run while it has a carrier.
pub struct Port {
    pub link: Link,
    pub v4: Option<Client>,
    /// The lease of `v4`, and when something like it was first offered.
    pub lease: Option<(Lease, u64)>,
    /// Why it could not be raised, or the last packet not be sent.
    pub error: Option<Error>,
    /// Since when it has no carrier any more.
    pub cut_ms: Option<u64>,
    /// Holds the client's port while a renewal waits for its answer, which the kernel would refuse otherwise.
    renewal: Option<UdpSocket>,
}

/// What came of a port's clients.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The port has a lease, or its lease was renewed and may have changed.
    Bound,
    /// The address may not be used any more.
    Lost,
    /// The address was declined, since the station has it.
    InUse(Ipv4Addr, [u8; 6]),
}

/// All wired interfaces.
pub struct Ports {
    pub all: Vec<Port>,
    pub v6: Ipv6,
    /// The names of those that are used; all wired ones if it is not said.
    only: Option<Vec<String>>,
    /// Whether a lease outlasts its carrier, and is confirmed when that is back.
    pub keeps_leases: bool,
    /// Whether there was a lease since the ports were raised.
    had_lease: bool,
    /// Open only while a client waits for packets: then a machine with a lease is not woken by any.
    packets: Option<OwnedFd>,
    arp: Option<OwnedFd>,
    buffer: Vec<u8>,
}

impl Ports {
    /// Raises all wired interfaces, or those `only`. One that cannot be raised (without its firmware, or pulled out
    /// again) is no reason to give up the others.
    pub fn raise(kernel: &mut Kernel, only: Option<Vec<String>>) -> Outcome<Ports> {
        let packets = filtered(socket::IPV4, &FILTER).map_err(|error| {
            failed("packet socket", error).hint("does the kernel have CONFIG_PACKET? It may be a module: af_packet")
        })?;
        // Before an advertisement can come.
        let v6 = Ipv6::open();
        let all = raise_all(kernel, only.as_deref()).map_err(|error| failed("rtnetlink", error))?;
        let (packets, buffer) = (Some(packets), vec![0; PACKET_BYTES]);
        Ok(Ports { all, v6, only, keeps_leases: false, had_lease: false, packets, arp: None, buffer })
    }

    /// Lets the clients of port `at` do what is due, and starts them where it has a carrier.
    pub fn drive(&mut self, at: usize, now_ms: u64) -> Option<Event> {
        self.had_lease |= self.all.iter().any(|port| port.lease.is_some());
        // A network of IPv6 alone has no DHCPv4 server, most likely. One that had one gets it back soon.
        let is_idle = self.keeps_leases && !self.had_lease && self.v6.ready(now_ms, None).is_some();
        let port = self.all.get_mut(at).filter(|port| port.link.carrier)?;
        let mac = port.link.mac;
        port.v4.get_or_insert_with(|| Client::new(now_ms, mac, seed(mac))).set_idle(is_idle);
        for _ in 0..MAX_ACTIONS {
            let port = self.all.get_mut(at)?;
            let client = port.v4.as_mut()?;
            let since_ms = client.first_offer_ms().unwrap_or(now_ms);
            let action = client.poll(now_ms);
            if !client.listens() {
                port.renewal = None;
            }
            match action {
                Action::Idle => return None,
                Action::Bound(lease) => {
                    port.lease = Some((lease, since_ms));
                    return Some(Event::Bound);
                }
                Action::Lost => {
                    port.lease = None;
                    return Some(Event::Lost);
                }
                Action::InUse(address, station) => return Some(Event::InUse(address, station)),
                // As a packet that was lost, one that could not be sent is sent again.
                Action::Broadcast(packet) => {
                    let sent = send(&mut self.packets, socket::IPV4, port.link.index, &packet);
                    port.error = sent.err();
                }
                Action::Probe(packet) => {
                    let _ = send(&mut self.arp, socket::ARP, port.link.index, &packet);
                }
                Action::Unicast(server, payload) => {
                    let address = client.lease().map_or(Ipv4Addr::UNSPECIFIED, |lease| lease.address);
                    // Before the answer can come.
                    if self.packets.is_none() {
                        self.packets = filtered(socket::IPV4, &FILTER).ok();
                    }
                    port.renewal = port.renewal.take().or_else(|| UdpSocket::bind((address, frame::CLIENT_PORT)).ok());
                    let by_udp = port.renewal.as_ref().map(|own| own.send_to(&payload, (server, frame::SERVER_PORT)));
                    // Where another program has the client's port, by Ethernet's broadcast.
                    if by_udp.is_none_or(|sent| sent.is_err()) {
                        let packet = frame::emit(address, server, &payload);
                        let index = port.link.index;
                        port.error = send(&mut self.packets, socket::IPV4, index, &packet).err();
                    }
                }
            }
        }
        None
    }

    /// Lets IPv6 do on all ports what is due.
    pub fn drive_v6(&mut self, kernel: &mut Kernel, now_ms: u64, report: &Report) {
        self.all.iter().for_each(|port| self.v6.follow(&port.link, now_ms));
        self.v6.drive(kernel, now_ms, report);
    }

    /// Gives the lease of port `at` back, which was never used.
    pub fn release(&mut self, at: usize) {
        let Some(port) = self.all.get_mut(at) else { return };
        let Some((lease, _)) = port.lease.take() else { return };
        let payload = dhcp::release(lease.address, lease.server, port.link.mac, seed(port.link.mac));
        let packet = frame::emit(lease.address, lease.server, &payload);
        let _ = send(&mut self.packets, socket::IPV4, port.link.index, &packet);
        port.v4 = None;
    }

    /// Closes the sockets in a process of its own, which process 1 reaps: who closes a packet socket waits until no
    /// processor can hand it a packet any more, 8 to 16 ms for each of three (the kernel's packet_release).
    pub fn close(self) {
        // The process outlasts ours of the sockets: what is closed first waits for nothing.
        let Ok((until, ours)) = io::pipe() else { return };
        let mut ours = Some(ours);
        let closes = &mut || {
            ours = None;
            let _ = io::read(until.as_fd(), &mut [0]);
            0
        };
        let child = process::fork(&mut || process::fork(closes).map_or(1, |_| 0));
        drop(self);
        if let Ok(child) = child {
            let _ = process::wait(child);
        }
    }

    /// When a client has something to do again; `u64::MAX` where none has.
    pub fn next_wake(&self) -> u64 {
        let mut wake_ms = self.v6.next_wake();
        for port in self.all.iter().filter(|port| port.link.carrier) {
            if let Some(at_ms) = port.v4.as_ref().and_then(Client::next_wake) {
                wake_ms = wake_ms.min(at_ms);
            }
        }
        wake_ms
    }

    /// Waits for packets and for changes of links, at most `timeout_ms`, and hands them on.
    pub fn wait(&mut self, kernel: &mut Kernel, timeout_ms: i32) -> Outcome<()> {
        // To close one takes time, which a boot has not.
        let (mut listens, mut listens_to_arp) = (!self.keeps_leases, !self.keeps_leases);
        for client in self.all.iter().filter_map(|port| port.v4.as_ref()) {
            listens |= client.listens();
            listens_to_arp |= client.listens_to_arp();
        }
        if !listens {
            self.packets = None;
        }
        if !listens_to_arp {
            self.arp = None;
        }
        let mut fds = vec![Poll { fd: kernel.events(), write: false }];
        for fd in [&self.packets, &self.arp].into_iter().flatten() {
            fds.push(Poll { fd: fd.as_fd(), write: false });
        }
        let count = fds.len();
        self.v6.add_fds(&mut fds);
        let ready = io::poll(&fds, timeout_ms).map_err(|error| failed("network", error))?;
        for index in self.v6.receive(ready >> count) {
            // A switch's port has begun to forward, perhaps: a DHCPv4 server can be reached now, too.
            let port = self.all.iter_mut().find(|port| port.link.index == index);
            if let Some(client) = port.and_then(|port| port.v4.as_mut()) {
                client.resend_now(uptime_ms());
            }
        }
        if ready & ((1 << count) - 2) != 0 {
            self.receive(kernel);
        }
        if ready & 1 != 0 {
            self.follow(kernel).map_err(|error| failed("rtnetlink", error))?;
        }
        Ok(())
    }

    /// Hands the packets that have come to their ports' clients.
    fn receive(&mut self, kernel: &mut Kernel) {
        for (fd, is_arp) in [(&self.packets, false), (&self.arp, true)] {
            let Some(fd) = fd else { continue };
            for _ in 0..MAX_PACKETS {
                // EAGAIN, mostly; ENETDOWN when a link disappears. Neither needs to be handled.
                let Ok((length, index)) = socket::packet_receive(fd.as_fd(), &mut self.buffer) else { break };
                let packet = self.buffer.get(..length).unwrap_or_default();
                let port = self.all.iter_mut().find(|port| port.link.index == index);
                match port.and_then(|port| port.v4.as_mut()) {
                    Some(client) if is_arp => {
                        // Of all links: one that is no port answers, too.
                        let is_own = &mut |mac| kernel.links().is_ok_and(|all| all.iter().any(|link| link.mac == mac));
                        client.handle_arp(uptime_ms(), packet, is_own);
                    }
                    Some(client) => client.handle(uptime_ms(), packet),
                    None => {}
                }
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
                    port.follow(link, self.keeps_leases);
                    self.v6.follow(&port.link, uptime_ms());
                }
                // A pair that is made later is a container's, in the host's network: its end is no card.
                None if link.kind != VETH && is_wanted(self.only.as_deref(), &link) => {
                    let error = if link.up { None } else { kernel.request(netlink::link_up(link.index)).err() };
                    self.all.push(Port::new(link, error));
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
    fn new(link: Link, error: Option<Error>) -> Port {
        Port { link, v4: None, lease: None, error, cut_ms: None, renewal: None }
    }

    /// A port that goes on with a lease, which was given at `leased_ms`.
    pub fn resume(&mut self, lease: Lease, leased_ms: u64) {
        let mac = self.link.mac;
        self.v4 = Some(Client::resume(leased_ms, mac, seed(mac), lease.clone()));
        self.lease = Some((lease, leased_ms));
    }

    fn follow(&mut self, link: Link, keeps_lease: bool) {
        let now_ms = uptime_ms();
        if !link.carrier {
            self.cut_ms.get_or_insert(now_ms);
            // The next carrier may be another network's.
            if !(keeps_lease && self.lease.is_some()) && self.v4.take().is_some() {
                (self.error, self.lease) = (None, None);
            }
        } else if let Some(client) = &mut self.v4 {
            if self.cut_ms.is_some() {
                client.link_is_back(now_ms);
            } else if link.running && !self.link.running {
                client.resend_now(now_ms);
            }
        }
        if link.carrier {
            self.cut_ms = None;
        }
        self.link = link;
    }
}

/// Sends to all, by a socket that is opened if it is not yet.
fn send(own: &mut Option<OwnedFd>, kind: u16, index: u32, packet: &[u8]) -> sys::Result<()> {
    let fd = match own {
        Some(fd) => fd,
        None if kind == socket::ARP => own.insert(socket::packets(kind)?),
        None => own.insert(filtered(kind, &FILTER)?),
    };
    socket::packet_send(fd.as_fd(), kind, index, BROADCAST, packet)
}

fn is_wanted(only: Option<&[String]>, link: &Link) -> bool {
    only.map_or_else(|| wired(link), |names| names.contains(&link.name))
}

fn raise_all(kernel: &mut Kernel, only: Option<&[String]>) -> sys::Result<Vec<Port>> {
    let mut ports = Vec::new();
    for link in kernel.links()? {
        if is_wanted(only, &link) {
            let error = kernel.request(netlink::link_up(link.index)).err();
            ports.push(Port::new(link, error));
        }
    }
    for link in kernel.links()? {
        if let Some(port) = ports.iter_mut().find(|port| port.link.index == link.index) {
            port.link = link;
        }
    }
    Ok(ports)
}
