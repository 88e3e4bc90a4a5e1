//! The network steps on a LAN with IPv6: network namespaces joined by a veth pair, with Debian's radvd, dnsmasq and
//! chronyd on the other side, or a router of this file that lies. Each test runs itself again inside the namespaces.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;
#[path = "support/netns.rs"]
mod netns;

use netns::{ip, possible, role, shown, Pair};
use ocinit::net::dns::Resolver;
use ocinit::net::http::{Client, Method, Request, Tls};
use ocinit::net::links::{self, Network};
use ocinit::net::ntp;
use ocinit::net::pure::proxy::Proxies;
use ocinit::net::step::{Limits, LIMITS};
use ocinit::net::task::Keeper;
use ocinit::report::Report;
use ocinit::sys::socket;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REPORT: Report = Report { sections: false, times: false, quiet: false, live: false };
const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1);
/// srv0's link-local address.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
const MAC: &str = "02:00:00:77:00:02";
/// What the kernel makes of the prefix and MAC.
const OWN: &str = "2001:db8:77::ff:fe77:2";

/// `eth0` of the client's namespace, joined to `srv0` (2001:db8:77::1/64, fe80::77) of the server's.
fn lan(test: &str, daemons: &[&str]) -> Option<Pair> {
    possible(daemons)?;
    if !Path::new("/proc/net/if_inet6").exists() {
        skip!("this kernel has no IPv6");
    }
    let lan = Pair::new(test);
    ip(&["-n", &lan.client, "link", "add", "eth0", "address", MAC, "type", "veth", "peer", "name", "srv0"]);
    ip(&["-n", &lan.client, "link", "set", "srv0", "netns", &lan.server.namespace]);
    // A router's own addresses are ready at once.
    lan.server.set("all/forwarding", "1");
    lan.server.set("srv0/accept_dad", "0");
    lan.server.set("srv0/addr_gen_mode", "1");
    lan.server.ip(&["link", "set", "lo", "up"]);
    lan.server.ip(&["address", "add", &format!("{SERVER}/64"), "dev", "srv0", "nodad"]);
    lan.server.ip(&["address", "add", &format!("{ROUTER}/64"), "dev", "srv0", "nodad"]);
    lan.server.ip(&["link", "set", "srv0", "up"]);
    Some(lan)
}

fn up() -> Network {
    let started = Instant::now();
    let network = links::up(&LIMITS, &REPORT).unwrap();
    eprintln!("from the first call to up: {} ms", started.elapsed().as_millis());
    network
}

fn any(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Advertisements with these lines, every three or four seconds.
fn radvd(lan: &mut Pair, lines: &str) {
    lan.server.radvd(&format!("MinRtrAdvInterval 3; MaxRtrAdvInterval 4; {lines}"));
}

const PREFIX: &str = "prefix 2001:db8:77::/64 { };";

/// IPv6 only, end to end: a name, a document over http, the time.
/// Promise: ipv6-only
#[test]
fn ipv6_only() {
    match role().as_str() {
        "client" => {
            let network = up();
            let eth0 = &network.interfaces[0];
            assert_eq!((eth0.name.as_str(), eth0.addresses.as_slice()), ("eth0", [(any(OWN), 64)].as_slice()));
            assert_eq!(eth0.gateways, [IpAddr::from(ROUTER)]);
            assert_eq!(
                (network.nameservers.as_slice(), network.search.as_slice()),
                (&[SERVER.into()][..], &["lab".to_string()][..])
            );
            assert_eq!(links::resolv_conf(&network), "search lab\nnameserver 2001:db8:77::1\n");
            let resolver = Resolver::new(&network.nameservers, &network.search);
            assert_eq!(resolver.resolve("registry"), Ok(vec![SERVER.into()]), "by the search domain");
            let answer = until_answered(|| ntp::ask("ntp.lab", &resolver));
            assert_eq!(answer.server, IpAddr::from(SERVER));
            let tls = Tls { verify: true, cert_dirs: vec![], home: String::new() };
            let client = Client::new(Arc::new(resolver), Proxies::default(), tls);
            for url in ["http://registry.lab:8080/x", "http://registry:8080/x", "http://[2001:db8:77::1]:8080/x"] {
                assert_eq!(fetch(&client, url), "hello", "{url}");
            }
            return;
        }
        "server" => return answer_http(),
        _ => {}
    }
    let Some(mut lan) = lan("only", &["radvd", "chronyd", "dnsmasq"]) else { return };
    let names = ["--local=/lab/", "--host-record=registry.lab,ntp.lab,2001:db8:77::1"];
    lan.server.dnsmasq(&names);
    lan.serve("ipv6_only");
    lan.server.chrony(&SERVER.to_string());
    radvd(&mut lan, &format!("{PREFIX} RDNSS {SERVER} {{ }}; DNSSL lab {{ }};"));
    let console = lan.enter("ipv6_only");
    let line = format!("network    eth0 {OWN}/64 gw {ROUTER} dns {SERVER}");
    assert!(console.contains(&line), "{console}");
}

/// A daemon may take a moment to open its port.
fn until_answered<T>(ask: impl Fn() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(reason) => assert!(start.elapsed() < Duration::from_secs(10), "{reason}"),
        }
    }
}

fn fetch(client: &Client, url: &str) -> String {
    let request = Request { method: Method::Get, url, headers: &[] };
    let mut response = client.send(&request).unwrap_or_else(|error| panic!("{url}: {}", error.text));
    let mut body = String::new();
    response.body.read_to_string(&mut body).unwrap();
    body
}

fn answer_http() {
    let listener = TcpListener::bind((SERVER, 8080)).unwrap();
    eprintln!("ready");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
    }
}

/// The router as name server by its link-local address.
/// Promise: ipv6-addresses
#[test]
fn a_link_local_name_server() {
    if role() == "client" {
        let network = up();
        assert_eq!(network.nameservers, [IpAddr::from(ROUTER)]);
        assert_eq!(links::resolv_conf(&network), "nameserver fe80::77%eth0\n");
        let resolver = Resolver::new(&network.nameservers, &network.search);
        assert_eq!(resolver.resolve("registry.lab"), Ok(vec![SERVER.into()]));
        let answer = until_answered(|| ntp::ask_peer("auto", &[ROUTER.into()], &Resolver::default(), false));
        assert_eq!(answer.server, IpAddr::from(ROUTER), "as time server, too");
        return;
    }
    let Some(mut lan) = lan("link-local", &["radvd", "chronyd", "dnsmasq"]) else { return };
    lan.server.chrony("::");
    lan.server.dnsmasq(&["--local=/lab/", "--host-record=registry.lab,2001:db8:77::1"]);
    radvd(&mut lan, &format!("{PREFIX} RDNSS {ROUTER} {{ }};"));
    lan.enter("a_link_local_name_server");
}

/// Promise: ipv6-addresses
#[test]
fn information_by_dhcpv6() {
    if role() == "client" {
        let network = up();
        assert_eq!(network.interfaces[0].addresses, [(any(OWN), 64)]);
        assert_eq!((network.nameservers, network.ntp), (vec![SERVER.into()], vec![SERVER.into()]));
        assert_eq!(network.search, ["lab"]);
        return;
    }
    let Some(mut lan) = lan("stateless", &["dnsmasq"]) else { return };
    lan.server.dnsmasq(&[
        "--enable-ra",
        "--dhcp-range=2001:db8:77::,ra-stateless",
        "--dhcp-option=option6:dns-server,[2001:db8:77::1]",
        "--dhcp-option=option6:ntp-server,[2001:db8:77::1]",
        "--dhcp-option=option6:domain-search,lab",
    ]);
    lan.enter("information_by_dhcpv6");
}

/// Promise: ipv6-addresses
#[test]
fn an_address_by_dhcpv6() {
    if role() == "client" {
        let network = up();
        let eth0 = &network.interfaces[0];
        assert_eq!(eth0.gateways, [IpAddr::from(ROUTER)]);
        let [(IpAddr::V6(address), 128)] = eth0.addresses[..] else { panic!("{:?}", eth0.addresses) };
        assert!((0x100..0x200).contains(&address.segments()[7]), "{address}");
        assert_eq!(network.nameservers, [IpAddr::from(SERVER)]);
        let shown = shown(&["-6", "address", "show", "eth0"]);
        let seconds = shown.split("/128").nth(1).unwrap().split("valid_lft ").nth(1).unwrap();
        let seconds: u32 = seconds.split("sec").next().unwrap().parse().unwrap();
        assert!((7000..=7200).contains(&seconds), "{shown}");
        let resolver = Resolver::new(&network.nameservers, &network.search);
        assert_eq!(resolver.resolve("registry.lab"), Ok(vec![SERVER.into()]), "by the address");
        return;
    }
    let Some(mut lan) = lan("stateful", &["dnsmasq"]) else { return };
    lan.server.dnsmasq(&[
        "--enable-ra",
        "--dhcp-range=2001:db8:77::100,2001:db8:77::1ff,64,2h",
        "--dhcp-option=option6:dns-server,[2001:db8:77::1]",
        "--local=/lab/",
        "--host-record=registry.lab,2001:db8:77::1",
    ]);
    lan.enter("an_address_by_dhcpv6");
}

/// The server ends the address with the first renewal, and gives another one (RFC 8415, section 18.2.10.1).
/// Promise: ipv6-addresses
#[test]
fn an_address_that_the_server_ends() {
    match role().as_str() {
        "client" => {
            let network = up();
            assert_eq!(network.interfaces[0].addresses, [(any("2001:db8:77::a1"), 128)]);
            let mut keeper = Keeper::new(&network, &REPORT).unwrap();
            let (started, shown) = (Instant::now(), || shown(&["-6", "address", "show", "eth0"]));
            while !shown().contains("2001:db8:77::a2/128") {
                keeper.step(1_000).unwrap();
                assert!(started.elapsed() < Duration::from_secs(30), "{}", shown());
            }
            assert!(!shown().contains("2001:db8:77::a1/128"), "{}", shown());
            return;
        }
        "server" => return serve_dhcpv6(),
        _ => {}
    }
    let Some(mut lan) = lan("ended", &["radvd"]) else { return };
    lan.serve("an_address_that_the_server_ends");
    radvd(&mut lan, &format!("AdvManagedFlag on; RDNSS {SERVER} {{ }};"));
    lan.enter("an_address_that_the_server_ends");
}

/// Gives one address, and another for it with each renewal, which is due after ten seconds.
fn serve_dhcpv6() {
    const ALL: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 547)).unwrap();
    socket.join_multicast_v6(&ALL, srv0()).unwrap();
    eprintln!("ready");
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let message = &buffer[..length];
        let value = |wanted: u8| {
            let mut options = &message[4..];
            while options[1] != wanted {
                options = &options[4 + usize::from(options[3])..];
            }
            options[4..4 + usize::from(options[3])].to_vec()
        };
        let leased = |last: u16, seconds: u32| {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, last);
            [&[0, 5, 0, 24][..], &address.octets(), &seconds.to_be_bytes(), &seconds.to_be_bytes()].concat()
        };
        let (client, mut association) = (value(1), value(3)[..4].to_vec());
        association.extend([[0, 0, 0, 10], [0, 0, 0, 60]].concat());
        match message[0] {
            1 => association.extend(leased(0xa1, 600)),
            5 => association.extend([leased(0xa1, 0), leased(0xa2, 600)].concat()),
            _ => continue,
        }
        let mut reply = [&[7], &message[1..4], &[0, 14, 0, 0, 0, 2, 0, 4, 0, 3, 0, 1]].concat();
        for (code, value) in [(1, client), (3, association)] {
            reply.extend([0, code, 0, value.len() as u8]);
            reply.extend(value);
        }
        socket.send_to(&reply, from).unwrap();
    }
}

/// Promise: ipv4-at-once
#[test]
fn both_families() {
    if role() == "client" {
        // The check for duplicates takes eight seconds then, and no lease waits for it.
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/dad_transmits", "8").unwrap();
        let started = Instant::now();
        let network = up();
        let usable = || shown(&["-6", "address", "show", "eth0", "scope", "global", "-tentative"]);
        assert!(!usable().contains(OWN), "{}", usable());
        assert_eq!(network.nameservers[0], any("10.77.0.1"), "{:?}", network.nameservers);
        assert!(network.interfaces[0].addresses[0].0.is_ipv4());
        // The kernel goes on.
        while !usable().contains(OWN) {
            assert!(started.elapsed() < Duration::from_secs(60), "{}", shown(&["-6", "address"]));
        }
        return;
    }
    let Some(mut lan) = lan("both", &["radvd", "dnsmasq"]) else { return };
    lan.server.ip(&["address", "add", "10.77.0.1/24", "dev", "srv0"]);
    radvd(&mut lan, &format!("{PREFIX} RDNSS {SERVER} {{ }};"));
    lan.server.dnsmasq(&["--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h"]);
    lan.enter("both_families");
}

/// Promise: ipv6-addresses
#[test]
fn an_address_that_another_machine_has() {
    if role() == "client" {
        let failure = links::up(&Limits { lease_ms: 5_000, ..LIMITS }, &REPORT).unwrap_err();
        assert!(failure.what.contains("no DHCP lease in 5 s; eth0: discovers sent: "), "{}", failure.what);
        assert!(failure.what.contains("IPv6 router fe80::77"), "{}", failure.what);
        return;
    }
    let Some(mut lan) = lan("duplicate", &["radvd"]) else { return };
    lan.server.ip(&["address", "add", &format!("{OWN}/64"), "dev", "srv0", "nodad"]);
    radvd(&mut lan, PREFIX);
    let console = lan.enter("an_address_that_another_machine_has");
    let told = format!("WARN eth0: another machine has the address {OWN}");
    assert_eq!(console.matches(&told).count(), 1, "{console}");
}

/// A router that answers each solicitation with advertisements that are to be ignored, and a good one at last.
/// Input: router-advertisement
#[test]
fn advertisements_that_lie() {
    match role().as_str() {
        "client" => {
            let network = up();
            assert_eq!(network.interfaces[0].addresses, [(any(OWN), 64)]);
            assert_eq!(network.nameservers.len(), 8, "{:?}", network.nameservers);
            assert!(network.nameservers.contains(&SERVER.into()), "{:?}", network.nameservers);
            assert!(!network.nameservers.contains(&any("2001:db8:bad::1")), "{:?}", network.nameservers);
            assert_eq!(network.search, ["lab"]);
            return;
        }
        "server" => return lie(),
        _ => {}
    }
    let Some(mut lan) = lan("lies", &[]) else { return };
    lan.serve("advertisements_that_lie");
    lan.enter("advertisements_that_lie");
}

fn lie() {
    let fd = socket::packets(socket::IPV6).unwrap();
    let index = srv0();
    eprintln!("ready");
    let mut buffer = [0; 2048];
    loop {
        socket::poll_readable([fd.as_fd()], 60_000).unwrap();
        while let Ok((length, _)) = socket::packet_receive(fd.as_fd(), &mut buffer) {
            if length > 40 && buffer[40] == 133 {
                for packet in lies() {
                    socket::packet_send(fd.as_fd(), socket::IPV6, index, [0x33, 0x33, 0, 0, 0, 1], &packet).unwrap();
                }
            }
        }
    }
}

/// The number of this namespace's srv0.
fn srv0() -> u32 {
    let index = std::fs::read_to_string("/sys/class/net/srv0/ifindex").ok().and_then(|text| text.trim().parse().ok());
    // /sys shows the namespace of whoever mounted it.
    index.unwrap_or_else(|| shown(&["-o", "link", "show", "srv0"]).split(':').next().unwrap().parse().unwrap())
}

fn lies() -> Vec<Vec<u8>> {
    let bad = rdnss(600, &["2001:db8:bad::1".parse().unwrap()]);
    let good_prefix = prefix(64, 0xc0, 600, [0x2001, 0xdb8, 0x77, 0]);
    let many: Vec<Ipv6Addr> = (1..=70).map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0x77, 1, 0, 0, 0, host)).collect();
    let prefixes: Vec<u8> = (0..30).flat_map(|net| prefix(127, 0xc0, 600, [0x2001, 0xdb8, 0xbad, net])).collect();
    let dnssl = [&[31, 2, 0, 0, 0, 0, 2, 88][..], b"\x03lab\x00\x00\x00\x00"].concat();
    vec![
        advertisement(64, ROUTER, 600, &bad),
        advertisement(255, "2001:db8:77::1".parse().unwrap(), 600, &bad),
        advertisement(255, ROUTER, 600, &[&bad[..], &[25, 0, 0, 0, 0, 0, 0, 0]].concat()),
        advertisement(255, ROUTER, 600, &[&bad[..], &[25, 9, 0, 0]].concat()),
        advertisement(255, ROUTER, 0, &[]),
        advertisement(255, ROUTER, 0, &prefixes),
        advertisement(255, ROUTER, 0, &prefix(64, 0xc0, 0, [0x2001, 0xdb8, 0xbad, 0])),
        advertisement(255, ROUTER, 600, &[good_prefix, rdnss(600, &[SERVER]), dnssl].concat()),
        advertisement(255, ROUTER, 600, &rdnss(600, &many)),
    ]
}

fn rdnss(lifetime_s: u32, servers: &[Ipv6Addr]) -> Vec<u8> {
    let mut option = vec![25, 1 + 2 * servers.len() as u8, 0, 0];
    option.extend(lifetime_s.to_be_bytes());
    servers.iter().for_each(|server| option.extend(server.octets()));
    option
}

fn prefix(length: u8, flags: u8, lifetime_s: u32, net: [u16; 4]) -> Vec<u8> {
    let mut option = vec![3, 4, length, flags];
    option.extend([lifetime_s.to_be_bytes(), lifetime_s.to_be_bytes(), [0; 4]].as_flattened());
    let [a, b, c, d] = net;
    option.extend(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).octets());
    option
}

/// The whole packet, with the right checksum.
fn advertisement(hop_limit: u8, source: Ipv6Addr, lifetime_s: u16, options: &[u8]) -> Vec<u8> {
    let mut icmp = vec![134, 0, 0, 0, 64, 0];
    icmp.extend(lifetime_s.to_be_bytes());
    icmp.extend([0; 8]);
    icmp.extend(options);
    let destination = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let summed =
        [&source.octets()[..], &destination.octets(), &[0, 58], &(icmp.len() as u16).to_be_bytes(), &icmp].concat();
    let words = summed.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
    let sum: u64 = words.sum();
    let check = !((sum % 0xffff) as u16);
    icmp[2..4].copy_from_slice(&check.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((icmp.len() as u16).to_be_bytes());
    packet.extend([58, hop_limit]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(icmp);
    packet
}
