//! Brings the network up: links, DHCP on every wired interface, addresses and routes.

use crate::net::dhcp::first_lease;
use crate::net::ipv6::Config;
use crate::net::pure::dhcp::message::INFINITE;
use crate::net::pure::dhcp::{self, Lease};
use crate::net::pure::dns::parse_resolv_conf;
use crate::net::pure::netlink::{self, Address, Reply, Route};
use crate::net::rtnetlink::{wired, Kernel};
use crate::net::step::{failed, Limits, STEP};
use crate::report::{Outcome, Report};
use crate::sys;
use std::net::{IpAddr, Ipv4Addr};

/// The name servers that the kernel's own `ip=` has set.
pub const KERNEL_DNS: &str = "/proc/net/pnp";

/// The machine's interfaces, and what the DHCP server or the kernel's line said.
#[derive(Debug, Default)]
pub struct Network {
    /// The wired interfaces; the ones with an address come first.
    pub interfaces: Vec<Interface>,
    pub nameservers: Vec<IpAddr>,
    /// The domains in which names of a single label are looked up.
    pub search: Vec<String>,
    pub hostname: Option<String>,
    /// Time servers.
    pub ntp: Vec<IpAddr>,
    /// `b2c.iface` or `ip=` names the interfaces: no other one is used.
    pub is_named: bool,
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
    /// That of its default routes, more than 0 where another interface's go before.
    pub metric: u32,
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
    if let Some(lease) = &bound.lease {
        apply(&mut kernel, &bound.port, lease, 0, report)?;
    }
    let port = |port: &netlink::Link| Interface {
        index: port.index,
        name: port.name.clone(),
        mac: port.mac,
        addresses: Vec::new(),
        gateways: Vec::new(),
        lease: None,
        metric: 0,
    };
    let mut network = Network { interfaces: vec![port(&bound.port)], ..Network::default() };
    if let Some(lease) = &bound.lease {
        network.add_lease(lease);
    }
    network.add_v6(bound.v6);
    network.interfaces.extend(bound.others.iter().map(port));
    let end = bound.lease.as_ref().map(|lease| lease_text(lease, bound.tries)).unwrap_or_default();
    tell(&network, &end, report);
    if let Some(first) = network.interfaces.first_mut() {
        first.lease = bound.lease;
    }
    for other in bound.others {
        let why = if other.carrier { "no lease yet" } else { "no carrier" };
        report.line(STEP, format_args!("{} up without address: {why}", other.name));
    }
    Ok(network)
}

impl Network {
    /// What a lease says, on the first interface.
    fn add_lease(&mut self, lease: &Lease) {
        let any = |addresses: &[Ipv4Addr]| addresses.iter().map(|address| IpAddr::from(*address)).collect();
        if let Some(first) = self.interfaces.first_mut() {
            let default = lease.routes.iter().find(|route| route.prefix == 0);
            first.addresses = vec![(lease.address.into(), lease.prefix)];
            first.gateways = default.and_then(|route| route.gateway).map(IpAddr::from).into_iter().collect();
        }
        self.nameservers = any(&lease.nameservers);
        self.search = lease.search.clone();
        self.hostname = lease.hostname.clone();
        self.ntp = any(&lease.ntp);
    }

    /// What the first interface has by IPv6, after what it has by IPv4.
    pub fn add_v6(&mut self, v6: Config) {
        if let Some(first) = self.interfaces.first_mut() {
            first.addresses.extend(v6.addresses);
            first.gateways.extend(v6.gateways);
        }
        self.nameservers.extend(v6.nameservers);
        let new: Vec<String> = v6.search.into_iter().filter(|name| !self.search.contains(name)).collect();
        self.search.extend(new);
        self.ntp.extend(v6.ntp);
    }

    /// The address with its interface, where it is nothing without one (RFC 4007, section 11).
    fn text_of(&self, server: &IpAddr) -> String {
        let text = server.to_string();
        match (server, self.interfaces.first()) {
            (IpAddr::V6(own), Some(first)) if own.is_unicast_link_local() => [&text, "%", &first.name].concat(),
            _ => text,
        }
    }
}

/// The text of an `/etc/resolv.conf` with the network's name servers and domain.
pub fn resolv_conf(network: &Network) -> String {
    let mut text = String::new();
    if !network.search.is_empty() {
        text.extend(["search ", &network.search.join(" "), "\n"]);
    }
    for server in &network.nameservers {
        text.extend(["nameserver ", &network.text_of(server), "\n"]);
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
    kernel.request(|sequence| netlink::link_up(sequence, lo.index)).map_err(|error| failed("lo", error))
}

/// The network that `ip=` on the kernel's command line has set up, if it has.
pub fn by_kernel(kernel: &mut Kernel) -> sys::Result<Option<Network>> {
    let addresses: Vec<Address> =
        kernel.dump(netlink::get_addresses, |reply| if let Reply::Address(a) = reply { Some(a) } else { None })?;
    let mut interfaces: Vec<Interface> = Vec::new();
    for link in kernel.links()?.into_iter().filter(wired) {
        let own = addresses.iter().filter(|own| own.index == link.index && own.address.is_ipv4());
        interfaces.push(Interface {
            index: link.index,
            name: link.name,
            mac: link.mac,
            addresses: own.map(|own| (own.address, own.prefix)).collect(),
            gateways: Vec::new(),
            lease: None,
            metric: 0,
        });
    }
    let (mut interfaces, others): (Vec<Interface>, Vec<Interface>) =
        interfaces.into_iter().partition(|interface| !interface.addresses.is_empty());
    if interfaces.is_empty() {
        return Ok(None);
    }
    interfaces.extend(others);
    let routes: Vec<Route> =
        kernel.dump(netlink::get_routes, |reply| if let Reply::Route(r) = reply { Some(r) } else { None })?;
    for interface in &mut interfaces {
        let default = routes.iter().filter(|route| route.prefix == 0 && route.index == interface.index);
        interface.gateways = default.filter_map(|route| route.gateway.filter(IpAddr::is_ipv4)).collect();
    }
    let told = parse_resolv_conf(&std::fs::read_to_string(KERNEL_DNS).unwrap_or_default());
    Ok(Some(Network { interfaces, nameservers: told.nameservers, search: told.search, ..Network::default() }))
}

/// Gives the interface the lease's MTU, address (for as long as the lease lasts) and routes. Only a missing address is
/// a failure: without one of the routes, or with another MTU, the network may still be usable.
pub fn apply(kernel: &mut Kernel, link: &netlink::Link, lease: &Lease, metric: u32, report: &Report) -> Outcome<()> {
    let (index, name) = (link.index, &link.name);
    if let Some(mtu) = lease.mtu {
        if let Err(error) = kernel.request(|sequence| netlink::set_mtu(sequence, index, mtu.into())) {
            report.warn(STEP, format_args!("{name}: mtu {mtu}: {error}"));
        }
    }
    let address = Address { index, address: lease.address.into(), prefix: lease.prefix };
    let object = || format!("{name}: address {}/{}", lease.address, lease.prefix);
    let set = |sequence| netlink::set_address_for(sequence, &address, lease.lease_s);
    kernel.request(set).map_err(|error| failed(&object(), error))?;
    for route in routes(index, lease) {
        let metric = if route.gateway.is_some() { metric } else { 0 };
        let set = |sequence| netlink::set_route_by(sequence, &route, netlink::RTPROT_DHCP, metric);
        if let Err(error) = kernel.request(set) {
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
    let route = |route: &dhcp::Route| Route {
        index,
        destination: route.destination.into(),
        prefix: route.prefix,
        gateway: route.gateway.map(IpAddr::from),
        source: Some(lease.address.into()),
        onlink: route.gateway.is_some_and(|gateway| !near(gateway)),
    };
    let (mut routes, by_gateway): (Vec<Route>, Vec<Route>) =
        lease.routes.iter().map(route).partition(|route| route.gateway.is_none());
    routes.extend(by_gateway);
    routes
}

/// `, lease 86400 s, 1 try`
pub fn lease_text(lease: &Lease, tries: u32) -> String {
    let lasts = match lease.lease_s {
        INFINITE => "for ever".to_string(),
        seconds => format!("{seconds} s"),
    };
    format!(", lease {lasts}, {tries} {}", if tries == 1 { "try" } else { "tries" })
}

/// `eth0 10.0.2.15/24 gw 10.0.2.2 dns 10.0.2.3`, and `end`.
pub fn tell(network: &Network, end: &str, report: &Report) {
    let mut text = String::new();
    for interface in &network.interfaces {
        if interface.addresses.is_empty() {
            continue;
        }
        let comma = if text.is_empty() { "" } else { ", " };
        text.extend([comma, &interface.name]);
        for (address, prefix) in &interface.addresses {
            text.extend([" ", &address.to_string(), "/", &prefix.to_string()]);
        }
        for gateway in &interface.gateways {
            text.extend([" gw ", &gateway.to_string()]);
        }
    }
    if !network.nameservers.is_empty() {
        text.push_str(" dns");
    }
    for server in &network.nameservers {
        text.extend([" ", &server.to_string()]);
    }
    report.line(STEP, [&text, end].concat());
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let interface = Interface {
            index: 2,
            name: "eth0".into(),
            mac: [0; 6],
            addresses: vec![],
            gateways: vec![],
            lease: None,
            metric: 0,
        };
        let mut network = Network { interfaces: vec![interface], ..Network::default() };
        network.add_lease(&Lease { search: vec!["lab".into()], ..lease(24, &[]) });
        network.add_v6(Config {
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
