//! DHCP on all wired interfaces at once, until one of them has a network that is good enough.

use crate::net::ipv6::Config;
use crate::net::ports::{Event, Port, Ports};
use crate::net::pure::choice::{self, Candidate, Decision};
use crate::net::pure::dhcp::Lease;
use crate::net::pure::merge::join;
use crate::net::pure::netlink::Link;
use crate::net::rtnetlink::Kernel;
use crate::net::step::{no_carrier, within, Limits, STEP};
use crate::report::{Failure, Outcome, Report};
use crate::sys::machine::uptime_ms;
use std::net::Ipv4Addr;

/// After this time the console says what is waited for, and then again and again.
const TELL_MS: u64 = 3_000;
const TELL_AGAIN_MS: u64 = 60_000;

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

/// Raises every wired interface, or those `only`, also if they appear later, and waits for the best lease; the console
/// says so when that takes long.
pub fn first_lease(
    kernel: &mut Kernel,
    only: Option<Vec<String>>,
    limits: &Limits,
    report: &Report,
) -> Outcome<FirstLease> {
    let mut ports = Ports::raise(kernel, only)?;
    let started_ms = uptime_ms();
    let mut tell_ms = started_ms + TELL_MS;
    let mut carrier_since_ms = None;
    loop {
        let now_ms = uptime_ms();
        for at in 0..ports.all.len() {
            if let Some(Event::InUse(address, station)) = ports.drive(at, now_ms) {
                tell_in_use(&ports.all, at, address, station, report);
            }
        }
        ports.drive_v6(kernel, now_ms, report);
        // A server that answers now and then, on a network that loses much, is waited for twice as long.
        let is_served = ports.all.iter().any(|port| port.v4.as_ref().is_some_and(|client| client.offers() > 0));
        let lease_ms = limits.lease_ms << u32::from(is_served);
        if ports.all.iter().any(|port| port.link.carrier) {
            carrier_since_ms.get_or_insert(now_ms);
        }
        // A carrier that comes late leaves as much time for the lease.
        let started_ms = carrier_since_ms.unwrap_or(started_ms);
        let wait = choice::Wait { started_ms, lease_ms, carrier_ms: limits.carrier_ms };
        let decision = choice::decide(&candidates(&ports.all, limits), &wait, now_ms);
        // The interface whose IPv6 is enough, and from when on.
        let v6 = ports.v6.ready(now_ms, limits.preferred_mac);
        let at = match (decision, v6) {
            (Decision::Take(at), _) => Some(at),
            (Decision::GiveUp(limit_ms), None) => return Err(no_lease(&ports, limit_ms)),
            (Decision::Wait(_), Some((_, ready_ms))) if now_ms < ready_ms => None,
            (_, Some((index, _))) => ports.all.iter().position(|port| port.link.index == index),
            (Decision::Wait(_), None) => None,
        };
        if let Some(first) = at.and_then(|at| first_lease_of(&mut ports, at)) {
            ports.close();
            return Ok(first);
        }
        if now_ms >= tell_ms {
            report.line(STEP, format_args!("no lease yet; {}", status(&ports)));
            tell_ms = now_ms + TELL_AGAIN_MS;
        }
        let mut wake_ms = tell_ms.min(ports.next_wake());
        if let Decision::Wait(end_ms) = decision {
            wake_ms = wake_ms.min(end_ms);
        }
        if let Some((_, ready_ms)) = v6 {
            wake_ms = wake_ms.min(ready_ms);
        }
        ports.wait(kernel, wake_ms.saturating_sub(now_ms).min(TELL_AGAIN_MS) as i32)?;
    }
}

/// `eth0 10.0.0.5 is in use by 52:54:00:12:34:56: declined`
pub fn tell_in_use(ports: &[Port], at: usize, address: Ipv4Addr, station: [u8; 6], report: &Report) {
    let mut mac = String::new();
    for octet in station {
        join(&mut mac, ":", &format!("{octet:02x}"));
    }
    let name = ports.get(at).map_or("", |port| &port.link.name);
    report.warn(STEP, format_args!("{name} {address} is in use by {mac}: declined"));
}

/// The ports, as the choice sees them. A lease without its carrier is not to be had.
pub fn candidates(ports: &[Port], limits: &Limits) -> Vec<Candidate> {
    let candidate = |port: &Port| Candidate {
        carrier: port.link.carrier,
        preferred: limits.preferred_mac == Some(port.link.mac),
        have: match &port.lease {
            Some((lease, since_ms)) if port.cut_ms.is_none() => Some((lease.quality(), *since_ms)),
            _ => None,
        },
    };
    ports.iter().map(candidate).collect()
}

fn first_lease_of(ports: &mut Ports, at: usize) -> Option<FirstLease> {
    let lease = ports.all.get_mut(at)?.lease.take().map(|(lease, _)| lease);
    let port = ports.all.remove(at);
    // The other ones' leases are given back.
    let mut others = Vec::new();
    for other in 0..ports.all.len() {
        ports.release(other);
    }
    for other in ports.all.drain(..) {
        others.push(other.link);
    }
    Some(FirstLease {
        v6: ports.v6.config(port.link.index, uptime_ms()),
        tries: port.v4.map_or(0, |client| client.discovers()),
        port: port.link,
        lease,
        others,
    })
}

/// Why there is no lease, interface by interface.
fn no_lease(of: &Ports, limit_ms: u64) -> Failure {
    let ports = &of.all;
    let within = within(limit_ms);
    if ports.is_empty() {
        return Failure::new(STEP, format!("no wired network interface{within}"))
            .hint("is the network card's driver in the kernel, or among the initramfs' modules?");
    }
    if ports.iter().all(|port| !port.link.carrier && port.error.is_none()) {
        let mut names = String::new();
        for port in ports {
            join(&mut names, ", ", &port.link.name);
        }
        return no_carrier(&(names + &within));
    }
    Failure::new(STEP, format!("no DHCP lease{within}; {}", status(of)))
        .hint("is there a DHCP server on this network? Without one: ip= on the kernel's command line")
}

/// `eth0: discovers sent: 2, offers: 0; eth1: no carrier`
fn status(ports: &Ports) -> String {
    if ports.all.is_empty() {
        return "no wired network interface yet".into();
    }
    let mut text = String::new();
    for port in &ports.all {
        join(&mut text, "; ", &format!("{}: {}", port.link.name, port_text(port)));
        let v6 = ports.v6.status(port.link.index);
        if !v6.is_empty() {
            join(&mut text, ", ", &v6);
        }
    }
    text
}

/// `discovers sent: 18, offers: 0, dropped: 3 another transaction`
fn port_text(port: &Port) -> String {
    let Some(client) = &port.v4 else {
        return port.error.map_or("no carrier".into(), |error| error.to_string());
    };
    let mut text = format!("discovers sent: {}, offers: {}", client.discovers(), client.offers());
    if client.naks() > 0 {
        text += &format!(", refusals: {}", client.naks());
    }
    let (drops, faults) = (client.drops().text(), client.faults());
    for (label, part) in [(", dropped: ", &drops), (", ", &faults)] {
        if !part.is_empty() {
            text.extend([label, part]);
        }
    }
    if let Some(error) = port.error {
        text += &format!(", {error}");
    }
    text
}
