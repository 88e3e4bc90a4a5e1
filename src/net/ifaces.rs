//! Brings the network up as `b2c.iface` or `ip=` say: VLANs, bonds and bridges, addresses and routes, leases.

use crate::kernel::coldplug;
use crate::net::dhcp::{first_lease, FirstLease};
use crate::net::links::{self, Interface, Network};
use crate::net::pure::iface::{masked, StaticRoute};
use crate::net::pure::link_kind::LinkKind;
use crate::net::pure::merge::{add_new, join};
use crate::net::pure::netlink::{self, virtual_link, Address, Link};
use crate::net::pure::plan::{Named, NetworkConfig, Plan, Planned, Step};
use crate::net::pure::static_route::{metric, route_of};
use crate::net::rtnetlink::{wired, Kernel};
use crate::net::step::{failed, no_carrier, within, Limits, LIMITS, STEP};
use crate::report::{Failure, Outcome, Report};
use crate::sys::machine::uptime_ms;
use crate::sys::socket;
use std::net::IpAddr;

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
            let (problems, interfaces, lease_texts) = (Vec::new(), Vec::new(), String::new());
            let (v6, started_ms) = (Network::default(), uptime_ms());
            Setup { kernel, limits, report, problems, interfaces, lease_texts, v6, started_ms }.run(named, config)?
        }
    };
    let mut nameservers = config.nameservers.clone();
    add_new(&mut nameservers, network.nameservers.get(..network.named_servers).unwrap_or_default());
    network.named_servers = nameservers.len();
    add_new(&mut nameservers, &network.nameservers);
    network.nameservers = nameservers;
    for word in &config.kernel {
        add_new(&mut network.ntp, &word.ntp);
    }
    Ok(network)
}

/// The work on interfaces by name. What fails for one of them does not keep the others from working.
struct Setup<'a> {
    kernel: Kernel,
    limits: &'a Limits,
    report: &'a Report,
    /// They are warnings if another interface works.
    problems: Vec<Failure>,
    interfaces: Vec<Interface>,
    /// `, eth0 lease 86400 s, 1 try` of each.
    lease_texts: String,
    /// The servers and domains that IPv6 has brought.
    v6: Network,
    started_ms: u64,
}

/// The steps are not inlined: in one function they share a frame so large that each use of it takes more bytes.
impl Setup<'_> {
    #[inline(never)]
    fn run(mut self, named: Named, config: &NetworkConfig) -> Outcome<Network> {
        let Named { cards, steps, mut ifaces, warnings } = named;
        self.find_first_card(&mut ifaces, config.preferred_mac)?;
        self.wait_for_cards(&cards, &steps)?;
        for step in &steps {
            let done = self.execute(step);
            self.note(done);
        }
        for planned in &ifaces {
            self.give_addresses(planned);
        }
        self.leases(&ifaces, config.preferred_mac);
        for planned in &ifaces {
            self.give_routes(planned);
        }
        self.wait_for_carrier()?;
        self.wait_for_dad();
        self.end(&ifaces, &warnings)
    }

    /// Whether it was done; the problem is told later.
    fn note(&mut self, done: Outcome<()>) -> bool {
        let is_done = done.is_ok();
        if let Err(problem) = done {
            self.problems.push(problem);
        }
        is_done
    }

    fn links(&mut self) -> Outcome<Vec<Link>> {
        self.kernel.links().map_err(|error| failed("rtnetlink", error))
    }

    /// The link's number, and whether it is up.
    fn link(&mut self, name: &str) -> Outcome<Option<(u32, bool)>> {
        Ok(self.links()?.iter().find(|link| link.name == name).map(|link| (link.index, link.up)))
    }

    fn request(&mut self, object: &str, message: Vec<u8>) -> Outcome<()> {
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
                let _ = self.kernel.request(netlink::link_up(link.index));
            }
            if now_ms >= tell_ms {
                self.report.line(STEP, format_args!("waiting for {text}"));
                tell_ms = u64::MAX;
            }
            let timeout_ms = end_ms.min(tell_ms).saturating_sub(now_ms).min(self.limits.lease_ms.max(1_000)) as i32;
            socket::poll_readable([self.kernel.events()], timeout_ms).map_err(|error| failed("rtnetlink", error))?;
            self.kernel.changes().map_err(|error| failed("rtnetlink", error))?;
        }
    }

    /// Gives what is meant for any card the name of the first with a carrier, or of the one that has booted.
    #[inline(never)]
    fn find_first_card(&mut self, ifaces: &mut [Planned], preferred: Option<[u8; 6]>) -> Outcome<()> {
        let Some(planned) = ifaces.iter_mut().find(|planned| planned.iface.name.is_empty()) else { return Ok(()) };
        let find = |links: &[Link], mac: Option<[u8; 6]>| {
            let is_it = |link: &&Link| link.carrier && mac.is_none_or(|mac| mac == link.mac) && wired(link);
            links.iter().find(is_it).map(|link| link.name.clone())
        };
        let missing = |links: &[Link]| find(links, None).is_none().then(|| "a carrier".into());
        let links = self.wait(&wired, &missing)?;
        let booted = preferred.and_then(|_| find(&links, preferred));
        let Some(name) = booted.or_else(|| find(&links, None)) else {
            return Err(no_carrier(&format!("a wired interface{}", within(self.limits.carrier_ms))));
        };
        planned.iface.name = name;
        Ok(())
    }

    #[inline(never)]
    fn wait_for_cards(&mut self, cards: &[String], steps: &[Step]) -> Outcome<()> {
        let is_raised = |link: &Link| steps.iter().any(|step| matches!(step, Step::Raise(name) if *name == link.name));
        let missing = |links: &[Link]| Some(absent(cards, links).join(", ")).filter(|text| !text.is_empty());
        let links = self.wait(&is_raised, &missing)?;
        let within = within(self.limits.carrier_ms);
        let mut others = Vec::new();
        for link in links.iter().filter(|link| link.name != "lo") {
            others.push(&*link.name);
        }
        let there = if others.is_empty() { "there is none".into() } else { others.join(", ") };
        for card in absent(cards, &links) {
            let what = format!("{card}: no such interface{within}; there are: {there}");
            let hint = "is the network card's driver in the kernel, or among the initramfs' modules?";
            self.problems.push(Failure::new(STEP, what).hint(hint));
        }
        Ok(())
    }

    /// One change of a link. Where what it needs is not there, this is told already.
    #[inline(never)]
    fn execute(&mut self, step: &Step) -> Outcome<()> {
        match step {
            Step::Make(name, kind) => {
                let parent = match kind {
                    LinkKind::Vlan { parent, .. } => match self.link(parent)? {
                        Some((index, _)) => index,
                        None => return Ok(()),
                    },
                    _ => 0,
                };
                // The kernel would ask modprobe for it.
                coldplug::ensure(&["rtnl-link-", kind.text()].concat(), self.report);
                let object = format!("{name}: make a {}", kind.text());
                let made = self.request(&object, virtual_link::make_link(name, kind, parent));
                let hint = || format!("is its driver built in, or among the initramfs' modules: {}?", kind.module());
                made.map_err(|failure| failure.hint(hint()))
            }
            Step::Join { member, master, is_bond } => {
                let Some((index, is_up)) = self.link(member)? else { return Ok(()) };
                let Some((of, _)) = self.link(master)? else { return Ok(()) };
                let object = format!("{member}: join {master}");
                if *is_bond && is_up {
                    self.request(&object, netlink::link_down(index))?;
                }
                self.request(&object, virtual_link::set_master(index, of))?;
                self.request(member, netlink::link_up(index))
            }
            Step::Raise(name) => match self.link(name)? {
                Some((index, false)) => self.request(name, netlink::link_up(index)),
                _ => Ok(()),
            },
        }
    }

    /// Forwarding first, since it resets other settings of the kernel, then the MTU and addresses.
    #[inline(never)]
    fn give_addresses(&mut self, planned: &Planned) {
        let iface = &planned.iface;
        let Ok(links) = self.links() else { return };
        let Some(link) = links.iter().find(|link| link.name == iface.name) else { return };
        if iface.forward {
            let is_v6 = iface.addresses.iter().any(|(own, _)| own.is_ipv6());
            for path in FORWARD.iter().take(1 + usize::from(is_v6)) {
                if let Err(error) = std::fs::write(path, "1\n") {
                    self.problems.push(Failure::new(STEP, format!("{path}: {error}")));
                }
            }
        }
        if let Some(mtu) = iface.mtu {
            let set = self.request(&format!("{}: mtu", iface.name), netlink::set_mtu(link.index, mtu));
            self.note(set);
        }
        let mut interface = Interface::of(link);
        (interface.metric, interface.wants_lease) = (planned.metric, iface.dhcp);
        for (own, prefix) in &iface.addresses {
            let address = Address { index: link.index, address: *own, prefix: *prefix };
            let object = format!("{}: address {own}/{prefix}", iface.name);
            let set = self.request(&object, netlink::set_address(&address));
            if self.note(set) {
                interface.addresses.push((*own, *prefix));
            }
        }
        self.interfaces.push(interface);
    }

    /// Leases for all that want one. They are asked at once; each lease leaves the others to the next round.
    #[inline(never)]
    fn leases(&mut self, ifaces: &[Planned], preferred_mac: Option<[u8; 6]>) {
        let mut pending = Vec::new();
        for planned in ifaces.iter().filter(|planned| planned.iface.dhcp) {
            let name = &planned.iface.name;
            if self.interfaces.iter().any(|interface| interface.name == *name) {
                pending.push(name.clone());
            }
        }
        let mut started_ms = uptime_ms();
        while !pending.is_empty() {
            let spent_ms = uptime_ms() - started_ms;
            // With one network that works, another is waited for as where images are at hand.
            let works = self.interfaces.iter().any(|interface| !interface.addresses.is_empty());
            let limit_ms = if works { self.limits.lease_ms.min(LIMITS.lease_ms) } else { self.limits.lease_ms };
            let left = Limits {
                lease_ms: limit_ms.saturating_sub(spent_ms),
                carrier_ms: self.limits.carrier_ms.saturating_sub(spent_ms),
                preferred_mac,
            };
            match first_lease(&mut self.kernel, Some(pending.clone()), &left, self.report) {
                Ok(bound) => {
                    pending.retain(|name| *name != bound.port.name);
                    self.take(bound);
                    // The server may have been away until now, for this interface as well.
                    started_ms = uptime_ms();
                }
                Err(problem) => return self.problems.push(problem),
            };
        }
    }

    /// Gives the interface what it was leased, and what it has by IPv6.
    #[inline(never)]
    fn take(&mut self, bound: FirstLease) {
        let FirstLease { port, lease, v6, tries, .. } = bound;
        let Some(interface) = self.interfaces.iter_mut().find(|other| other.name == port.name) else { return };
        if let Some(lease) = lease {
            let applied = links::apply(&mut self.kernel, &port, &lease, interface.metric, self.report);
            if let Err(problem) = applied {
                return self.problems.push(problem);
            }
            let text = links::lease_text(&lease, tries);
            self.lease_texts += &format!(", {}{}", port.name, text.strip_prefix(',').unwrap_or(&text));
            interface.add_lease(lease);
        }
        interface.addresses.extend_from_slice(&v6.addresses);
        interface.gateways.extend_from_slice(&v6.gateways);
        self.v6.add_v6(&v6);
    }

    /// Gateways and routes, after a lease's own: a gateway that is named replaces it.
    #[inline(never)]
    fn give_routes(&mut self, planned: &Planned) {
        let iface = &planned.iface;
        let Some(at) = self.interfaces.iter().position(|interface| interface.name == iface.name) else { return };
        for via in &iface.gateways {
            let default = StaticRoute { destination: masked(via, 0), prefix: 0, via: *via };
            let is_set = self.give_route(planned, at, &default);
            if let Some(interface) = self.interfaces.get_mut(at).filter(|_| is_set) {
                interface.gateways.retain(|other| other.is_ipv4() != via.is_ipv4());
                interface.gateways.push(*via);
            }
        }
        for route in &iface.routes {
            self.give_route(planned, at, route);
        }
    }

    /// True where it is set.
    fn give_route(&mut self, planned: &Planned, at: usize, wanted: &StaticRoute) -> bool {
        let Some(interface) = self.interfaces.get_mut(at) else { return false };
        let route = route_of(interface.index, &interface.addresses, wanted);
        let StaticRoute { destination, prefix, via } = wanted;
        let object = format!("{}: route {destination}/{prefix} by {via}", planned.iface.name);
        let metric = metric(planned.metric, wanted);
        interface.named_routes.push((route, metric));
        let set = self.request(&object, netlink::set_route_by(&route, netlink::RTPROT_STATIC, metric));
        self.note(set)
    }

    /// Where no lease has shown that a cable is there, one of the interfaces has to have a carrier.
    #[inline(never)]
    fn wait_for_carrier(&mut self) -> Outcome<()> {
        let mut with = Vec::new();
        for interface in &self.interfaces {
            if interface.lease.is_some() {
                return Ok(());
            }
            if !interface.addresses.is_empty() {
                with.push(interface.name.clone());
            }
        }
        if with.is_empty() {
            return Ok(());
        }
        let names = with.join(", ");
        let is_there = |link: &Link| link.carrier && with.contains(&link.name);
        let missing = |links: &[Link]| (!links.iter().any(is_there)).then(|| format!("a carrier on {names}"));
        let links = self.wait(&|_| false, &missing)?;
        if missing(&links).is_some() {
            self.problems.insert(0, no_carrier(&(names + &within(self.limits.carrier_ms))));
            self.interfaces.iter_mut().for_each(|interface| interface.addresses.clear());
        }
        Ok(())
    }

    /// Tells what there is. Where an address was wanted and no interface has one, that is a failure.
    #[inline(never)]
    fn end(self, ifaces: &[Planned], warnings: &[String]) -> Outcome<Network> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for interface in self.interfaces {
            let list = if interface.addresses.is_empty() { &mut without } else { &mut with };
            list.push(interface);
        }
        let wants = |planned: &Planned| planned.iface.dhcp || !planned.iface.addresses.is_empty();
        if with.is_empty() && (ifaces.iter().any(wants) || without.is_empty()) {
            let (mut text, mut hint) = (String::new(), None);
            for problem in &self.problems {
                join(&mut text, "; ", &problem.what);
                hint = hint.or_else(|| problem.hint.clone());
            }
            let failure = Failure::new(STEP, text);
            return Err(match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            });
        }
        for warning in self.problems.iter().map(|problem| &problem.what).chain(warnings) {
            self.report.warn(STEP, warning);
        }
        let mut network = Network { is_named: true, ..Network::default() };
        // As boot2container's resolv.conf has them: those of the last interface first, then leases, then the kernel's.
        for planned in ifaces.iter().rev() {
            add_new(&mut network.nameservers, &planned.iface.nameservers);
        }
        network.named_servers = network.nameservers.len();
        for lease in with.iter().filter_map(|interface| interface.lease.as_ref()) {
            network.add_servers_of(lease);
        }
        network.add_servers(&self.v6.nameservers, &self.v6.search, &self.v6.ntp);
        add_new(&mut network.nameservers, &links::kernel_dns().nameservers);
        with.append(&mut without);
        network.interfaces = with;
        links::tell(&network, &self.lease_texts, self.report);
        Ok(network)
    }
}

/// The cards that are not there.
fn absent<'a>(cards: &'a [String], links: &[Link]) -> Vec<&'a str> {
    let mut absent = Vec::new();
    for card in cards {
        if !links.iter().any(|link| link.name == *card) {
            absent.push(&**card);
        }
    }
    absent
}

fn has(interface: &Interface, address: &IpAddr) -> bool {
    interface.addresses.iter().any(|(own, _)| own == address)
}
