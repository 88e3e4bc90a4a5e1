//! Keeps the network's leases while containers run: renews them, applies what has changed, and asks anew for what was
//! lost.
//!
//! It is a process of the boot and no thread, since the boot forks; and a mistake in reading what a stranger sends ends
//! this process alone. A container does not see it, unless it shares the host's PID namespace; if such a container
//! kills it, it is started again before the next one.

use crate::net::dhcp::{candidates, tell_in_use};
use crate::net::links::{self, Interface, Network};
use crate::net::ports::{Event, Port, Ports};
use crate::net::pure::choice::{self, Decision};
use crate::net::pure::dhcp::{frame, release, Lease};
use crate::net::pure::dns::parse_resolv_conf;
use crate::net::pure::netlink::{self, Address};
use crate::net::rtnetlink::Kernel;
use crate::net::step::{failed, Limits, LIMITS, STEP};
use crate::report::{Outcome, Report};
use crate::sys::machine::uptime_ms;
use crate::sys::process::{self, Pid};
use crate::sys::{io, signal};
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
        let (mut held, mut of_lease) = (Vec::new(), Vec::new());
        for interface in &network.interfaces {
            if let Some(lease) = &interface.lease {
                held.push(Held { mac: interface.mac, address: lease.address, server: lease.server });
                of_lease.extend_from_slice(&lease.search);
            }
        }
        let mut kept = Kept { held, of_lease, network, task: None, is_changed: false };
        if is_to_be_kept(&kept.network) {
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
        let mut conf = parse_resolv_conf(text);
        let network = &mut self.network;
        // What a lease has not brought stays, behind what one has.
        network.nameservers.retain(IpAddr::is_ipv6);
        conf.nameservers.append(&mut network.nameservers);
        network.nameservers = conf.nameservers;
        network.search.retain(|name| !self.of_lease.contains(name));
        self.of_lease.clone_from(&conf.search);
        conf.search.append(&mut network.search);
        network.search = conf.search;
        self.held.clear();
        for line in text.lines() {
            self.held.extend(held(line));
        }
        for interface in &mut network.interfaces {
            let held = self.held.iter().find(|held| held.mac == interface.mac);
            match (held, &mut interface.lease) {
                (Some(held), Some(lease)) => (lease.address, lease.server) = (held.address, held.server),
                _ => interface.lease = None,
            }
        }
        self.is_changed = true;
    }
}

/// Whether there is a lease to keep, or one may come yet: also where the boot went on by IPv6 alone, since a DHCPv4
/// server may be late, or its first answers be lost.
fn is_to_be_kept(network: &Network) -> bool {
    let mut is_kept = network.interfaces.is_empty() && !network.is_named;
    for interface in &network.interfaces {
        // A DHCPv6 server's address is a whole one (RFC 8415, section 18.2.10.1).
        let is_v6 = |(own, prefix): &(IpAddr, u8)| own.is_ipv6() && (*prefix == 128 || !network.is_named);
        is_kept |= interface.lease.is_some() || interface.addresses.iter().any(is_v6);
    }
    is_kept
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
                report.warn(STEP, format_args!("the leases are not kept: {}", failure.what));
                1
            }
        }
    });
    match pid {
        Ok(pid) => Some(Task { pid, changes }),
        Err(error) => {
            report.warn(STEP, format_args!("the leases are not kept: {error}"));
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
    /// Interfaces, and the metrics of their default routes.
    metrics: Vec<(u32, u32)>,
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
        let mut leased = Vec::new();
        for interface in network.interfaces.iter().filter(|interface| interface.lease.is_some()) {
            leased.push(interface.name.clone());
        }
        let mut ports = Ports::raise(&mut kernel, network.is_named.then_some(leased))?;
        ports.keeps_leases = true;
        let now_ms = uptime_ms();
        let (mut used, mut metrics) = (Vec::new(), Vec::new());
        for interface in &network.interfaces {
            metrics.push((interface.index, interface.metric));
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
        let mut wake_ms = self.ports.next_wake().min(now_ms + limit_ms);
        if !holds {
            wake_ms = wake_ms.min(self.choose(now_ms));
        }
        for port in self.ports.all.iter().filter(|port| port.lease.is_some()) {
            let end_ms = port.cut_ms.map_or(0, |at| at + CUT_MS);
            if end_ms > now_ms {
                wake_ms = wake_ms.min(end_ms);
            }
        }
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
        let candidates = candidates(&self.ports.all, &LIMITS);
        let Limits { lease_ms, carrier_ms, .. } = LIMITS;
        let wait = choice::Wait { started_ms: self.started_ms, lease_ms, carrier_ms };
        match choice::decide(&candidates, &wait, now_ms) {
            Decision::Take(at) => {
                let index = self.ports.all.get(at).map_or(0, |port| port.link.index);
                for place in 0..self.used.len() {
                    let other = self.used.get(place).map_or(index, |used| used.0);
                    if other != index {
                        self.give_up(other, "is given up: there is no carrier");
                    }
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
                let _ = self.kernel.request(netlink::delete_route(route));
            }
            if (had.address, had.prefix) != (lease.address, lease.prefix) {
                let old = Address { index, address: had.address.into(), prefix: had.prefix };
                let _ = self.kernel.request(netlink::delete_address(&old));
            }
        }
        let applied = match is_same {
            true => {
                let address = Address { index, address: lease.address.into(), prefix: lease.prefix };
                let set = netlink::set_address_for(&address, lease.lease_s, lease.lease_s);
                // It may have been removed since: then all of it is set.
                self.kernel.request(set).map_err(|error| failed(&link.name, error))
            }
            false => {
                let metric = self.metrics.iter().find(|(own, _)| *own == index).map_or(0, |(_, metric)| *metric);
                links::apply(&mut self.kernel, link, lease, metric, self.report)
            }
        };
        if let Err(failure) = applied {
            self.report.warn(STEP, &failure.what);
        }
        if !is_same {
            let mut interface = Interface::of(link);
            interface.add_lease(lease.clone());
            let servers = links::servers_text(&lease.nameservers);
            let text = interface.text();
            self.report.line(STEP, format_args!("{}: the lease has changed:{text}{servers}", link.name));
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
        let _ = self.kernel.request(netlink::delete_address(&address));
        if let Some(port) = self.ports.all.iter_mut().find(|port| port.link.index == index) {
            self.report.warn(STEP, format_args!("{} {}: the lease {why}", port.link.name, lease.address));
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
            let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
            text += &format!("lease {mac} {} {}\n", lease.address, lease.server);
            network.add_servers_of(lease);
        }
        self.pending = format!("{text}{}none\n{END}", links::resolv_conf(&network));
    }
}

/// Whether nothing that is used differs.
fn is_same(one: &Lease, other: &Lease) -> bool {
    (one.address, one.prefix, one.mtu) == (other.address, other.prefix, other.mtu)
        && one.routes == other.routes
        && one.nameservers == other.nameservers
        && one.search == other.search
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: renewals
    #[test]
    fn a_lease_may_come_after_the_boot_went_on_by_ipv6() {
        let network = |is_named, addresses: &[(&str, u8)]| {
            let addresses = addresses.iter().map(|(own, prefix)| (own.parse().unwrap(), *prefix)).collect();
            let (name, gateways) = ("eth0".into(), Vec::new());
            let interface = Interface { index: 2, name, mac: [0; 6], addresses, gateways, lease: None, metric: 0 };
            Network { interfaces: vec![interface], is_named, ..Network::default() }
        };
        assert!(is_to_be_kept(&network(false, &[("2001:db8::5", 64)])));
        assert!(is_to_be_kept(&network(true, &[("2001:db8::5", 128)])), "of DHCPv6");
        assert!(!is_to_be_kept(&network(true, &[("2001:db8::5", 64)])), "the lab's own");
        assert!(!is_to_be_kept(&network(false, &[("10.0.2.15", 24)])), "the kernel's");
        assert!(is_to_be_kept(&Network::default()));
        assert!(!is_to_be_kept(&Network { is_named: true, ..Network::default() }), "ip=off");
    }

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
