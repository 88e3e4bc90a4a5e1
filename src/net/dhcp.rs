//! DHCP on all wired interfaces at once, until one of them has a network that is good enough.

use crate::net::ipv6::Config;
use crate::net::ports::{Event, Port, Ports};
use crate::net::pure::choice::{self, Candidate, Decision};
use crate::net::pure::dhcp::Lease;
use crate::net::pure::netlink::Link;
use crate::net::rtnetlink::Kernel;
use crate::net::step::{Limits, STEP};
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
        let candidates: Vec<Candidate> = ports.all.iter().map(|port| candidate(port, limits)).collect();
        let decision = choice::decide(&candidates, &wait, now_ms);
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
            return Ok(first);
        }
        let due = [if let Decision::Wait(end_ms) = decision { end_ms } else { now_ms }, tell_ms].into_iter();
        if now_ms >= tell_ms {
            report.line(STEP, ["no lease yet; ", &status(&ports)].concat());
            tell_ms = now_ms + TELL_AGAIN_MS;
        }
        let due = due.chain(ports.next_wake()).chain(v6.map(|(_, ready_ms)| ready_ms));
        let wake_ms = due.fold(u64::MAX, u64::min);
        ports.wait(kernel, wake_ms.saturating_sub(now_ms).min(TELL_AGAIN_MS) as i32)?;
    }
}

/// `eth0 10.0.0.5 is in use by 52:54:00:12:34:56: declined`
pub fn tell_in_use(ports: &[Port], at: usize, address: Ipv4Addr, station: [u8; 6], report: &Report) {
    let octets: Vec<String> = station.iter().map(|octet| format!("{octet:02x}")).collect();
    let name = ports.get(at).map_or("", |port| &port.link.name);
    report.warn(STEP, [name, " ", &address.to_string(), " is in use by ", &octets.join(":"), ": declined"].concat());
}

/// The port, as the choice sees it.
pub fn candidate(port: &Port, limits: &Limits) -> Candidate {
    Candidate {
        carrier: port.link.carrier,
        preferred: limits.preferred_mac == Some(port.link.mac),
        have: port.lease.as_ref().map(|(lease, since_ms)| (lease.quality(), *since_ms)),
    }
}

fn first_lease_of(ports: &mut Ports, at: usize) -> Option<FirstLease> {
    let lease = ports.all.get_mut(at)?.lease.take().map(|(lease, _)| lease);
    // The other ones' leases are given back.
    (0..ports.all.len()).for_each(|other| ports.release(other));
    let port = ports.all.remove(at);
    Some(FirstLease {
        v6: ports.v6.config(port.link.index, uptime_ms()),
        tries: port.v4.map_or(0, |client| client.discovers()),
        port: port.link,
        lease,
        others: ports.all.drain(..).map(|port| port.link).collect(),
    })
}

/// Why there is no lease, interface by interface.
fn no_lease(of: &Ports, limit_ms: u64) -> Failure {
    let ports = &of.all;
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
    Failure::new(STEP, ["no DHCP lease", &within, "; ", &status(of)].concat())
        .hint("is there a DHCP server on this network? Without one: ip= on the kernel's command line")
}

/// `eth0: discovers sent: 2, offers: 0; eth1: no carrier`
fn status(ports: &Ports) -> String {
    if ports.all.is_empty() {
        return "no wired network interface yet".into();
    }
    let text = |port: &Port| {
        let (own, v6) = (port_text(port), ports.v6.status(port.link.index));
        [port.link.name.as_str(), ": ", &own, if v6.is_empty() { "" } else { ", " }, &v6].concat()
    };
    let each: Vec<String> = ports.all.iter().map(text).collect();
    each.join("; ")
}

/// `discovers sent: 18, offers: 0, dropped: 3 another transaction`
fn port_text(port: &Port) -> String {
    let Some(client) = &port.v4 else {
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
    let faults = client.faults();
    if !faults.is_empty() {
        text.extend([", ", &faults]);
    }
    if let Some(error) = port.error {
        text.extend([", ", &error.to_string()]);
    }
    text
}
