//! Keeps the network's leases while containers run: renews them, applies what has changed, and asks anew for what was
//! lost.
//!
//! It is a process of the boot and no thread, since the boot forks; and a mistake in reading what a stranger sends ends
//! this process alone. A container does not see it, unless it shares the host's PID namespace; if such a container
//! kills it, it is started again before the next one.

use crate::net::dhcp::{candidate, tell_in_use};
use crate::net::links::{self, Network};
use crate::net::ports::{Event, Port, Ports};
use crate::net::pure::choice::{self, Candidate, Decision};
use crate::net::pure::dhcp::{frame, release, Lease};
use crate::net::pure::dns::parse_resolv_conf;
use crate::net::pure::netlink::{self, Address};
use crate::net::rtnetlink::Kernel;
use crate::net::step::{failed, Limits, LIMITS, STEP};
use crate::report::{Outcome, Report};
use crate::sys::machine::uptime_ms;
use crate::sys::process::{self, Pid};
use crate::sys::{io, signal};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

/// How long a lease outlasts its carrier, while another interface may get one.
const CUT_MS: u64 = 10_000;
/// Of a message to the boot: less than a pipe takes whole.
const MESSAGE_BYTES: usize = 4096;
/// Ends a message.
const END: &str = "\n\n";

/// The network of a boot, and the process that keeps its leases.
#[derive(Default)]
pub struct Kept {
    network: Network,
    held: Vec<Held>,
    /// The search domains that are a lease's; there may be others, by IPv6.
    of_lease: Vec<String>,
    task: Option<Task>,
    is_changed: bool,
}

/// What is to be given back at the end.
struct Held {
    mac: [u8; 6],
    address: Ipv4Addr,
    server: Ipv4Addr,
}

struct Task {
    pid: Pid,
    changes: OwnedFd,
}

impl Kept {
    /// Starts the process, where there is a lease to keep, or no network yet.
    pub fn start(network: Network, report: &Report) -> Kept {
        let held = network.interfaces.iter().filter_map(|interface| {
            let lease = interface.lease.as_ref()?;
            Some(Held { mac: interface.mac, address: lease.address, server: lease.server })
        });
        let held = held.collect();
        let leases = network.interfaces.iter().filter_map(|interface| interface.lease.as_ref());
        let of_lease = leases.flat_map(|lease| lease.search.iter().cloned()).collect();
        let mut kept = Kept { held, of_lease, network, task: None, is_changed: false };
        // A DHCPv6 server's address is a whole one (RFC 8415, section 18.2.10.1).
        let is_leased = |(own, prefix): &(IpAddr, u8)| own.is_ipv6() && *prefix == 128;
        let has_v6 = kept.network.interfaces.iter().any(|interface| interface.addresses.iter().any(is_leased));
        if !kept.held.is_empty() || (kept.network.interfaces.is_empty() && !kept.network.is_named) || has_v6 {
            kept.task = start(&kept.network, report);
        }
        kept
    }

    /// The text of the next containers' `/etc/resolv.conf`, as the last [`Kept::take`] has left it.
    pub fn resolv_conf(&self) -> String {
        links::resolv_conf(&self.network)
    }

    /// The network, if it has changed since the last call.
    pub fn change(&mut self, report: &Report) -> Option<&Network> {
        self.take(report);
        std::mem::take(&mut self.is_changed).then_some(&self.network)
    }

    /// Ends the process; the addresses stay.
    pub fn stop(&mut self, report: &Report) {
        self.take(report);
        if let Some(task) = self.task.take() {
            let _ = process::kill(task.pid, signal::SIGKILL);
            let _ = process::wait(task.pid);
        }
    }

    /// Gives the leases back, without waiting for anything. To be called when the network is used no more.
    pub fn release(&mut self) {
        for held in self.held.drain(..) {
            let xid = uptime_ms() as u32;
            let payload = release(held.address, held.server, held.mac, xid);
            let socket = UdpSocket::bind((held.address, frame::CLIENT_PORT));
            // The lease ends by itself if this fails.
            let _ = socket.and_then(|socket| socket.send_to(&payload, (held.server, frame::SERVER_PORT)));
        }
    }

    /// Reads what the process has told. To be called by the boot itself, and not by a process of it: each message is
    /// read once.
    pub fn take(&mut self, report: &Report) {
        let Some(task) = self.task.take() else { return };
        let mut text = Vec::new();
        let mut buffer = [0; MESSAGE_BYTES];
        let mut is_over = false;
        loop {
            match io::read(task.changes.as_fd(), &mut buffer) {
                Ok(0) => break is_over = true,
                Ok(length) => text.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(_) => break,
            }
        }
        let text = String::from_utf8_lossy(&text);
        if let Some(last) = text.trim_end_matches('\n').rsplit(END).next().filter(|last| !last.is_empty()) {
            self.told(last);
        }
        if is_over {
            let _ = process::wait(task.pid);
            report.warn(STEP, "what keeps the leases has ended, and is started again");
            self.task = start(&self.network, report);
        } else {
            self.task = Some(task);
        }
    }

    fn told(&mut self, text: &str) {
        let conf = parse_resolv_conf(text);
        let v6 = self.network.nameservers.iter().filter(|server| server.is_ipv6()).copied();
        self.network.nameservers = conf.nameservers.into_iter().chain(v6).collect();
        let of_lease = std::mem::replace(&mut self.of_lease, conf.search.clone());
        let others = self.network.search.iter().filter(|name| !of_lease.contains(name)).cloned();
        self.network.search = conf.search.into_iter().chain(others).collect();
        self.held = text.lines().filter_map(held).collect();
        for interface in &mut self.network.interfaces {
            let held = self.held.iter().find(|held| held.mac == interface.mac);
            interface.lease = interface.lease.take().zip(held).map(|(lease, held)| {
                let Held { address, server, .. } = *held;
                Lease { address, server, ..lease }
            });
        }
        self.is_changed = true;
    }
}

/// `lease MAC ADDRESS SERVER`, the MAC address as a number.
fn held(line: &str) -> Option<Held> {
    let mut words = line.strip_prefix("lease ")?.split(' ');
    let [_, _, mac @ ..] = words.next()?.parse::<u64>().ok()?.to_be_bytes();
    Some(Held { mac, address: words.next()?.parse().ok()?, server: words.next()?.parse().ok()? })
}

fn start(network: &Network, report: &Report) -> Option<Task> {
    let (changes, to) = io::pipe().ok()?;
    io::set_nonblocking(changes.as_fd(), true).and_then(|()| io::set_nonblocking(to.as_fd(), true)).ok()?;
    let pid = process::fork(&mut || {
        let _ = process::die_with_parent();
        let kept = Keeper::new(network, report).and_then(|mut keeper| keeper.run(&to));
        match kept {
            Ok(()) => 0,
            Err(failure) => {
                report.warn(STEP, ["the leases are not kept: ", &failure.what].concat());
                1
            }
        }
    });
    match pid {
        Ok(pid) => Some(Task { pid, changes }),
        Err(error) => {
            report.warn(STEP, ["the leases are not kept: ", &error.to_string()].concat());
            None
        }
    }
}

/// The process's state.
pub struct Keeper<'a> {
    kernel: Kernel,
    ports: Ports,
    /// The interfaces whose leases are in use, with these.
    used: Vec<(u32, Option<Lease>)>,
    /// The metrics of interfaces' default routes.
    metrics: BTreeMap<u32, u32>,
    /// Since when there is none.
    started_ms: u64,
    /// A message that the boot could not take yet.
    pending: String,
    report: &'a Report,
}

impl<'a> Keeper<'a> {
    /// Goes on with the leases of `network`.
    pub fn new(network: &Network, report: &'a Report) -> Outcome<Keeper<'a>> {
        let mut kernel = Kernel::open().map_err(|error| failed("rtnetlink", error))?;
        // Of interfaces that are named only those with a lease are this process's.
        let leased = network.interfaces.iter().filter(|interface| interface.lease.is_some());
        let leased: Vec<String> = leased.map(|interface| interface.name.clone()).collect();
        let mut ports = Ports::raise(&mut kernel, network.is_named.then_some(leased))?;
        ports.keeps_leases = true;
        let now_ms = uptime_ms();
        let mut used = Vec::new();
        let metrics = network.interfaces.iter().map(|interface| (interface.index, interface.metric)).collect();
        for interface in &network.interfaces {
            let port = ports.all.iter_mut().find(|port| port.link.index == interface.index);
            if let (Some(port), Some(lease)) = (port, &interface.lease) {
                port.resume(lease.clone(), now_ms);
                used.push((interface.index, Some(lease.clone())));
            }
        }
        Ok(Keeper { kernel, ports, used, metrics, started_ms: now_ms, pending: String::new(), report })
    }

    fn run(&mut self, to: &OwnedFd) -> Outcome<()> {
        loop {
            self.step(600_000)?;
            if !self.pending.is_empty() && io::write(to.as_fd(), self.pending.as_bytes()).is_ok() {
                self.pending.clear();
            }
        }
    }

    /// What the boot is to know, once.
    pub fn message(&mut self) -> Option<String> {
        let text = std::mem::take(&mut self.pending);
        (!text.is_empty()).then_some(text)
    }

    /// Does what is due, and waits for what comes next, at most `limit_ms`.
    pub fn step(&mut self, limit_ms: u64) -> Outcome<()> {
        let now_ms = uptime_ms();
        // Without a lease in use, each interface may get one, as at boot.
        let holds = self.ports.all.iter().any(|port| {
            port.lease.is_some() && self.is_used(port.link.index) && port.cut_ms.is_none_or(|at| now_ms < at + CUT_MS)
        });
        for at in 0..self.ports.all.len() {
            let index = self.ports.all.get(at).map_or(0, |port| port.link.index);
            if holds && !self.is_used(index) {
                self.ports.release(at);
                self.ports.all.iter_mut().skip(at).take(1).for_each(|port| port.v4 = None);
            } else if let Some(event) = self.ports.drive(at, now_ms) {
                self.happened(at, index, &event);
            }
        }
        self.ports.drive_v6(&mut self.kernel, now_ms, self.report);
        let mut end_ms = now_ms + limit_ms;
        if !holds {
            end_ms = end_ms.min(self.choose(now_ms));
        }
        let cuts = self.ports.all.iter().filter(|port| port.lease.is_some()).filter_map(|port| port.cut_ms);
        let cut_ms = cuts.map(|at| at + CUT_MS).filter(|at| *at > now_ms).min().unwrap_or(end_ms);
        let wake_ms = self.ports.next_wake().unwrap_or(end_ms).min(end_ms).min(cut_ms);
        self.ports.wait(&mut self.kernel, wake_ms.saturating_sub(now_ms) as i32)
    }

    fn is_used(&self, index: u32) -> bool {
        self.used.iter().any(|(used, _)| *used == index)
    }

    fn happened(&mut self, at: usize, index: u32, event: &Event) {
        match event {
            Event::InUse(address, station) => tell_in_use(&self.ports.all, at, *address, *station, self.report),
            Event::Lost => self.give_up(index, "has ended: the address is removed, and a new lease asked for"),
            Event::Bound if self.is_used(index) => self.apply(at, index),
            // It is one of several that may be taken.
            Event::Bound => {}
        }
    }

    /// Takes the best lease, if there is one to be taken; says when to look again.
    fn choose(&mut self, now_ms: u64) -> u64 {
        let candidate = |port: &Port| match (candidate(port, &LIMITS), port.cut_ms) {
            (candidate, None) => candidate,
            (candidate, Some(_)) => Candidate { have: None, ..candidate },
        };
        let candidates: Vec<Candidate> = self.ports.all.iter().map(candidate).collect();
        let Limits { lease_ms, carrier_ms, .. } = LIMITS;
        let wait = choice::Wait { started_ms: self.started_ms, lease_ms, carrier_ms };
        match choice::decide(&candidates, &wait, now_ms) {
            Decision::Take(at) => {
                let index = self.ports.all.get(at).map_or(0, |port| port.link.index);
                let others: Vec<u32> = self.used.iter().map(|used| used.0).filter(|used| *used != index).collect();
                for other in others {
                    self.give_up(other, "is given up: there is no carrier");
                }
                self.used.retain(|(used, _)| *used == index);
                if !self.is_used(index) {
                    self.used.push((index, None));
                }
                self.apply(at, index);
                now_ms
            }
            Decision::Wait(end_ms) => end_ms,
            // While containers run there is no end to it.
            Decision::GiveUp(_) => u64::MAX,
        }
    }

    /// Gives the interface what its lease says, where that is not what it has.
    fn apply(&mut self, at: usize, index: u32) {
        let Some(Port { link, lease: Some((lease, _)), .. }) = self.ports.all.get(at) else { return };
        let Some((_, had)) = self.used.iter_mut().find(|(used, _)| *used == index) else { return };
        let is_same = had.as_ref().is_some_and(|had| is_same(had, lease));
        if let Some(had) = had.as_ref().filter(|_| !is_same) {
            let new = links::routes(index, lease);
            // One that was removed by hand is no loss.
            for route in links::routes(index, had).iter().filter(|route| !new.contains(route)) {
                let _ = self.kernel.request(|sequence| netlink::delete_route(sequence, route));
            }
            if (had.address, had.prefix) != (lease.address, lease.prefix) {
                let old = Address { index, address: had.address.into(), prefix: had.prefix };
                let _ = self.kernel.request(|sequence| netlink::delete_address(sequence, &old));
            }
        }
        let applied = match is_same {
            true => {
                let address = Address { index, address: lease.address.into(), prefix: lease.prefix };
                let set = |sequence| netlink::set_address_for(sequence, &address, lease.lease_s);
                // It may have been removed since: then all of it is set.
                self.kernel.request(set).map_err(|error| failed(&link.name, error))
            }
            false => {
                let metric = self.metrics.get(&index).copied().unwrap_or_default();
                links::apply(&mut self.kernel, link, lease, metric, self.report)
            }
        };
        if let Err(failure) = applied {
            self.report.warn(STEP, &failure.what);
        }
        if !is_same {
            let text = [&link.name, ": the lease has changed: ", &text(lease)].concat();
            self.report.line(STEP, text);
        }
        *had = Some(lease.clone());
        if !is_same {
            self.tell_boot();
        }
    }

    /// Removes the address of the interface's lease.
    fn give_up(&mut self, index: u32, why: &str) {
        let Some((_, had)) = self.used.iter_mut().find(|(used, _)| *used == index) else { return };
        let Some(lease) = had.take() else { return };
        let address = Address { index, address: lease.address.into(), prefix: lease.prefix };
        // The kernel may have removed it already.
        let _ = self.kernel.request(|sequence| netlink::delete_address(sequence, &address));
        if let Some(port) = self.ports.all.iter_mut().find(|port| port.link.index == index) {
            let what = [&port.link.name, " ", &lease.address.to_string(), ": the lease ", why].concat();
            self.report.warn(STEP, what);
            port.lease = None;
            if port.cut_ms.is_some() {
                port.v4 = None;
            }
        }
        self.started_ms = uptime_ms();
        self.tell_boot();
    }

    /// Makes the message with the leases that are used now, and the name servers and domains of them.
    fn tell_boot(&mut self) {
        let mut network = Network::default();
        let mut text = String::new();
        for (index, lease) in &self.used {
            let port = self.ports.all.iter().find(|port| port.link.index == *index);
            let (Some(port), Some(lease)) = (port, lease) else { continue };
            let [a, b, c, d, e, f] = port.link.mac;
            let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]).to_string();
            text.extend(["lease ", &mac, " ", &lease.address.to_string(), " ", &lease.server.to_string(), "\n"]);
            network.nameservers.extend(lease.nameservers.iter().map(|server| std::net::IpAddr::from(*server)));
            network.search.extend(lease.search.iter().cloned());
        }
        self.pending = [&text, &links::resolv_conf(&network), "none\n", END].concat();
    }
}

/// Whether nothing that is used differs.
fn is_same(one: &Lease, other: &Lease) -> bool {
    (one.address, one.prefix, one.mtu) == (other.address, other.prefix, other.mtu)
        && one.routes == other.routes
        && one.nameservers == other.nameservers
        && one.search == other.search
}

/// `10.0.2.15/24 gw 10.0.2.2 dns 10.0.2.3`
fn text(lease: &Lease) -> String {
    let mut text = [&lease.address.to_string(), "/", &lease.prefix.to_string()].concat();
    let default = lease.routes.iter().find(|route| route.prefix == 0);
    if let Some(gateway) = default.and_then(|route| route.gateway) {
        text.extend([" gw ", &gateway.to_string()]);
    }
    for (at, server) in lease.nameservers.iter().enumerate() {
        text.extend([if at == 0 { " dns " } else { " " }, &server.to_string()]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: lease-changes
    #[test]
    fn what_the_process_tells_is_what_the_boot_takes() {
        let text = "lease 90520731923542 10.0.2.15 10.0.2.2\nsearch lab example.org\nnameserver 10.0.2.3\nnone\n";
        let mut kept = Kept::default();
        kept.network.nameservers = vec!["10.0.2.9".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        kept.told(text);
        let servers: Vec<String> = kept.network.nameservers.iter().map(|server| server.to_string()).collect();
        assert_eq!(servers, ["10.0.2.3", "2001:db8::53"], "those of IPv6 stay");
        assert_eq!(kept.network.search, ["lab", "example.org"]);
        kept.network.search.push("by.ipv6".into());
        let [held] = &kept.held[..] else { panic!() };
        assert_eq!((held.mac, held.address), ([0x52, 0x54, 0, 0x12, 0x34, 0x56], [10, 0, 2, 15].into()));
        assert_eq!(held.server, Ipv4Addr::new(10, 0, 2, 2));
        kept.told("none\n");
        assert!(kept.held.is_empty());
        assert_eq!(kept.network.search, ["by.ipv6"], "what no lease has brought stays");
    }
}
