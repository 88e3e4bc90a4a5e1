//! The network steps on a real LAN: network namespaces joined by veth pairs, with Debian's dnsmasq and chronyd on the
//! other side. Each test runs itself again inside the client's namespace, where it checks what came of the step.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;
#[path = "support/netns.rs"]
mod netns;

use netns::{inside, ip, possible, shown, Pair};
use ocinit::net::dns::Resolver;
use ocinit::net::step::{Limits, LIMITS};
use ocinit::net::task::Keeper;
use ocinit::net::{links, ntp};
use ocinit::report::Report;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

const REPORT: Report = Report { sections: false, times: false, quiet: false, live: false };
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));

/// `eth0` of the client's namespace, joined to `srv0` (10.77.0.1/24) of the server's.
fn lan(test: &str) -> Option<Pair> {
    possible(&["dnsmasq"])?;
    let lan = Pair::new(test);
    lan.join("eth0", "srv0");
    lan.server.ip(&["link", "set", "lo", "up"]);
    lan.server.ip(&["address", "add", "10.77.0.1/24", "dev", "srv0"]);
    Some(lan)
}

/// Promise: dhcp-lease
#[test]
fn lease() {
    if inside() {
        let started = Instant::now();
        let network = links::up(&LIMITS, &REPORT).unwrap();
        eprintln!("from the first call to bound: {} us", started.elapsed().as_micros());
        let eth0 = &network.interfaces[0];
        assert_eq!((eth0.name.as_str(), eth0.gateways.as_slice()), ("eth0", [SERVER].as_slice()));
        let (address, prefix) = eth0.addresses[0];
        let IpAddr::V4(own) = address else { panic!("{address}") };
        assert!((50..60).contains(&own.octets()[3]) && prefix == 24, "{address}/{prefix}");
        assert_eq!(network.nameservers, [SERVER]);
        assert_eq!(network.ntp, [SERVER]);
        assert_eq!(network.search, ["lab"]);
        assert_eq!(links::resolv_conf(&network), "search lab\nnameserver 10.77.0.1\n");
        let lease = eth0.lease.as_ref().unwrap();
        assert_eq!((lease.lease_s, IpAddr::from(lease.server)), (7200, SERVER));
        assert!(shown(&["-4", "address", "show", "eth0"]).contains(&format!("inet {address}/24 brd 10.77.0.255")));
        assert!(shown(&["link", "show", "eth0"]).contains("mtu 1400"));
        assert!(shown(&["-4", "address", "show", "lo"]).contains("inet 127.0.0.1/8"));
        let routes = shown(&["-4", "route"]);
        assert!(routes.contains(&format!("default via 10.77.0.1 dev eth0 proto dhcp src {address}")), "{routes}");
        return;
    }
    let Some(mut lan) = lan("lease") else { return };
    lan.server.dnsmasq(&[
        "--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h",
        "--dhcp-option=option:mtu,1400",
        "--dhcp-option=option:ntp-server,10.77.0.1",
        "--domain=lab",
        &format!("--dhcp-host={},dut-7", mac_of(&lan)),
    ]);
    let console = lan.enter("lease");
    let line = console.lines().find(|line| line.starts_with("network    eth0 10.77.0.5")).expect("no network line");
    // How many tries it takes is a matter of when the queues begin to run.
    assert!(line.contains("/24 gw 10.77.0.1 dns 10.77.0.1, lease 7200 s, "), "{line}");
}

fn mac_of(lan: &Pair) -> String {
    let shown = shown(&["-n", &lan.client, "link", "show", "eth0"]);
    shown.split("link/ether ").nth(1).unwrap()[..17].to_string()
}

/// Linux answers for an address by each card: the second one's answer to our own probe is no other station's.
/// Promise: address-in-use
#[test]
fn two_cards_on_one_lan() {
    if inside() {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let own = network.interfaces[0].addresses[0].0;
        let mut keeper = Keeper::new(&network, &REPORT).unwrap();
        let started = Instant::now();
        // The second probe is sent after a second, and its answers count for another one.
        while started.elapsed() < Duration::from_millis(2_500) {
            keeper.step(500).unwrap();
            assert_eq!(keeper.message(), None);
        }
        assert!(shown(&["-4", "address"]).contains(&format!("inet {own}/24")));
        return;
    }
    let Some(()) = possible(&["dnsmasq"]) else { return };
    let mut lan = Pair::new("two_cards");
    lan.server.ip(&["link", "add", "srv0", "type", "bridge"]);
    lan.server.ip(&["address", "add", "10.77.0.1/24", "dev", "srv0"]);
    lan.server.ip(&["link", "set", "srv0", "up"]);
    for (near, far) in [("eth0", "far0"), ("eth1", "far1")] {
        lan.join(near, far);
        lan.server.ip(&["link", "set", far, "master", "srv0"]);
    }
    lan.server.dnsmasq(&["--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h"]);
    let console = lan.enter("two_cards_on_one_lan");
    assert!(!console.contains("in use"), "{console}");
}

/// Clouds lease /32 with a gateway outside of it, said to be on the link by option 121.
/// Promise: dhcp-lease
#[test]
fn classless_routes() {
    if inside() {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let eth0 = &network.interfaces[0];
        let (address, prefix) = eth0.addresses[0];
        assert_eq!((prefix, eth0.gateways.as_slice()), (32, [SERVER].as_slice()), "not the gateway of option 3");
        let routes = shown(&["-4", "route"]);
        for route in [
            format!("default via 10.77.0.1 dev eth0 proto dhcp src {address} onlink"),
            format!("10.77.0.1 dev eth0 proto dhcp scope link src {address}"),
            format!("192.168.7.0/24 via 10.77.0.1 dev eth0 proto dhcp src {address} onlink"),
        ] {
            assert!(routes.contains(&route), "{route}\n{routes}");
        }
        // The server is reached by them: it answers.
        let resolver = Resolver::new(&[SERVER], &[]);
        assert_eq!(resolver.resolve("registry.lab"), Ok(vec![IpAddr::from([10, 77, 0, 9])]));
        return;
    }
    let Some(mut lan) = lan("classless_routes") else { return };
    lan.server.dnsmasq(&[
        "--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h",
        "--dhcp-option=option:netmask,255.255.255.255",
        "--dhcp-option=option:router,10.77.0.77",
        "--dhcp-option=121,0.0.0.0/0,10.77.0.1,10.77.0.1/32,0.0.0.0,192.168.7.0/24,10.77.0.1",
        "--address=/registry.lab/10.77.0.9",
    ]);
    lan.enter("classless_routes");
}

/// Promise: dhcp-lease
#[test]
fn names() {
    if inside() {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let resolver = Resolver::new(&network.nameservers, &network.search);
        assert_eq!(resolver.resolve("registry.lab"), Ok(vec![IpAddr::from([10, 77, 0, 9])]));
        assert_eq!(resolver.resolve("registry"), Ok(vec![IpAddr::from([10, 77, 0, 9])]), "by the search domain");
        assert_eq!(resolver.resolve("www.lab"), Ok(vec![IpAddr::from([10, 77, 0, 9])]), "by an alias");
        let absent = resolver.resolve("absent.lab").unwrap_err();
        assert_eq!(absent.text, "absent.lab: no such host name (asked 10.77.0.1)");
        // Sixty addresses are over 512 bytes: dnsmasq truncates, and TCP brings them.
        let many = resolver.resolve("many.lab").unwrap();
        assert_eq!(many.len(), 16, "the first sixteen");
        return;
    }
    let Some(mut lan) = lan("names") else { return };
    let hosts: String = (1..=60).map(|host| format!("10.78.0.{host} many.lab\n")).collect();
    std::fs::write(lan.server.file("hosts"), hosts + "10.77.0.9 registry.lab\n").unwrap();
    let hosts = format!("--addn-hosts={}", lan.server.file("hosts"));
    lan.server.dnsmasq(&[
        "--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h",
        "--domain=lab",
        "--local=/lab/",
        "--cname=www.lab,registry.lab",
        &hosts,
    ]);
    lan.enter("names");
}

/// A name server that answers nothing beside a real one, two search domains, and nobody but the silent one.
/// Promise: name-servers-in-turn, search-list, names-are-kept
#[test]
fn name_servers() {
    if inside() {
        links::up(&LIMITS, &REPORT).unwrap();
        let silent: IpAddr = [127, 0, 0, 53].into();
        let socket = UdpSocket::bind((silent, 53)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let asked = || {
            let mut buffer = [0; 512];
            std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
        };
        let search = ["rack.lab".to_string(), "lab".to_string()];
        let resolver = Resolver::new(&[silent, SERVER], &search);
        let registry = Ok(vec![IpAddr::from([10, 77, 0, 9])]);
        assert_eq!(resolver.resolve("registry.lab"), registry);
        assert_eq!(asked(), 1, "once");
        assert_eq!(resolver.resolve("registry"), registry, "in the second domain");
        assert_eq!(resolver.resolve("db.rack"), Ok(vec![IpAddr::from([10, 77, 0, 8])]), "with a dot, in the second");
        assert_eq!(resolver.resolve("db.rack.lab"), Ok(vec![IpAddr::from([10, 77, 0, 8])]));
        assert_eq!(resolver.resolve("absent").unwrap_err().text, "absent: no such host name (asked 10.77.0.1)");
        assert_eq!(asked(), 0, "never again");
        // The lease has changed.
        resolver.replace(&[silent], &[]);
        let error = resolver.resolve("registry.lab").unwrap_err();
        assert_eq!(error.text, "registry.lab: 127.0.0.53: no answer in 12 s");
        assert_eq!(asked(), 14);
        return;
    }
    let Some(mut lan) = lan("name_servers") else { return };
    std::fs::write(lan.server.file("hosts"), "10.77.0.9 registry.lab\n10.77.0.8 db.rack.lab\n").unwrap();
    let hosts = format!("--addn-hosts={}", lan.server.file("hosts"));
    // dnsmasq refuses what it neither knows nor may ask others for: these domains are its own.
    let own = ["--local=/lab/", "--local=/rack/", "--local=/absent/", "--local=/registry/"];
    lan.server.dnsmasq(&[&["--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h", hosts.as_str()][..], &own].concat());
    lan.enter("name_servers");
}

/// Promise: no-network
#[test]
fn no_carrier() {
    if inside() {
        let failure = links::up(&Limits { lease_ms: 30_000, carrier_ms: 1_000, ..LIMITS }, &REPORT).unwrap_err();
        assert_eq!((failure.step, failure.what.as_str()), ("network", "no carrier on eth0 in 1 s"));
        assert!(failure.hint.is_some());
        return;
    }
    let Some(lan) = lan("no_carrier") else { return };
    lan.server.ip(&["link", "set", "srv0", "down"]);
    lan.enter("no_carrier");
}

/// Promise: no-network
#[test]
fn no_interface() {
    if inside() {
        let failure = links::up(&Limits { lease_ms: 30_000, carrier_ms: 0, ..LIMITS }, &REPORT).unwrap_err();
        assert_eq!(failure.what, "no wired network interface in 0 s");
        return;
    }
    let Some(lan) = lan("no_interface") else { return };
    lan.server.ip(&["link", "delete", "srv0"]);
    // Ethernet, but nobody's cable: none of these is asked for a lease.
    for kind in ["bridge", "dummy", "bond"] {
        // A kernel without the kind has nothing to leave out.
        let _ = Command::new("ip").args(["-n", &lan.client, "link", "add", kind, "type", kind]).output();
    }
    lan.enter("no_interface");
}

/// Promise: no-network
#[test]
fn no_server() {
    if inside() {
        let failure = links::up(&Limits { lease_ms: 6_000, carrier_ms: 1_000, ..LIMITS }, &REPORT).unwrap_err();
        // At 0, 1 and 3 s, an eighth up or down; the next is due at 7 s.
        assert_eq!(failure.what, "no DHCP lease in 6 s; eth0: discovers sent: 3, offers: 0");
        return;
    }
    let Some(lan) = lan("no_server") else { return };
    let console = lan.enter("no_server");
    assert!(console.contains("network    no lease yet; eth0: discovers sent: "), "{console}");
}

/// The cable comes after the boot began, on the second of two interfaces.
/// Promise: late-cable
#[test]
fn late_carrier() {
    if inside() {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let names: Vec<&str> = network.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(names, ["eth1", "eth0"], "the one with the address comes first");
        assert_eq!(network.interfaces[1].addresses, []);
        return;
    }
    let Some(mut lan) = lan("late_carrier") else { return };
    lan.server.ip(&["link", "set", "srv0", "down"]);
    lan.join("eth1", "srv1");
    lan.server.ip(&["address", "add", "10.78.0.1/24", "dev", "srv1"]);
    lan.server.dnsmasq(&["--dhcp-range=10.78.0.50,10.78.0.59,255.255.255.0,infinite", "--interface=srv1"]);
    let (server, client) = (lan.server.namespace.clone(), lan.client.clone());
    let plug = std::thread::spawn(move || {
        // Plugs in when the other side has raised its end and waits for a carrier.
        let start = Instant::now();
        while !shown(&["-n", &client, "link", "show", "eth1"]).contains(",UP") {
            assert!(start.elapsed() < Duration::from_secs(20), "eth1 was never raised");
            std::thread::yield_now();
        }
        ip(&["-n", &server, "link", "set", "srv1", "up"]);
    });
    let console = lan.enter("late_carrier");
    plug.join().unwrap();
    assert!(console.contains("/24 gw 10.78.0.1 dns 10.78.0.1, lease for ever, "), "{console}");
    assert!(console.contains("network    eth0 up without address: no carrier\n"), "{console}");
}

/// An address from the kernel's own `ip=` is used, and nobody is asked for another.
/// Promise: kernel-ip
#[test]
fn set_up_by_the_kernel() {
    if inside() {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let eth0 = &network.interfaces[0];
        assert_eq!(eth0.addresses, [([10, 77, 0, 200].into(), 24)]);
        assert_eq!(eth0.gateways, [SERVER]);
        assert!(eth0.lease.is_none());
        let others: Vec<&str> = network.interfaces[1..].iter().map(|other| other.name.as_str()).collect();
        assert_eq!(others, ["bbb0", "aaa0"], "those without an address come after, whatever their index");
        return;
    }
    let Some(lan) = lan("set_up_by_the_kernel") else { return };
    ip(&["-n", &lan.client, "link", "add", "aaa0", "type", "veth", "peer", "name", "bbb0"]);
    ip(&["-n", &lan.client, "link", "set", "eth0", "up"]);
    ip(&["-n", &lan.client, "address", "add", "10.77.0.200/24", "dev", "eth0"]);
    ip(&["-n", &lan.client, "route", "add", "default", "via", "10.77.0.1"]);
    let console = lan.enter("set_up_by_the_kernel");
    assert!(console.contains("network    eth0 10.77.0.200/24 gw 10.77.0.1, by the kernel's ip=\n"), "{console}");
}

/// chronyd's time is this machine's own (a namespace has no clock of its own): the answer must agree with it.
/// Promise: clock, lease-time-servers
#[test]
fn time() {
    if inside() {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        assert_eq!(network.ntp, [SERVER]);
        let start = Instant::now();
        // It may take a moment to open its port: refused at once until then.
        let answer = loop {
            match ntp::ask("ntp.lab", &Resolver::new(&[SERVER], &[])) {
                Ok(answer) => break answer,
                Err(reason) => assert!(start.elapsed() < Duration::from_secs(10), "{reason}"),
            }
        };
        let own = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let off_ms =
            answer.now().seconds * 1000 + i64::from(answer.now().nanoseconds / 1_000_000) - own.as_millis() as i64;
        eprintln!("off by {off_ms} ms");
        assert!(off_ms.abs() < 500, "{off_ms} ms");
        // By the lease, and with several samples as while containers run.
        let resolver = Resolver::new(&[], &[]);
        for thorough in [false, true] {
            let answer = ntp::ask_peer("auto", &network.ntp, &resolver, thorough).unwrap();
            assert_eq!((answer.server, answer.warning), (SERVER, None));
        }
        let elsewhere = ntp::ask_peer("auto", &[[10, 77, 0, 1].into()], &resolver, false).unwrap();
        assert_eq!(elsewhere.server, SERVER);
        assert_eq!(ntp::ask_peer("auto", &[], &resolver, false).unwrap_err(), "pool.ntp.org: no nameserver is known");
        return;
    }
    let Some(()) = possible(&["chronyd"]) else { return };
    let Some(mut lan) = lan("time") else { return };
    lan.server.dnsmasq(&[
        "--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h",
        "--dhcp-option=option:ntp-server,10.77.0.1",
        "--address=/ntp.lab/10.77.0.1",
    ]);
    lan.server.chrony("10.77.0.1");
    lan.enter("time");
}
