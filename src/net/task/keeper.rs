//! What the process that keeps the leases does.

use crate::net::dhcp::{candidates, tell_in_use};
use crate::net::links::{self, Interface, Network};
use crate::net::ports::{Event, Port, Ports};
use crate::net::pure::choice::{self, Decision};
use crate::net::pure::dhcp::Lease;
use crate::net::pure::netlink::{self, Address, Route};
use crate::net::rtnetlink::Kernel;
use crate::net::step::{failed, Limits, LIMITS, STEP};
use crate::report::{Outcome, Report};
use crate::sys::io;
use crate::sys::machine::uptime_ms;
use std::os::fd::{AsFd, OwnedFd};

/// How long a lease outlasts its carrier, while another interface may get one.
const CUT_MS: u64 = 10_000;
/// Ends a message to the boot.
pub(super) const END: &str = "\n\n";

/// The process's state.
pub struct Keeper<'a> {
    kernel: Kernel,
    ports: Ports,
    network: &'a Network,
    /// The interfaces whose leases are in use, with these. Of interfaces that the options name, all are.
    used: Vec<(u32, Option<Lease>)>,
    /// Since when there is none.
    started_ms: u64,
    /// A message that the boot could not take yet.
    pending: String,
    report: &'a Report,
}

impl<'a> Keeper<'a> {
    /// Goes on with the leases of `network`.
    pub fn new(network: &'a Network, report: &'a Report) -> Outcome<Keeper<'a>> {
        let mut kernel = Kernel::open().map_err(|error| failed("rtnetlink", error))?;
        // Of interfaces that are named only those that want a lease are this process's.
        let mut wanting = Vec::new();
        for interface in network.interfaces.iter().filter(|interface| interface.wants_lease) {
            wanting.push(interface.name.clone());
        }
        let mut ports = Ports::raise(&mut kernel, network.is_named.then_some(wanting))?;
        ports.keeps_leases = true;
        let mut used = Vec::new();
        for Interface { index, lease, leased_ms, .. } in &network.interfaces {
            let port = ports.all.iter_mut().find(|port| port.link.index == *index);
            if let (Some(port), Some(lease)) = (port, lease) {
                port.resume(lease.clone(), *leased_ms);
                used.push((*index, Some(lease.clone())));
            }
        }
        Ok(Keeper { kernel, ports, network, used, started_ms: uptime_ms(), pending: String::new(), report })
    }

    /// Asks the servers whether the leases still count.
    pub(super) fn confirm(&mut self) {
        let now_ms = uptime_ms();
        for port in &mut self.ports.all {
            if let Some((lease, _)) = port.lease.take() {
                // Until a server has answered it counts as one of now.
                port.resume(lease, now_ms);
                port.v4.iter_mut().for_each(|client| client.link_is_back(now_ms));
            }
        }
    }

    pub(super) fn run(&mut self, to: &OwnedFd) -> Outcome<()> {
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
        // Without a lease in use, each interface may get one, as at boot; those that the options name always may.
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
        if !holds && !self.network.is_named {
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
        self.network.is_named || self.used.iter().any(|(used, _)| *used == index)
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
        if !self.used.iter().any(|(used, _)| *used == index) {
            self.used.push((index, None));
        }
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
        // The name, since a card that is plugged in again has another index.
        let planned = self.network.interfaces.iter().find(|planned| planned.name == link.name);
        let metric = planned.map_or(0, |planned| planned.metric);
        // All of it also where nothing has changed: with the carrier, or an address, the kernel removes the routes.
        if let Err(failure) = links::apply(&mut self.kernel, link, lease, metric, self.report) {
            self.report.warn(STEP, &failure.what);
        }
        for (route, metric) in planned.iter().flat_map(|planned| &planned.named_routes) {
            let route = Route { index, ..*route };
            // As at boot one that cannot be set is no failure, and it was told then.
            let _ = self.kernel.request(netlink::set_route_by(&route, netlink::RTPROT_STATIC, *metric));
        }
        if !is_same {
            let mut interface = Interface::of(link);
            interface.add_lease(lease.clone());
            let servers = links::servers_text(&lease.nameservers);
            let text = interface.text();
            self.report.line(STEP, format_args!("{}: the lease has changed:{text}{servers}", link.name));
        }
        let is_told = is_same && had.as_ref().is_some_and(|had| had.server == lease.server);
        *had = Some(lease.clone());
        if !is_told {
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
        let (mut network, mut text) = (Network::default(), String::new());
        for (index, lease) in &self.used {
            let port = self.ports.all.iter().find(|port| port.link.index == *index);
            let (Some(port), Some(lease)) = (port, lease) else { continue };
            let [a, b, c, d, e, f] = port.link.mac;
            let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
            text += &format!("lease {index} {mac} {} {}\n", lease.address, lease.server);
            network.add_servers_of(lease);
        }
        for server in &network.nameservers {
            text += &format!("nameserver {server}\n");
        }
        for name in &network.search {
            text.extend(["domain ", name, "\n"]);
        }
        self.pending = format!("{text}none\n{END}");
    }
}

/// Whether nothing that is used differs.
fn is_same(one: &Lease, other: &Lease) -> bool {
    (one.address, one.prefix, one.mtu) == (other.address, other.prefix, other.mtu)
        && one.routes == other.routes
        && one.nameservers == other.nameservers
        && one.search == other.search
}
