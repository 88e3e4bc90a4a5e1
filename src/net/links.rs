//! Brings the network up: links, DHCP on every wired interface, addresses and routes.

use crate::net::dhcp::first_lease;
use crate::net::ipv6::Config;
use crate::net::pure::dhcp::message::INFINITE;
use crate::net::pure::dhcp::Lease;
use crate::net::pure::dns::{parse_resolv_conf, ResolvConf};
use crate::net::pure::merge::{add_new, join};
use crate::net::pure::netlink::{self, Address, Reply, Route};
use crate::net::rtnetlink::{wired, Kernel};
use crate::net::step::{failed, Limits, STEP};
use crate::report::{Outcome, Report};
use crate::sys;
use crate::sys::machine::uptime_ms;
use std::net::{IpAddr, Ipv4Addr};

/// Where the kernel's own `ip=` puts name servers.
const KERNEL_DNS: &str = "/proc/net/pnp";

/// The machine's interfaces, and what the DHCP server or the kernel's line said.
#[derive(Debug, Default)]
pub struct Network {
    /// The wired interfaces; the ones with an address come first.
    pub interfaces: Vec<Interface>,
    pub nameservers: Vec<IpAddr>,
    /// The domains in which names of a single label are looked up.
    pub search: Vec<String>,
    /// Time servers.
    pub ntp: Vec<IpAddr>,
    /// `b2c.iface` or `ip=` names the interfaces: no other one is used.
    pub is_named: bool,
    /// How many of the name servers the options name; these come first.
    pub named_servers: usize,
}

/// A wired interface.
#[derive(Debug)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub mac: [u8; 6],
    /// Addresses and their prefix lengths. None where it is only up.
    pub addresses: Vec<(IpAddr, u8)>,
    pub gateways: Vec<IpAddr>,
    /// None without one.
    pub lease: Option<Lease>,
    /// When it was given, by the machine's uptime.
    pub leased_ms: u64,
    /// An option names the interface, and wants a lease for it.
    pub wants_lease: bool,
    /// That of its default routes, more than 0 where another interface's go before.
    pub metric: u32,
    /// The routes that the options name, with their metrics. They go before a lease's.
    pub named_routes: Vec<(Route, u32)>,
}

/// Raises the loopback and every wired interface, and gives the first that gets a lease its address and routes.
/// An address that the kernel's own `ip=` has set is left as it is.
pub fn up(limits: &Limits, report: &Report) -> Outcome<Network> {
    let mut kernel = Kernel::open().map_err(|error| failed("rtnetlink", error))?;
    raise_loopback(&mut kernel, report)?;
    if let Some(network) = by_kernel(&mut kernel).map_err(|error| failed("rtnetlink", error))? {
        tell(&network, ", by the kernel's ip=", report);
        return Ok(network);
    }
    let bound = first_lease(&mut kernel, None, limits, report)?;
    let mut network = Network::default();
    network.interfaces.push(Interface::of(&bound.port));
    let mut end = String::new();
    if let Some(lease) = bound.lease {
        apply(&mut kernel, &bound.port, &lease, 0, report)?;
        end = lease_text(&lease, bound.tries);
        network.add_lease(lease);
    }
    network.add_v6(&bound.v6);
    tell(&network, &end, report);
    for other in &bound.others {
        let why = if other.carrier { "no lease yet" } else { "no carrier" };
        report.line(STEP, format_args!("{} up without address: {why}", other.name));
        network.interfaces.push(Interface::of(other));
    }
    Ok(network)
}

impl Interface {
    /// One that is only up.
    pub fn of(link: &netlink::Link) -> Interface {
        Interface {
            index: link.index,
            name: link.name.clone(),
            mac: link.mac,
            addresses: Vec::new(),
            gateways: Vec::new(),
            lease: None,
            leased_ms: 0,
            wants_lease: false,
            metric: 0,
            named_routes: Vec::new(),
        }
    }

    /// What a lease, which was given just now, says of the interface itself.
    pub fn add_lease(&mut self, lease: Lease) {
        self.addresses.push((lease.address.into(), lease.prefix));
        let default = lease.routes.iter().find(|route| route.prefix == 0);
        if let Some(gateway) = default.and_then(|route| route.gateway) {
            self.gateways.push(gateway.into());
        }
        self.lease = Some(lease);
        self.leased_ms = uptime_ms();
    }

    /// ` 10.0.2.15/24 gw 10.0.2.2`
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (address, prefix) in &self.addresses {
            text += &format!(" {address}/{prefix}");
        }
        for gateway in &self.gateways {
            text += &format!(" gw {gateway}");
        }
        text
    }
}

impl Network {
    /// What a lease says, on the first interface.
    fn add_lease(&mut self, lease: Lease) {
        self.add_servers_of(&lease);
        if let Some(first) = self.interfaces.first_mut() {
            first.add_lease(lease);
        }
    }

    /// What a lease says beside the interface's own.
    pub fn add_servers_of(&mut self, lease: &Lease) {
        self.add_servers(&lease.nameservers, &lease.search, &lease.ntp);
    }

    /// What the first interface has by IPv6, after what it has by IPv4.
    pub fn add_v6(&mut self, v6: &Config) {
        if let Some(first) = self.interfaces.first_mut() {
            first.addresses.extend_from_slice(&v6.addresses);
            first.gateways.extend_from_slice(&v6.gateways);
        }
        self.add_servers(&v6.nameservers, &v6.search, &v6.ntp);
    }

    /// Adds what is not there yet.
    pub fn add_servers(&mut self, nameservers: &[IpAddr], search: &[String], ntp: &[IpAddr]) {
        add_new(&mut self.nameservers, nameservers);
        add_new(&mut self.search, search);
        add_new(&mut self.ntp, ntp);
    }

    /// The address with its interface, where it is nothing without one (RFC 4007, section 11).
    fn text_of(&self, server: &IpAddr) -> String {
        let text = server.to_string();
        match (server, self.interfaces.first()) {
            (IpAddr::V6(own), Some(first)) if own.is_unicast_link_local() => format!("{text}%{}", first.name),
            _ => text,
        }
    }
}

/// The text of an `/etc/resolv.conf` with the network's name servers and domain.
pub fn resolv_conf(network: &Network) -> String {
    let mut text = String::new();
    if !network.search.is_empty() {
        text = format!("search {}\n", network.search.join(" "));
    }
    for server in &network.nameservers {
        text += &format!("nameserver {}\n", network.text_of(server));
    }
    text
}

/// Raises the loopback interface; the kernel then gives it 127.0.0.1/8.
pub fn raise_loopback(kernel: &mut Kernel, report: &Report) -> Outcome<()> {
    let links = kernel.links().map_err(|error| failed("rtnetlink", error))?;
    let Some(lo) = links.iter().find(|link| link.name == "lo") else {
        report.warn(STEP, "lo: there is no loopback interface");
        return Ok(());
    };
    kernel.request(netlink::link_up(lo.index)).map_err(|error| failed("lo", error))
}

/// The network that `ip=` on the kernel's command line has set up, if it has.
pub fn by_kernel(kernel: &mut Kernel) -> sys::Result<Option<Network>> {
    let mut network = Network::default();
    let mut replies = kernel.dump(netlink::get_addresses())?;
    replies.append(&mut kernel.dump(netlink::get_routes())?);
    let mut others = Vec::new();
    for link in kernel.links()?.iter().filter(|link| wired(link)) {
        let mut interface = Interface::of(link);
        for reply in &replies {
            match reply {
                Reply::Address(Address { index, address, prefix }) if *index == link.index && address.is_ipv4() => {
                    interface.addresses.push((*address, *prefix));
                }
                Reply::Route(Route { index, prefix: 0, gateway: Some(gateway), .. })
                    if *index == link.index && gateway.is_ipv4() =>
                {
                    interface.gateways.push(*gateway);
                }
                _ => {}
            }
        }
        let list = if interface.addresses.is_empty() { &mut others } else { &mut network.interfaces };
        list.push(interface);
    }
    if network.interfaces.is_empty() {
        return Ok(None);
    }
    network.interfaces.append(&mut others);
    let told = kernel_dns();
    network.add_servers(&told.nameservers, &told.search, &[]);
    Ok(Some(network))
}

/// The name servers that the kernel's own `ip=` has set.
pub fn kernel_dns() -> ResolvConf {
    parse_resolv_conf(&std::fs::read_to_string(KERNEL_DNS).unwrap_or_default())
}

/// Gives the interface the lease's MTU, address (for as long as the lease lasts) and routes. Only a missing address is
/// a failure: without one of the routes, or with another MTU, the network may still be usable.
pub fn apply(kernel: &mut Kernel, link: &netlink::Link, lease: &Lease, metric: u32, report: &Report) -> Outcome<()> {
    let (index, name) = (link.index, &link.name);
    if let Some(mtu) = lease.mtu {
        if let Err(error) = kernel.request(netlink::set_mtu(index, mtu.into())) {
            report.warn(STEP, format_args!("{name}: mtu {mtu}: {error}"));
        }
    }
    let address = Address { index, address: lease.address.into(), prefix: lease.prefix };
    let set = kernel.request(netlink::set_address_for(&address, lease.lease_s, lease.lease_s));
    set.map_err(|error| failed(&format!("{name}: address {}/{}", lease.address, lease.prefix), error))?;
    for route in routes(index, lease) {
        let metric = if route.gateway.is_some() { metric } else { 0 };
        if let Err(error) = kernel.request(netlink::set_route_by(&route, netlink::RTPROT_DHCP, metric)) {
            report.warn(STEP, format_args!("{name}: route {}/{}: {error}", route.destination, route.prefix));
        }
    }
    Ok(())
}

/// The lease's routes in the order in which the kernel takes them: those on the link first, since they may lead to
/// gateways. A gateway outside of the interface's subnet is taken to be on the link (RFC 3442: /32 leases).
pub fn routes(index: u32, lease: &Lease) -> Vec<Route> {
    let near = |gateway: Ipv4Addr| {
        let shift = 32 - u32::from(lease.prefix);
        (gateway.to_bits() ^ lease.address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
    };
    let mut routes = Vec::new();
    for by_gateway in [false, true] {
        for route in lease.routes.iter().filter(|route| route.gateway.is_some() == by_gateway) {
            routes.push(Route {
                index,
                destination: route.destination.into(),
                prefix: route.prefix,
                gateway: route.gateway.map(IpAddr::from),
                source: Some(lease.address.into()),
                onlink: route.gateway.is_some_and(|gateway| !near(gateway)),
            });
        }
    }
    routes
}

/// `, lease 86400 s, 1 try`
pub fn lease_text(lease: &Lease, tries: u32) -> String {
    let word = if tries == 1 { "try" } else { "tries" };
    match lease.lease_s {
        INFINITE => format!(", lease for ever, {tries} {word}"),
        seconds => format!(", lease {seconds} s, {tries} {word}"),
    }
}

/// `eth0 10.0.2.15/24 gw 10.0.2.2 dns 10.0.2.3`, and `end`.
pub fn tell(network: &Network, end: &str, report: &Report) {
    let mut text = String::new();
    for interface in network.interfaces.iter().filter(|interface| !interface.addresses.is_empty()) {
        join(&mut text, ", ", &interface.name);
        text.push_str(&interface.text());
    }
    report.line(STEP, format_args!("{text}{}{end}", servers_text(&network.nameservers)));
}

/// ` dns 10.0.2.3`; empty where there is none.
pub fn servers_text(nameservers: &[IpAddr]) -> String {
    let mut text = String::new();
    for server in nameservers {
        text += &format!("{} {server}", if text.is_empty() { " dns" } else { "" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::pure::dhcp;

    fn lease(prefix: u8, routes: &[dhcp::Route]) -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 2, 15),
            prefix,
            server: Ipv4Addr::new(10, 0, 2, 2),
            lease_s: 86400,
            renew_s: 43200,
            rebind_s: 75600,
            routes: routes.to_vec(),
            nameservers: vec![],
            ntp: vec![],
            search: vec![],
            hostname: None,
            mtu: None,
            is_contested: false,
        }
    }

    fn via(destination: [u8; 4], prefix: u8, gateway: Option<[u8; 4]>) -> dhcp::Route {
        dhcp::Route { destination: destination.into(), prefix, gateway: gateway.map(Ipv4Addr::from) }
    }

    #[test]
    fn on_link_routes_come_first_and_far_gateways_are_said_to_be_near() {
        let default = via([0; 4], 0, Some([10, 0, 2, 2]));
        let on_link = via([192, 168, 7, 0], 24, None);
        let shape = |prefix| -> Vec<(u8, bool)> {
            routes(1, &lease(prefix, &[default, on_link])).iter().map(|route| (route.prefix, route.onlink)).collect()
        };
        assert_eq!(shape(24), [(24, false), (0, false)]);
        assert_eq!(shape(32), [(24, false), (0, true)]);
        assert_eq!(shape(29), [(24, false), (0, true)], "10.0.2.8/29 does not hold 10.0.2.2");
        assert_eq!(shape(28), [(24, false), (0, false)]);
    }

    #[test]
    fn ipv6_comes_after_a_lease() {
        let link = netlink::Link {
            index: 2,
            name: "eth0".into(),
            ethernet: true,
            mac: [0; 6],
            mtu: 1500,
            up: true,
            carrier: true,
            running: true,
            kind: String::new(),
        };
        let mut network = Network { interfaces: vec![Interface::of(&link)], ..Network::default() };
        network.add_lease(Lease { search: vec!["lab".into()], ..lease(24, &[]) });
        network.add_v6(&Config {
            addresses: vec![("2001:db8::2".parse().unwrap(), 64)],
            gateways: vec!["fe80::1".parse().unwrap()],
            nameservers: vec!["fe80::1".parse().unwrap(), "2001:db8::53".parse().unwrap()],
            search: vec!["lab".into(), "example.org".into()],
            ntp: vec![],
        });
        let addresses: Vec<String> = network.interfaces[0].addresses.iter().map(|(own, _)| own.to_string()).collect();
        assert_eq!(addresses, ["10.0.2.15", "2001:db8::2"]);
        let expected = "search lab example.org\nnameserver fe80::1%eth0\nnameserver 2001:db8::53\n";
        assert_eq!(resolv_conf(&network), expected);
    }

    #[test]
    fn texts() {
        let network = Network {
            nameservers: vec![[10, 0, 2, 3].into(), "2001:db8::53".parse().unwrap()],
            search: vec!["lab".into(), "example.org".into()],
            ..Network::default()
        };
        assert_eq!(resolv_conf(&network), "search lab example.org\nnameserver 10.0.2.3\nnameserver 2001:db8::53\n");
        assert_eq!(resolv_conf(&Network::default()), "");
        assert_eq!(lease_text(&lease(24, &[]), 1), ", lease 86400 s, 1 try");
        assert_eq!(lease_text(&Lease { lease_s: INFINITE, ..lease(24, &[]) }, 2), ", lease for ever, 2 tries");
    }
}
