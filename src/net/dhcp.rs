//! DHCP on all wired interfaces at once; the first lease ends the wait.

use crate::net::ipv6::{Config, Ipv6};
use crate::net::pure::dhcp::{Action, Client, Lease};
use crate::net::pure::netlink::{self, Link};
use crate::net::random::random;
use crate::net::rtnetlink::{wired, Kernel};
use crate::net::step::{failed, Limits, STEP};
use crate::report::{Failure, Outcome, Report};
use crate::sys::io::{self, Poll};
use crate::sys::machine::uptime_ms;
use crate::sys::{self, socket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const BROADCAST: [u8; 6] = [0xff; 6];
/// After this time the console says what is waited for.
const TELL_MS: u64 = 3_000;
/// More than the payload of an Ethernet frame, for larger frames.
const PACKET_BYTES: usize = 2048;
/// Packets that are read before timers are checked again: a busy network must not delay them.
const MAX_PACKETS: usize = 64;

/// The first network.
pub struct FirstLease {
    pub port: Link,
    /// None where IPv6 alone is what there is.
    pub lease: Option<Lease>,
    /// What the port has by IPv6 until now.
    pub v6: Config,
    /// DISCOVERs that were sent for it.
    pub tries: u32,
    /// The other wired interfaces.
    pub others: Vec<Link>,
}

/// A wired interface; its client runs while it has a carrier.
struct Port {
    link: Link,
    client: Option<Client>,
    /// Why it could not be raised, or the last packet not be sent.
    error: Option<sys::Error>,
}

/// Raises every wired interface, also those that appear later, and waits for the first lease; the console says so when
/// that takes long.
pub fn first_lease(kernel: &mut Kernel, limits: &Limits, report: &Report) -> Outcome<FirstLease> {
    let packets = socket::packet_ipv4().map_err(|error| {
        failed("packet socket", error).hint("does the kernel have CONFIG_PACKET? It may be a module: af_packet")
    })?;
    let mut ports = raise(kernel).map_err(|error| failed("rtnetlink", error))?;
    let started_ms = uptime_ms();
    let mut tell_ms = started_ms + TELL_MS;
    let mut buffer = vec![0; PACKET_BYTES];
    let mut v6 = Ipv6::open();
    loop {
        let now_ms = uptime_ms();
        ports.iter().for_each(|port| v6.follow(&port.link, now_ms));
        v6.drive(kernel, now_ms, report);
        for at in 0..ports.len() {
            if let Some(lease) = ports.get_mut(at).and_then(|port| drive(port, now_ms, packets.as_fd())) {
                return Ok(first_lease_of(ports, at, Some(lease), &v6));
            }
        }
        let ready = v6.ready(now_ms);
        if let Some((index, _)) = ready.filter(|(_, ready_ms)| now_ms >= *ready_ms) {
            if let Some(at) = ports.iter().position(|port| port.link.index == index) {
                return Ok(first_lease_of(ports, at, None, &v6));
            }
        }
        let carrier = ports.iter().any(|port| port.link.carrier);
        let limit_ms = if carrier { limits.lease_ms } else { limits.carrier_ms };
        let end_ms = started_ms + limit_ms;
        if now_ms >= end_ms {
            return Err(no_lease(&ports, &v6, limit_ms));
        }
        if now_ms >= tell_ms {
            report.line(STEP, ["no lease yet; ", &status(&ports, &v6)].concat());
            tell_ms = u64::MAX;
        }
        let due = ports.iter().filter_map(|port| port.client.as_ref()?.next_wake());
        let due = due.chain(v6.next_wake()).chain(ready.map(|(_, ready_ms)| ready_ms));
        let wake_ms = due.fold(end_ms.min(tell_ms), u64::min);
        let timeout_ms = wake_ms.saturating_sub(now_ms).min(limits.lease_ms) as i32;
        let fds = [packets.as_fd(), kernel.events()].into_iter().chain(v6.fds());
        let fds: Vec<Poll> = fds.map(|fd| Poll { fd, write: false }).collect();
        let ready = io::poll(&fds, timeout_ms).map_err(|error| failed("DHCP", error))?;
        v6.receive(ready >> 2);
        if ready & 1 != 0 {
            receive(&mut ports, &packets, &mut buffer);
        }
        if ready & 2 != 0 {
            follow(kernel, &mut ports).map_err(|error| failed("rtnetlink", error))?;
        }
    }
}

/// Raises all wired interfaces; they are returned as they are then. One that cannot be raised (without its firmware, or
/// pulled out again) is no reason to give up the others.
fn raise(kernel: &mut Kernel) -> sys::Result<Vec<Port>> {
    let mut ports = Vec::new();
    for link in kernel.links()?.into_iter().filter(wired) {
        let error = kernel.request(|sequence| netlink::link_up(sequence, link.index)).err();
        ports.push(Port { link, client: None, error });
    }
    for link in kernel.links()? {
        if let Some(port) = ports.iter_mut().find(|port| port.link.index == link.index) {
            port.link = link;
        }
    }
    Ok(ports)
}

/// Lets the port's client do what is due; gives its lease when it has one.
fn drive(port: &mut Port, now_ms: u64, packets: BorrowedFd<'_>) -> Option<Lease> {
    if !port.link.carrier {
        return None;
    }
    let mac = port.link.mac;
    let client = port.client.get_or_insert_with(|| {
        let mix = mac.iter().fold(0, |mix, byte| mix << 8 | u64::from(*byte));
        Client::new(now_ms, mac, random(mix) as u32)
    });
    match client.poll(now_ms) {
        Action::Bound(lease) => return Some(lease),
        // As a packet that was lost, one that could not be sent is sent again.
        Action::Broadcast(packet) => {
            port.error = socket::packet_send(packets, port.link.index, BROADCAST, &packet).err();
        }
        // Only a client that goes on after its first lease renews it.
        Action::Idle | Action::Unicast(..) | Action::Lost => {}
    }
    None
}

/// Hands the packets that have come to their ports' clients.
fn receive(ports: &mut [Port], packets: &OwnedFd, buffer: &mut [u8]) {
    for _ in 0..MAX_PACKETS {
        // EAGAIN, mostly; ENETDOWN when a link disappears. Neither needs to be handled.
        let Ok((length, index)) = socket::packet_receive(packets.as_fd(), buffer) else { return };
        let port = ports.iter_mut().find(|port| port.link.index == index);
        if let Some(client) = port.and_then(|port| port.client.as_mut()) {
            client.handle(uptime_ms(), buffer.get(..length).unwrap_or_default());
        }
    }
}

/// Follows changes of links: carriers that come and go, interfaces that appear late (USB) or are removed.
fn follow(kernel: &mut Kernel, ports: &mut Vec<Port>) -> sys::Result<()> {
    let (links, gone) = kernel.changes()?;
    for link in links {
        match ports.iter_mut().find(|port| port.link.index == link.index) {
            Some(port) => {
                if !link.carrier {
                    // The next carrier may be another network's.
                    if port.client.take().is_some() {
                        port.error = None;
                    }
                } else if link.running && !port.link.running {
                    if let Some(client) = &mut port.client {
                        client.resend_now(uptime_ms());
                    }
                }
                port.link = link;
            }
            None if wired(&link) => {
                let raised = link.up.then_some(Ok(()));
                let raised = raised.unwrap_or_else(|| kernel.request(|number| netlink::link_up(number, link.index)));
                ports.push(Port { link, client: None, error: raised.err() });
            }
            None => {}
        }
    }
    ports.retain(|port| !gone.contains(&port.link.index));
    Ok(())
}

fn first_lease_of(mut ports: Vec<Port>, at: usize, lease: Option<Lease>, v6: &Ipv6) -> FirstLease {
    let port = ports.remove(at);
    FirstLease {
        tries: port.client.map_or(0, |client| client.discovers()),
        v6: v6.config(port.link.index, uptime_ms()),
        port: port.link,
        lease,
        others: ports.into_iter().map(|port| port.link).collect(),
    }
}

/// Why there is no lease, interface by interface.
fn no_lease(ports: &[Port], v6: &Ipv6, limit_ms: u64) -> Failure {
    let within = format!(" in {} s", limit_ms / 1000);
    if ports.is_empty() {
        return Failure::new(STEP, ["no wired network interface", &within].concat())
            .hint("is the network card's driver in the kernel, or among the initramfs' modules?");
    }
    if ports.iter().all(|port| !port.link.carrier && port.error.is_none()) {
        let names: Vec<&str> = ports.iter().map(|port| port.link.name.as_str()).collect();
        return Failure::new(STEP, ["no carrier on ", &names.join(", "), &within].concat())
            .hint("is the cable plugged in, and the machine at its other end on?");
    }
    Failure::new(STEP, ["no DHCP lease", &within, "; ", &status(ports, v6)].concat())
        .hint("is there a DHCP server on this network? Without one: ip= on the kernel's command line")
}

/// `eth0: discovers sent: 2, offers: 0; eth1: no carrier`
fn status(ports: &[Port], v6: &Ipv6) -> String {
    if ports.is_empty() {
        return "no wired network interface yet".into();
    }
    let each: Vec<String> = ports.iter().map(|port| [&port.link.name, ": ", &port_text(port, v6)].concat()).collect();
    each.join("; ")
}

/// `discovers sent: 18, offers: 0, dropped: 3 another transaction`
fn port_text(port: &Port, v6: &Ipv6) -> String {
    let Some(client) = &port.client else {
        return port.error.map_or("no carrier".into(), |error| error.to_string());
    };
    let mut text = format!("discovers sent: {}, offers: {}", client.discovers(), client.offers());
    if client.naks() > 0 {
        text.extend([", refusals: ", &client.naks().to_string()]);
    }
    let drops = client.drops().text();
    if !drops.is_empty() {
        text.extend([", dropped: ", &drops]);
    }
    if let Some(error) = port.error {
        text.extend([", ", &error.to_string()]);
    }
    let seen = v6.status(port.link.index);
    if !seen.is_empty() {
        text.extend([", ", &seen]);
    }
    text
}
