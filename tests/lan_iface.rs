//! `b2c.iface` and `ip=` on a LAN of network namespaces joined by veth pairs. Each test runs itself again inside the
//! client's namespace, where it checks what came of the step.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;
#[path = "support/netns.rs"]
mod netns;

use netns::{inside, ip, possible, shown, Pair};
use ocinit::boot::extra_args;
use ocinit::boot::options::Sources;
use ocinit::boot::pure::cmdline;
use ocinit::boot::pure::options::Config;
use ocinit::net::dns::Resolver;
use ocinit::net::ifaces;
use ocinit::net::links::{resolv_conf, Network};
use ocinit::net::step::{Limits, LIMITS};
use ocinit::report::{Outcome, Report};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REPORT: Report = Report { sections: false, times: false, quiet: false, live: false };
const SHORT: Limits = Limits { lease_ms: 5_000, carrier_ms: 1_000, preferred_mac: None };

/// `ethN` of the client's namespace, each joined to `srvN` (10.77.N.1/24, 2001:db8:N::1/64) of the server's.
fn lan(test: &str, cables: u8) -> Option<Pair> {
    possible(&["dnsmasq"])?;
    let lan = Pair::new(test);
    for number in 0..cables {
        let far = format!("srv{number}");
        lan.join(&format!("eth{number}"), &far);
        lan.server.ip(&["address", "add", &format!("10.77.{number}.1/24"), "dev", &far]);
        lan.server.ip(&["address", "add", &format!("2001:db8:{number}::1/64"), "dev", &far, "nodad"]);
    }
    Some(lan)
}

/// A DHCP server behind these interfaces.
fn leases(lan: &mut Pair, cables: &[&str]) {
    let mut args = vec!["--domain=lab".to_string()];
    for cable in cables {
        let number = cable.trim_start_matches(|c: char| !c.is_ascii_digit());
        args.push(format!("--interface={cable}"));
        args.push(format!("--dhcp-range=10.77.{number}.50,10.77.{number}.59,255.255.255.0,2h"));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    lan.server.dnsmasq(&args);
}

/// The network step with the options of `line`.
fn step(line: &str, limits: &Limits) -> Outcome<Network> {
    let config = Config::read(&[cmdline::parse(line.as_bytes()).unwrap()]).unwrap();
    ifaces::up(&config.network, limits, &REPORT)
}

fn up(line: &str) -> Network {
    step(line, &LIMITS).unwrap_or_else(|failure| panic!("{line}: {}", failure.what))
}

/// The machine's name, or why there is none.
fn host_name(hostname: &str, network: &Network) -> Result<String, String> {
    let (mut config, mut sources) = (Config::default(), Sources::new(Vec::new(), None));
    config.hostname = hostname.into();
    let resolver = Arc::new(Resolver::from_host());
    let known = extra_args::apply(&mut config, &mut sources, network, &resolver, &mut REPORT.clone());
    known.map(|()| config.hostname).map_err(|failure| failure.what.clone())
}

fn names(network: &Network) -> Vec<&str> {
    network.interfaces.iter().map(|interface| interface.name.as_str()).collect()
}

/// Whether the address answers: nobody listens there, so that it refuses.
fn answers(address: &str) -> bool {
    let to = SocketAddr::new(address.parse().unwrap(), 9);
    let error = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap_err();
    error.kind() == std::io::ErrorKind::ConnectionRefused
}

/// The network step with a link of this kind. None where the kernel has no such links: then the step says so.
fn up_of_kind(kind: &str, line: &str) -> Option<Network> {
    let failure = match step(line, &LIMITS) {
        Ok(network) => return Some(network),
        Err(failure) => failure,
    };
    let on = if kind == "vlan" { vec!["link", "lo", "name", "v0"] } else { vec!["name", "v0"] };
    let data = if kind == "vlan" { vec!["id", "7"] } else { vec![] };
    let made = Command::new("ip").args(["link", "add"]).args(on).args(["type", kind]).args(data).output().unwrap();
    let error = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(error.contains("Unknown device type"), "{}", failure.what);
    assert!(failure.what.contains(&format!(": make a {kind}: rtnetlink: ")), "{}", failure.what);
    assert!(failure.hint.as_deref().unwrap().starts_with("is its driver built in"));
    None
}

/// Promise: iface
#[test]
fn static_addresses_and_routes() {
    if inside() {
        let network = up("b2c.iface=eth0,address=10.77.0.9/24,address=2001:db8:0::9/64,gateway=10.77.0.1,\
            gateway=2001:db8::1,route=10.8.0.0/16:10.77.0.3,route=10.9.0.0/16:192.168.5.5,\
            route=2001:db8:8::/48:fe80::7,nameserver=10.77.0.1,nameserver=2001:db8::53,mtu=1400");
        let eth0 = &network.interfaces[0];
        assert_eq!(eth0.addresses, [([10, 77, 0, 9].into(), 24), ("2001:db8::9".parse::<IpAddr>().unwrap(), 64)]);
        assert!(eth0.lease.is_none());
        assert_eq!(resolv_conf(&network), "nameserver 10.77.0.1\nnameserver 2001:db8::53\n");
        let routes = shown(&["-4", "route"]);
        for route in [
            "default via 10.77.0.1 dev eth0 proto static",
            "10.8.0.0/16 via 10.77.0.3 dev eth0 proto static",
            "10.9.0.0/16 via 192.168.5.5 dev eth0 proto static onlink",
        ] {
            assert!(routes.contains(route), "{route}: {routes}");
        }
        let routes = shown(&["-6", "route"]);
        for route in
            ["default via 2001:db8::1 dev eth0 proto static", "2001:db8:8::/48 via fe80::7 dev eth0 proto static"]
        {
            assert!(routes.contains(route), "{route}: {routes}");
        }
        let link = shown(&["address", "show", "eth0"]);
        assert!(link.contains("mtu 1400") && link.contains("inet 10.77.0.9/24 brd 10.77.0.255"), "{link}");
        assert!(link.contains("inet6 2001:db8::9/64 scope global valid_lft"), "not tentative: {link}");
        // At once: the addresses can be used.
        assert!(std::net::UdpSocket::bind(("2001:db8::9", 0)).is_ok());
        assert!(answers("10.77.0.1") && answers("2001:db8::1"));
        return;
    }
    let Some(lan) = lan("static", 1) else { return };
    let console = lan.enter("static_addresses_and_routes");
    let line = "network    eth0 10.77.0.9/24 2001:db8::9/64 gw 10.77.0.1 gw 2001:db8::1 dns 10.77.0.1 2001:db8::53\n";
    assert!(console.contains(line), "{console}");
}

/// An IPv6 address that another machine has is not used.
/// Promise: iface
#[test]
fn an_ipv6_address_that_is_taken() {
    if inside() {
        let failure = step("b2c.iface=eth0,address=2001:db8::1/64", &LIMITS).unwrap_err();
        assert_eq!(failure.what, "2001:db8::1: another machine has this address");
        return;
    }
    let Some(lan) = lan("taken", 1) else { return };
    lan.enter("an_ipv6_address_that_is_taken");
}

/// Two leases and a static address, each on its own; what the last one says about the default route counts.
/// Promise: iface
#[test]
fn several_interfaces() {
    if inside() {
        let network =
            up("b2c.iface=eth0,dhcp b2c.iface=eth1,dhcp b2c.iface=eth2,address=10.77.2.9/24,nameserver=9.9.9.9");
        assert_eq!(names(&network), ["eth0", "eth1", "eth2"]);
        assert!(network.interfaces[0].lease.is_some() && network.interfaces[1].lease.is_some());
        let (first, second): (IpAddr, IpAddr) = ([10, 77, 0, 1].into(), [10, 77, 1, 1].into());
        assert_eq!(network.nameservers, [IpAddr::from([9, 9, 9, 9]), first, second]);
        assert_eq!(network.search, ["lab"]);
        let default = shown(&["-4", "route", "show", "default"]);
        assert!(default.starts_with("default via 10.77.1.1 dev eth1 proto dhcp src 10.77.1.5"), "{default}");
        assert!(default.contains(" default via 10.77.0.1 dev eth0 proto dhcp"), "{default}");
        assert!(default.ends_with("metric 100"), "{default}");
        assert!(!shown(&["address", "show", "eth3"]).contains(",UP"), "nobody asked for it");
        return;
    }
    let Some(mut lan) = lan("several", 4) else { return };
    leases(&mut lan, &["srv0", "srv1", "srv3"]);
    let console = lan.enter("several_interfaces");
    let leases = console.matches(" lease 7200 s, ").count();
    assert_eq!(leases, 2, "{console}");
}

/// Promise: iface
#[test]
fn two_default_routes() {
    if inside() {
        up("b2c.iface=eth0,address=10.77.0.9/24,gateway=10.77.0.1 b2c.iface=eth1,dhcp,gateway=10.77.1.3 \
            b2c.iface=eth2,dhcp");
        let default = shown(&["-4", "route", "show", "default"]);
        let (first, rest) = default.split_once(" default ").unwrap();
        assert_eq!(first.trim(), "default via 10.77.1.3 dev eth1 proto static", "in place of the lease's");
        assert!(
            rest.starts_with("via 10.77.0.1 dev eth0 proto static metric 100 default via 10.77.2.1 dev eth2"),
            "{rest}"
        );
        return;
    }
    let Some(mut lan) = lan("routes", 3) else { return };
    leases(&mut lan, &["srv1", "srv2"]);
    let console = lan.enter("two_default_routes");
    let line = "network    WARN two default routes: 10.77.0.1 by eth0, 10.77.1.3 by eth1; the last counts: 10.77.1.3";
    assert!(console.contains(line), "{console}");
}

/// Promise: iface
#[test]
fn forwarding() {
    if inside() {
        let is_on = |path: &str| std::fs::read_to_string(path).unwrap().trim() == "1";
        let (v4, v6) = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding");
        up("b2c.iface=eth0,address=10.77.0.9/24");
        assert!(!is_on(v4) && !is_on(v6));
        up("b2c.iface=eth0,address=10.77.0.9/24,forward");
        assert!(is_on(v4) && !is_on(v6), "IPv6 stays a host's where it has no address of the line");
        up("b2c.iface=eth0,address=2001:db8::9/64,forward");
        assert!(is_on(v6));
        return;
    }
    let Some(lan) = lan("forward", 1) else { return };
    lan.enter("forwarding");
}

/// Promise: iface
#[test]
fn bridge() {
    if inside() {
        let Some(network) = up_of_kind("bridge", "b2c.iface=br0,bridge=eth0+eth1,dhcp") else { return };
        assert_eq!(names(&network), ["br0"]);
        assert!(network.interfaces[0].lease.is_some());
        assert!(shown(&["link", "show", "eth1"]).contains("master br0 state UP"));
        assert!(answers("10.77.0.1"));
        return;
    }
    let Some(mut lan) = lan("bridge", 2) else { return };
    leases(&mut lan, &["srv0"]);
    lan.enter("bridge");
}

/// Promise: iface
#[test]
fn vlan() {
    if inside() {
        let Some(network) = up_of_kind("vlan", "b2c.iface=eth0.12,address=10.99.0.9/24") else { return };
        assert_eq!(names(&network), ["eth0.12"]);
        assert!(shown(&["-d", "link", "show", "eth0.12"]).contains("vlan protocol 802.1Q id 12"));
        assert!(answers("10.99.0.1"));
        return;
    }
    let Some(lan) = lan("vlan", 1) else { return };
    let tagged =
        ["-n", &lan.server.namespace, "link", "add", "link", "srv0", "name", "tagged", "type", "vlan", "id", "12"];
    if Command::new("ip").args(tagged).output().unwrap().status.success() {
        lan.server.ip(&["link", "set", "tagged", "up"]);
        lan.server.ip(&["address", "add", "10.99.0.1/24", "dev", "tagged"]);
    }
    lan.enter("vlan");
}

/// The first cable is dead; the bond works by the other.
/// Promise: iface
#[test]
fn bond() {
    if inside() {
        let Some(network) = up_of_kind("bond", "b2c.iface=bond0,bond=eth0+eth1,dhcp") else { return };
        assert_eq!(names(&network), ["bond0"]);
        assert!(shown(&["-d", "link", "show", "bond0"]).contains("bond mode active-backup miimon 100"));
        assert!(answers("10.77.1.1"));
        return;
    }
    let Some(mut lan) = lan("bond", 2) else { return };
    lan.server.ip(&["link", "set", "srv0", "down"]);
    leases(&mut lan, &["srv1"]);
    lan.enter("bond");
}

/// Promise: iface
#[test]
fn an_interface_that_does_not_exist() {
    if inside() {
        let failure = step("b2c.iface=eth7,dhcp", &SHORT).unwrap_err();
        assert_eq!(failure.what, "eth7: no such interface in 1 s; there are: eth0, eth1");
        assert!(failure.hint.is_some());
        let network = step("b2c.iface=eth7,dhcp b2c.iface=eth7.5 b2c.iface=eth0,address=10.77.0.9/24", &SHORT).unwrap();
        assert_eq!(names(&network), ["eth0"]);
        return;
    }
    let Some(lan) = lan("absent", 2) else { return };
    let console = lan.enter("an_interface_that_does_not_exist");
    let line = "network    WARN eth7: no such interface in 1 s; there are: eth0, eth1\n";
    assert_eq!(console.matches(line).count(), 1, "{console}");
}

/// Nobody answers on one of two; the boot goes on with the other.
/// Promise: iface
#[test]
fn one_of_two_leases() {
    if inside() {
        let network = step("b2c.iface=eth0,dhcp b2c.iface=eth1,dhcp", &SHORT).unwrap();
        assert_eq!(names(&network), ["eth1", "eth0"]);
        return;
    }
    let Some(mut lan) = lan("one", 2) else { return };
    leases(&mut lan, &["srv1"]);
    let console = lan.enter("one_of_two_leases");
    assert!(console.contains("network    WARN no DHCP lease in "), "{console}");
}

/// A static address without a carrier is no network; a card and a cable that come late are taken.
/// Promise: iface, late-cable
#[test]
fn a_card_and_a_cable_that_come_late() {
    if inside() {
        let failure = step("b2c.iface=eth0,address=10.77.0.9/24", &SHORT).unwrap_err();
        assert_eq!(failure.what, "no carrier on eth0 in 1 s");
        assert_eq!(names(&up("b2c.iface=eth1,address=10.77.1.9/24")), ["eth1"]);
        return;
    }
    let Some(lan) = lan("late", 1) else { return };
    lan.server.ip(&["link", "set", "srv0", "down"]);
    let (server, client) = (lan.server.namespace.clone(), lan.client.clone());
    let plug = std::thread::spawn(move || {
        let start = Instant::now();
        // The first step is over when eth0 has its address.
        while !shown(&["-n", &client, "address", "show", "eth0"]).contains("10.77.0.9") {
            assert!(start.elapsed() < Duration::from_secs(30), "eth0 has no address");
            std::thread::yield_now();
        }
        ip(&["link", "add", "eth1", "netns", &client, "type", "veth", "peer", "name", "srv1", "netns", &server]);
        ip(&["-n", &server, "link", "set", "srv1", "up"]);
    });
    lan.enter("a_card_and_a_cable_that_come_late");
    plug.join().unwrap();
}

/// Promise: ip-words
#[test]
fn ip_static() {
    if inside() {
        let network = up("ip=10.77.0.9::10.77.0.1:255.255.255.0:dut-7:eth0:off:10.77.0.3 nameserver=10.77.0.4");
        assert_eq!(network.interfaces[0].addresses, [([10, 77, 0, 9].into(), 24)]);
        assert_eq!(resolv_conf(&network), "nameserver 10.77.0.4\nnameserver 10.77.0.3\n");
        assert!(answers("10.77.0.1"));
        return;
    }
    let Some(lan) = lan("ip-static", 2) else { return };
    let console = lan.enter("ip_static");
    assert!(console.contains("network    eth0 10.77.0.9/24 gw 10.77.0.1 dns 10.77.0.3\n"), "{console}");
}

/// Without a device it is the first card with a carrier.
/// Promise: ip-words
#[test]
fn ip_static_on_any_card() {
    if inside() {
        assert_eq!(names(&up("ip=10.77.1.9::10.77.1.1:255.255.255.0")), ["eth1"]);
        assert!(answers("10.77.1.1"));
        return;
    }
    let Some(lan) = lan("ip-any", 2) else { return };
    lan.server.ip(&["link", "set", "srv0", "down"]);
    lan.enter("ip_static_on_any_card");
}

/// Promise: ip-words
#[test]
fn ip_dhcp_on_one_card_and_on_all() {
    if inside() {
        assert_eq!(names(&up("ip=eth1:dhcp")), ["eth1"]);
        assert!(!shown(&["link", "show", "eth0"]).contains(",UP"));
        ip(&["address", "flush", "dev", "eth1"]);
        assert_eq!(names(&up("ip=dhcp")), ["eth1", "eth0"]);
        return;
    }
    let Some(mut lan) = lan("ip-dhcp", 2) else { return };
    leases(&mut lan, &["srv1"]);
    lan.enter("ip_dhcp_on_one_card_and_on_all");
}

/// Promise: ip-words
#[test]
fn ip_off() {
    if inside() {
        let started = Instant::now();
        assert_eq!(names(&up("ip=off")), [""; 0]);
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(!shown(&["link", "show", "eth0"]).contains(",UP"));
        let mac = std::fs::read_to_string("/sys/class/net/eth0/address").unwrap().trim_end().replace(':', "-");
        assert_eq!(host_name("dut-${mac}", &Network::default()), Ok(["dut-", &mac].concat()));
        return;
    }
    let Some(mut lan) = lan("ip-off", 1) else { return };
    leases(&mut lan, &["srv0"]);
    let console = lan.enter("ip_off");
    assert!(console.contains("network    off, as ip= says\n"), "{console}");
}

/// What the kernel has set up stays, whatever `ip=` says.
/// Promise: kernel-ip
#[test]
fn ip_that_the_kernel_has_done() {
    if inside() {
        let network = up("ip=10.77.0.9::10.77.0.1:255.255.255.0::eth0:off");
        assert_eq!(network.interfaces[0].addresses, [([10, 77, 0, 200].into(), 24)]);
        return;
    }
    let Some(lan) = lan("ip-done", 1) else { return };
    ip(&["-n", &lan.client, "link", "set", "eth0", "up"]);
    ip(&["-n", &lan.client, "address", "add", "10.77.0.200/24", "dev", "eth0"]);
    let console = lan.enter("ip_that_the_kernel_has_done");
    assert!(console.contains("network    eth0 10.77.0.200/24, by the kernel's ip=\n"), "{console}");
}
