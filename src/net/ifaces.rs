//! Brings the network up as `b2c.iface` or `ip=` say: VLANs, bonds and bridges, addresses and routes, leases.

use crate::kernel::coldplug;
use crate::net::dhcp::{first_lease, FirstLease};
use crate::net::links::{self, Interface, Network};
use crate::net::pure::dns::parse_resolv_conf;
use crate::net::pure::iface::{masked, StaticRoute};
use crate::net::pure::link_kind::LinkKind;
use crate::net::pure::netlink::{self, virtual_link, Address, Link};
use crate::net::pure::plan::{Named, NetworkConfig, Plan, Planned, Step};
use crate::net::pure::static_route::{metric, route_of};
use crate::net::rtnetlink::{wired, Kernel};
use crate::net::step::{failed, Limits, STEP};
use crate::report::{Failure, Outcome, Report};
use crate::sys::machine::uptime_ms;
use crate::sys::socket;
use std::net::{IpAddr, Ipv4Addr};

mod dad;

/// After this time the console says what is waited for.
const TELL_MS: u64 = 3_000;
const FORWARD: [&str; 2] = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];

/// Brings the network up: as `b2c.iface` says, else as `ip=` says, else by DHCP on every wired interface.
pub fn up(config: &NetworkConfig, limits: &Limits, report: &Report) -> Outcome<Network> {
    let mut kernel = Kernel::open().map_err(|error| failed("rtnetlink", error))?;
    let by_kernel = links::by_kernel(&mut kernel).map_err(|error| failed("rtnetlink", error))?;
    let plan = config.plan(by_kernel.is_some()).map_err(|why| Failure::new(STEP, why))?;
    let mut network = match plan {
        Plan::Dhcp => links::up(&Limits { preferred_mac: config.preferred_mac, ..*limits }, report)?,
        Plan::Off => {
            links::raise_loopback(&mut kernel, report)?;
            report.line(STEP, "off, as ip= says");
            Network { is_named: true, ..Network::default() }
        }
        Plan::Named(named) => {
            links::raise_loopback(&mut kernel, report)?;
            let (problems, interfaces, lease_texts) = (Vec::new(), Vec::new(), Vec::new());
            let (v6, started_ms) = (Network::default(), uptime_ms());
            Setup { kernel, named, limits, report, problems, interfaces, lease_texts, v6, started_ms }.run(config)?
        }
    };
    if !config.nameservers.is_empty() {
        let more = std::mem::take(&mut network.nameservers);
        extend(&mut network.nameservers, config.nameservers.iter().chain(&more));
    }
    network.hostname = config.hostname().map(String::from).or(network.hostname);
    extend(&mut network.ntp, config.kernel.iter().flat_map(|word| &word.ntp));
    Ok(network)
}

/// Adds the addresses that are not there yet.
fn extend<'a>(list: &mut Vec<IpAddr>, more: impl Iterator<Item = &'a IpAddr>) {
    for address in more {
        if !list.contains(address) {
            list.push(*address);
        }
    }
}

/// The work on interfaces by name. What fails for one of them does not keep the others from working.
struct Setup<'a> {
    kernel: Kernel,
    named: Named,
    limits: &'a Limits,
    report: &'a Report,
    /// They are warnings if another interface works.
    problems: Vec<Failure>,
    interfaces: Vec<Interface>,
    lease_texts: Vec<String>,
    /// The servers and domains that IPv6 has brought.
    v6: Network,
    started_ms: u64,
}

impl Setup<'_> {
    fn run(mut self, config: &NetworkConfig) -> Outcome<Network> {
        self.find_first_card(config.preferred_mac)?;
        self.wait_for_cards()?;
        for step in std::mem::take(&mut self.named.steps) {
            if let Err(problem) = self.execute(&step) {
                self.problems.push(problem);
            }
        }
        let ifaces = std::mem::take(&mut self.named.ifaces);
        for planned in &ifaces {
            self.give_addresses(planned);
        }
        self.leases(&ifaces, config.preferred_mac);
        for planned in &ifaces {
            self.give_routes(planned);
        }
        self.wait_for_carrier()?;
        self.wait_for_dad();
        self.end(&ifaces)
    }

    fn links(&mut self) -> Outcome<Vec<Link>> {
        self.kernel.links().map_err(|error| failed("rtnetlink", error))
    }

    fn link(&mut self, name: &str) -> Outcome<Option<Link>> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    fn request(&mut self, object: &str, message: impl Fn(u32) -> Vec<u8>) -> Outcome<()> {
        self.kernel.request(message).map_err(|error| failed(object, error))
    }

    /// Waits while `missing` says what there is not, up to the limit for carriers; raises what `is_raised` says.
    fn wait(
        &mut self,
        is_raised: &dyn Fn(&Link) -> bool,
        missing: &dyn Fn(&[Link]) -> Option<String>,
    ) -> Outcome<Vec<Link>> {
        let end_ms = self.started_ms + self.limits.carrier_ms;
        let mut tell_ms = self.started_ms + TELL_MS;
        loop {
            let links = self.links()?;
            let now_ms = uptime_ms();
            let Some(text) = missing(&links).filter(|_| now_ms < end_ms) else { return Ok(links) };
            for link in links.iter().filter(|link| !link.up && is_raised(link)) {
                // One that cannot be raised has no carrier, which is told.
                let _ = self.kernel.request(|sequence| netlink::link_up(sequence, link.index));
            }
            if now_ms >= tell_ms {
                self.report.line(STEP, ["waiting for ", &text].concat());
                tell_ms = u64::MAX;
            }
            let timeout_ms = end_ms.min(tell_ms).saturating_sub(now_ms).min(self.limits.lease_ms.max(1_000)) as i32;
            socket::poll_readable([self.kernel.events()], timeout_ms).map_err(|error| failed("rtnetlink", error))?;
            self.kernel.changes().map_err(|error| failed("rtnetlink", error))?;
        }
    }

    fn seconds(&self) -> String {
        [" in ", &(self.limits.carrier_ms / 1000).to_string(), " s"].concat()
    }

    /// Gives what is meant for any card the name of the first with a carrier, or of the one that has booted.
    fn find_first_card(&mut self, preferred: Option<[u8; 6]>) -> Outcome<()> {
        let Some(at) = self.named.ifaces.iter().position(|planned| planned.iface.name.is_empty()) else {
            return Ok(());
        };
        let is_there = |link: &&Link| wired(link) && link.carrier;
        let missing = |links: &[Link]| (!links.iter().any(|link| is_there(&link))).then(|| "a carrier".to_string());
        let links = self.wait(&wired, &missing)?;
        let booted = links.iter().find(|link| is_there(link) && Some(link.mac) == preferred);
        let Some(link) = booted.or_else(|| links.iter().find(is_there)) else {
            return Err(no_carrier(&["a wired interface", &self.seconds()].concat()));
        };
        if let Some(planned) = self.named.ifaces.get_mut(at) {
            planned.iface.name.clone_from(&link.name);
        }
        Ok(())
    }

    fn wait_for_cards(&mut self) -> Outcome<()> {
        let cards = std::mem::take(&mut self.named.cards);
        let raised: Vec<String> = self.named.steps.iter().filter_map(raised).collect();
        let absent = |links: &[Link]| -> Vec<String> {
            let is_there = |card: &&String| links.iter().any(|link| link.name == **card);
            cards.iter().filter(|card| !is_there(card)).cloned().collect()
        };
        let missing = |links: &[Link]| Some(absent(links).join(", ")).filter(|text| !text.is_empty());
        let links = self.wait(&|link| raised.contains(&link.name), &missing)?;
        let within = self.seconds();
        for card in absent(&links) {
            let others: Vec<&str> = links.iter().filter(|link| link.name != "lo").map(|link| &*link.name).collect();
            let there = if others.is_empty() { "there is none".into() } else { others.join(", ") };
            let what = [&card, ": no such interface", &within, "; there are: ", &there].concat();
            let hint = "is the network card's driver in the kernel, or among the initramfs' modules?";
            self.problems.push(Failure::new(STEP, what).hint(hint));
        }
        Ok(())
    }

    /// One change of a link. Where what it needs is not there, this is told already.
    fn execute(&mut self, step: &Step) -> Outcome<()> {
        match step {
            Step::Make(name, kind) => {
                let parent = match kind {
                    LinkKind::Vlan { parent, .. } => match self.link(parent)? {
                        Some(parent) => parent.index,
                        None => return Ok(()),
                    },
                    _ => 0,
                };
                // The kernel would ask modprobe for it.
                coldplug::ensure(&["rtnl-link-", kind.text()].concat(), self.report);
                let object = [name, ": make a ", kind.text()].concat();
                let made = self.request(&object, |sequence| virtual_link::make_link(sequence, name, kind, parent));
                let hint = ["is its driver built in, or among the initramfs' modules: ", kind.module(), "?"];
                made.map_err(|failure| failure.hint(hint.concat()))
            }
            Step::Join { member, master, is_bond } => {
                let (Some(link), Some(of)) = (self.link(member)?, self.link(master)?) else { return Ok(()) };
                let object = [member, ": join ", master].concat();
                if *is_bond && link.up {
                    self.request(&object, |sequence| netlink::link_down(sequence, link.index))?;
                }
                self.request(&object, |sequence| virtual_link::set_master(sequence, link.index, of.index))?;
                self.request(member, |sequence| netlink::link_up(sequence, link.index))
            }
            Step::Raise(name) => match self.link(name)? {
                Some(link) if !link.up => self.request(name, |sequence| netlink::link_up(sequence, link.index)),
                _ => Ok(()),
            },
        }
    }

    /// Forwarding first, since it resets other settings of the kernel, then the MTU and addresses.
    fn give_addresses(&mut self, planned: &Planned) {
        let iface = &planned.iface;
        let Ok(Some(link)) = self.link(&iface.name) else { return };
        if iface.forward {
            let is_v6 = iface.addresses.iter().any(|(own, _)| own.is_ipv6());
            for path in FORWARD.iter().take(1 + usize::from(is_v6)) {
                if let Err(error) = std::fs::write(path, "1\n") {
                    self.problems.push(Failure::new(STEP, [path, ": ", &error.to_string()].concat()));
                }
            }
        }
        if let Some(mtu) = iface.mtu {
            let set =
                self.request(&[&iface.name, ": mtu"].concat(), |number| netlink::set_mtu(number, link.index, mtu));
            self.problems.extend(set.err());
        }
        let mut interface = Interface {
            index: link.index,
            name: link.name,
            mac: link.mac,
            addresses: Vec::new(),
            gateways: Vec::new(),
            lease: None,
            metric: planned.metric,
        };
        for (own, prefix) in &iface.addresses {
            let address = Address { index: link.index, address: *own, prefix: *prefix };
            let object = [&iface.name, ": address ", &own.to_string(), "/", &*prefix.to_string()].concat();
            match self.request(&object, |sequence| netlink::set_address(sequence, &address)) {
                Ok(()) => interface.addresses.push((*own, *prefix)),
                Err(problem) => self.problems.push(problem),
            }
        }
        self.interfaces.push(interface);
    }

    /// Leases for all that want one. They are asked at once; each lease leaves the others to the next round.
    fn leases(&mut self, ifaces: &[Planned], preferred_mac: Option<[u8; 6]>) {
        let is_there = |name: &&String| self.interfaces.iter().any(|interface| interface.name == **name);
        let wanted = ifaces.iter().filter(|planned| planned.iface.dhcp).map(|planned| &planned.iface.name);
        let mut pending: Vec<String> = wanted.filter(is_there).cloned().collect();
        let started_ms = uptime_ms();
        while !pending.is_empty() {
            let spent_ms = uptime_ms() - started_ms;
            let left = Limits {
                lease_ms: self.limits.lease_ms.saturating_sub(spent_ms),
                carrier_ms: self.limits.carrier_ms.saturating_sub(spent_ms),
                preferred_mac,
            };
            match first_lease(&mut self.kernel, Some(pending.clone()), &left, self.report) {
                Ok(bound) => {
                    pending.retain(|name| *name != bound.port.name);
                    self.take(bound);
                }
                Err(problem) => return self.problems.push(problem),
            };
        }
    }

    /// Gives the interface what it was leased, and what it has by IPv6.
    fn take(&mut self, bound: FirstLease) {
        let FirstLease { port, lease, v6, tries, .. } = bound;
        let Some(interface) = self.interfaces.iter_mut().find(|other| other.name == port.name) else { return };
        if let Some(lease) = lease {
            let applied = links::apply(&mut self.kernel, &port, &lease, interface.metric, self.report);
            if let Err(problem) = applied {
                return self.problems.push(problem);
            }
            interface.addresses.push((lease.address.into(), lease.prefix));
            let default = lease.routes.iter().find(|route| route.prefix == 0);
            interface.gateways.extend(default.and_then(|route| route.gateway).map(IpAddr::from));
            let text = links::lease_text(&lease, tries);
            self.lease_texts.push([&port.name, text.strip_prefix(',').unwrap_or(&text)].concat());
            interface.lease = Some(lease);
        }
        interface.addresses.extend(v6.addresses.iter());
        interface.gateways.extend(v6.gateways.iter());
        self.v6.add_v6(v6);
    }

    /// Gateways and routes, after a lease's own: a gateway that is named replaces it.
    fn give_routes(&mut self, planned: &Planned) {
        let iface = &planned.iface;
        let Some(at) = self.interfaces.iter().position(|interface| interface.name == iface.name) else { return };
        let default = |via: &IpAddr| StaticRoute { destination: any(via), prefix: 0, via: *via };
        let gateways = iface.gateways.iter().map(|via| (default(via), true));
        for (wanted, is_gateway) in gateways.chain(iface.routes.iter().map(|route| (*route, false))) {
            let Some(interface) = self.interfaces.get(at) else { return };
            let route = route_of(interface.index, &interface.addresses, &wanted);
            let metric = metric(planned.metric, &wanted);
            let object =
                [&iface.name, ": route ", &wanted.destination.to_string(), "/", &*wanted.prefix.to_string(), " by "];
            let object = [&object.concat(), &*wanted.via.to_string()].concat();
            let set = |sequence| netlink::set_route_by(sequence, &route, netlink::RTPROT_STATIC, metric);
            match self.request(&object, set) {
                Ok(()) if is_gateway => {
                    if let Some(interface) = self.interfaces.get_mut(at) {
                        interface.gateways.retain(|other| other.is_ipv4() != wanted.via.is_ipv4());
                        interface.gateways.push(wanted.via);
                    }
                }
                Ok(()) => {}
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    /// Where no lease has shown that a cable is there, one of the interfaces has to have a carrier.
    fn wait_for_carrier(&mut self) -> Outcome<()> {
        let with: Vec<String> = self.interfaces.iter().filter(|each| !each.addresses.is_empty()).map(name_of).collect();
        if with.is_empty() || self.interfaces.iter().any(|interface| interface.lease.is_some()) {
            return Ok(());
        }
        let is_there = |link: &Link| link.carrier && with.contains(&link.name);
        let missing =
            |links: &[Link]| (!links.iter().any(is_there)).then(|| ["a carrier on ", &with.join(", ")].concat());
        let links = self.wait(&|_| false, &missing)?;
        if missing(&links).is_some() {
            self.problems.insert(0, no_carrier(&[&with.join(", "), &*self.seconds()].concat()));
            self.interfaces.iter_mut().for_each(|interface| interface.addresses.clear());
        }
        Ok(())
    }

    /// Tells what there is. Where an address was wanted and no interface has one, that is a failure.
    fn end(self, ifaces: &[Planned]) -> Outcome<Network> {
        let wants = |planned: &Planned| planned.iface.dhcp || !planned.iface.addresses.is_empty();
        let (with, without): (Vec<Interface>, Vec<Interface>) =
            self.interfaces.into_iter().partition(|interface| !interface.addresses.is_empty());
        if with.is_empty() && (ifaces.iter().any(wants) || without.is_empty()) {
            let texts: Vec<&str> = self.problems.iter().map(|problem| &*problem.what).collect();
            let hint = self.problems.iter().find_map(|problem| problem.hint.clone());
            let failure = Failure::new(STEP, texts.join("; "));
            return Err(match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            });
        }
        for warning in self.problems.iter().map(|problem| &problem.what).chain(&self.named.warnings) {
            self.report.warn(STEP, warning);
        }
        let mut network = Network::default();
        // As boot2container's resolv.conf has them: those of the last interface first, then leases, then the kernel's.
        extend(&mut network.nameservers, ifaces.iter().rev().flat_map(|planned| &planned.iface.nameservers));
        for lease in with.iter().filter_map(|interface| interface.lease.as_ref()) {
            let any = |list: &[Ipv4Addr]| -> Vec<IpAddr> { list.iter().map(|own| IpAddr::from(*own)).collect() };
            extend(&mut network.nameservers, any(&lease.nameservers).iter());
            extend(&mut network.ntp, any(&lease.ntp).iter());
            let new: Vec<String> = lease.search.iter().filter(|name| !network.search.contains(name)).cloned().collect();
            network.search.extend(new);
            network.hostname = network.hostname.or(lease.hostname.clone());
        }
        extend(&mut network.nameservers, self.v6.nameservers.iter());
        extend(&mut network.ntp, self.v6.ntp.iter());
        network.search.extend(self.v6.search);
        let told = parse_resolv_conf(&std::fs::read_to_string(links::KERNEL_DNS).unwrap_or_default());
        extend(&mut network.nameservers, told.nameservers.iter());
        network.is_named = true;
        network.interfaces = with;
        network.interfaces.extend(without);
        let end: Vec<String> = self.lease_texts.iter().map(|text| [", ", text].concat()).collect();
        links::tell(&network, &end.concat(), self.report);
        Ok(network)
    }
}

fn name_of(interface: &Interface) -> String {
    interface.name.clone()
}

fn raised(step: &Step) -> Option<String> {
    match step {
        Step::Raise(name) => Some(name.clone()),
        _ => None,
    }
}

fn has(interface: &Interface, address: &IpAddr) -> bool {
    interface.addresses.iter().any(|(own, _)| own == address)
}

fn no_carrier(what: &str) -> Failure {
    Failure::new(STEP, ["no carrier on ", what].concat())
        .hint("is the cable plugged in, and the machine at its other end on?")
}

fn any(like: &IpAddr) -> IpAddr {
    masked(like, 0)
}
