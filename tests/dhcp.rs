//! DHCP against a scripted server on a LAN of two network namespaces: what servers leave out, say oddly, or take back.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;
#[path = "support/netns.rs"]
mod netns;

use netns::{ip, possible, shown, within, Pair};
use ocinit::boot::pure::cmdline;
use ocinit::boot::pure::options::Config;
use ocinit::net::ifaces;
use ocinit::net::links::{self, Network};
use ocinit::net::pure::dhcp::frame;
use ocinit::net::step::{Limits, LIMITS};
use ocinit::net::task::Keeper;
use ocinit::report::Report;
use ocinit::sys::io::{poll, Poll};
use ocinit::sys::socket;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const REPORT: Report = Report { sections: false, times: false, quiet: false, live: false };
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 51);
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;
const LIMIT: Duration = Duration::from_secs(30);

/// Two namespaces, joined by a cable, and scripted servers in one.
struct Lan {
    pair: Pair,
    stop: Arc<AtomicBool>,
    servers: Vec<JoinHandle<()>>,
}

/// A message of the client, as the script sees it.
struct Message {
    interface: String,
    kind: u8,
    /// How many of this kind came before.
    before: usize,
    ciaddr: Ipv4Addr,
}

/// An answer of the script.
struct Answer {
    kind: u8,
    from: Ipv4Addr,
    yiaddr: Ipv4Addr,
    options: Vec<(u8, Vec<u8>)>,
    /// In a frame with a VLAN tag of number 0.
    tagged: bool,
}

fn answer(kind: u8, yiaddr: Ipv4Addr, lease_s: u32) -> Answer {
    let server = SERVER.octets().to_vec();
    let lease = lease_s.to_be_bytes().to_vec();
    let options =
        vec![(54, server.clone()), (51, lease), (1, vec![255, 255, 255, 0]), (3, server.clone()), (6, server)];
    Answer { kind, from: SERVER, yiaddr, options, tagged: false }
}

/// Offers and acknowledges what `address` says.
fn usual(message: &Message, address: Ipv4Addr) -> Vec<Answer> {
    match message.kind {
        DISCOVER => vec![answer(OFFER, address, 600)],
        REQUEST => vec![answer(ACK, address, 600)],
        _ => vec![],
    }
}

impl Lan {
    /// None where it cannot be made.
    fn new(test: &str) -> Option<Lan> {
        possible(&[])?;
        let pair = Pair::new(test);
        pair.join("eth0", "srv0");
        pair.server.ip(&["address", "add", "10.77.0.1/24", "dev", "srv0"]);
        Some(Lan { pair, stop: Arc::default(), servers: vec![] })
    }

    /// Answers what comes to any interface of the server's namespace by `script`, until the test ends.
    fn serve(&mut self, script: impl Fn(&Message) -> Vec<Answer> + Send + 'static) {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let stop = self.stop.clone();
        self.servers.push(within(&self.pair.server.namespace, move || {
            let packets = socket::packets(socket::IPV4).unwrap();
            ready.send(()).unwrap();
            let mut counts = [0; 256];
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                poll(&[Poll { fd: packets.as_fd(), write: false }], 50).unwrap();
                while let Ok((length, index)) = socket::packet_receive(packets.as_fd(), &mut buffer) {
                    let packet = &buffer[..length];
                    if length < 28 + 243 || packet[9] != 17 || packet[22..24] != [0, 67] {
                        continue;
                    }
                    let payload = packet[28..].to_vec();
                    let kind = payload[242];
                    let ciaddr = Ipv4Addr::from(<[u8; 4]>::try_from(&payload[12..16]).unwrap());
                    let interface = name_of(index);
                    let before = counts[usize::from(kind)];
                    counts[usize::from(kind)] += 1;
                    for answer in script(&Message { interface, kind, before, ciaddr }) {
                        send(packets.as_fd(), index, &payload, &answer);
                    }
                }
            }
        }));
        is_ready.recv().unwrap();
    }

    /// Runs `work` in the client's namespace.
    fn client<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        within(&self.pair.client, work).join().unwrap()
    }

    fn shown(&self, args: &[&str]) -> String {
        shown(&[&["-n", &self.pair.client], args].concat())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for server in self.servers.drain(..) {
            // What it panicked about is on the console.
            let _ = server.join();
        }
    }
}

/// The interface's name in this thread's namespace.
fn name_of(index: u32) -> String {
    let mut kernel = ocinit::net::rtnetlink::Kernel::open().unwrap();
    kernel.links().unwrap().into_iter().find(|link| link.index == index).map(|link| link.name).unwrap_or_default()
}

fn send(fd: std::os::fd::BorrowedFd<'_>, index: u32, request: &[u8], answer: &Answer) {
    let mut payload = vec![2, 1, 6, 0];
    payload.extend(&request[4..8]);
    payload.resize(16, 0);
    payload.extend(answer.yiaddr.octets());
    payload.resize(28, 0);
    payload.extend(&request[28..34]);
    payload.resize(236, 0);
    payload.extend([99, 130, 83, 99, 53, 1, answer.kind]);
    for (code, value) in &answer.options {
        payload.extend([*code, value.len() as u8]);
        payload.extend(value);
    }
    payload.push(255);
    let mut packet = frame::emit(answer.from, Ipv4Addr::BROADCAST, &payload);
    // From the server's port to the client's; the sums stay right.
    packet[20..24].rotate_left(2);
    let (kind, packet) = match answer.tagged {
        true => (0x8100, [&[0, 0, 8, 0][..], &packet].concat()),
        false => (socket::IPV4, packet),
    };
    // The link may be gone at the test's end.
    let _ = socket::packet_send(fd, kind, index, [0xff; 6], &packet);
}

fn address(network: &Network) -> (String, IpAddr) {
    (network.interfaces[0].name.clone(), network.interfaces[0].addresses[0].0)
}

/// Lets the keeper work until it has something for the boot.
fn message(keeper: &mut Keeper) -> String {
    let start = Instant::now();
    loop {
        keeper.step(1_000).unwrap();
        if let Some(message) = keeper.message() {
            return message;
        }
        assert!(start.elapsed() < LIMIT, "nothing has changed");
    }
}

/// Promise: odd-dhcp-servers
#[test]
fn a_server_without_option_54_and_with_a_vlan_tag_of_0() {
    let Some(mut lan) = Lan::new("no54") else { return };
    lan.serve(|message| {
        let mut answers = usual(message, FIRST);
        for answer in &mut answers {
            answer.options.remove(0);
            answer.tagged = true;
        }
        answers
    });
    let network = lan.client(|| links::up(&LIMITS, &REPORT).unwrap());
    assert_eq!(address(&network), ("eth0".into(), FIRST.into()));
    assert_eq!(network.interfaces[0].lease.as_ref().unwrap().server, SERVER, "the packets' source");
    let shown = lan.shown(&["-4", "address", "show", "eth0"]);
    assert!(shown.contains("valid_lft 600sec") || shown.contains("valid_lft 59"), "{shown}");
}

/// Promise: odd-dhcp-servers
#[test]
fn a_server_that_never_acknowledges_beside_a_good_one() {
    const BAD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    let Some(mut lan) = Lan::new("noack") else { return };
    lan.serve(|message| match message.kind {
        DISCOVER => {
            let mut bad = answer(OFFER, Ipv4Addr::new(10, 77, 0, 99), 600);
            (bad.from, bad.options[0].1) = (BAD, BAD.octets().to_vec());
            vec![bad, answer(OFFER, FIRST, 600)]
        }
        // The second REQUEST for the bad one's offer is not answered either.
        REQUEST if message.before >= 2 => vec![answer(ACK, FIRST, 600)],
        _ => vec![],
    });
    let start = Instant::now();
    let network = lan.client(|| links::up(&LIMITS, &REPORT).unwrap());
    assert_eq!(address(&network).1, IpAddr::from(FIRST));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// Promise: better-lease
#[test]
fn a_bmc_that_answers_first_does_not_win_over_the_lab() {
    const BMC: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 18);
    let Some(mut lan) = Lan::new("bmc") else { return };
    lan.pair.join("usb0", "bmc0");
    lan.serve(|message| match message.interface.as_str() {
        "bmc0" => {
            let mut answers = usual(message, Ipv4Addr::new(169, 254, 0, 17));
            for answer in &mut answers {
                (answer.from, answer.options[0].1) = (BMC, BMC.octets().to_vec());
            }
            answers
        }
        // The lab's switch begins to forward late: six messages are the BMC's alone, or lost.
        _ if message.before >= 4 => usual(message, FIRST),
        _ if message.kind == REQUEST => usual(message, FIRST),
        _ => vec![],
    });
    let network = lan.client(|| links::up(&LIMITS, &REPORT).unwrap());
    assert_eq!(address(&network), ("eth0".into(), FIRST.into()));
    assert!(!lan.shown(&["-4", "address", "show", "usb0"]).contains("169.254"));
}

/// Promise: address-in-use
#[test]
fn an_address_in_use_is_declined_and_another_one_taken() {
    let Some(mut lan) = Lan::new("inuse") else { return };
    lan.pair.server.ip(&["address", "add", "10.77.0.50/24", "dev", "srv0"]);
    let declined = Arc::new(AtomicBool::new(false));
    let (seen, told) = (declined.clone(), declined.clone());
    lan.serve(move |message| {
        seen.fetch_or(message.kind == DECLINE, Ordering::Relaxed);
        usual(message, if seen.load(Ordering::Relaxed) { SECOND } else { FIRST })
    });
    let network = lan.client(|| links::up(&LIMITS, &REPORT).unwrap());
    assert_eq!(address(&network).1, IpAddr::from(SECOND));
    assert!(told.load(Ordering::Relaxed));
}

/// The server's first answer to a renewal has another address, router and name server.
/// Promise: renewals, lease-changes
#[test]
fn a_short_lease_is_renewed_and_its_change_applied() {
    const ROUTER: [u8; 4] = [10, 77, 0, 7];
    let Some(mut lan) = Lan::new("renew") else { return };
    lan.serve(|message| {
        let mut answer = match message.kind {
            DISCOVER => answer(OFFER, FIRST, 10),
            REQUEST if message.ciaddr.is_unspecified() => answer(ACK, FIRST, 10),
            REQUEST => answer(ACK, SECOND, 10),
            _ => return vec![],
        };
        if message.ciaddr == FIRST {
            answer.options[3].1 = ROUTER.to_vec();
            answer.options[4].1 = ROUTER.to_vec();
            answer.options.push((15, b"lab example.org".to_vec()));
        }
        vec![answer]
    });
    let told = lan.client(|| {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let mut keeper = Keeper::new(&network, &REPORT).unwrap();
        message(&mut keeper)
    });
    let servers = "nameserver 10.77.0.7\ndomain lab\ndomain example.org\n";
    assert!(told.contains(&["10.77.0.51 10.77.0.1\n", servers].concat()), "{told}");
    let shown = lan.shown(&["-4", "address", "show", "eth0"]);
    assert!(shown.contains("10.77.0.51/24") && !shown.contains("10.77.0.50/24"), "{shown}");
    let routes = lan.shown(&["-4", "route"]);
    assert!(routes.contains("default via 10.77.0.7 dev eth0") && !routes.contains("via 10.77.0.1 "), "{routes}");
}

/// Promise: renewals
#[test]
fn a_refused_renewal_gives_the_address_up_and_asks_anew() {
    let Some(mut lan) = Lan::new("nak") else { return };
    lan.serve(|message| match (message.kind, message.ciaddr.is_unspecified(), message.before) {
        (DISCOVER, _, 0) => vec![answer(OFFER, FIRST, 10)],
        (DISCOVER, ..) => vec![answer(OFFER, SECOND, 600)],
        (REQUEST, true, 0) => vec![answer(ACK, FIRST, 10)],
        (REQUEST, true, _) => vec![answer(ACK, SECOND, 600)],
        (REQUEST, false, _) => vec![Answer { options: vec![(54, SERVER.octets().to_vec())], ..answer(NAK, FIRST, 0) }],
        _ => vec![],
    });
    let (lost, found) = lan.client(|| {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let mut keeper = Keeper::new(&network, &REPORT).unwrap();
        (message(&mut keeper), message(&mut keeper))
    });
    assert!(!lost.contains("lease "), "{lost}");
    assert!(found.contains("10.77.0.51 10.77.0.1\n"), "{found}");
    let shown = lan.shown(&["-4", "address", "show", "eth0"]);
    assert!(shown.contains("10.77.0.51/24") && !shown.contains("10.77.0.50/24"), "{shown}");
}

/// What the options say of an interface with a lease outlasts the address, which the kernel removes with its routes.
/// Promise: lease-changes
#[test]
fn named_routes_outlast_a_change_of_the_lease() {
    let Some(mut lan) = Lan::new("routes") else { return };
    lan.serve(|message| match message.kind {
        DISCOVER => vec![answer(OFFER, FIRST, 10)],
        REQUEST if message.ciaddr.is_unspecified() => vec![answer(ACK, FIRST, 10)],
        REQUEST => vec![answer(ACK, SECOND, 10)],
        _ => vec![],
    });
    let told = lan.client(|| {
        let network = named("b2c.iface=eth0,dhcp,gateway=10.77.0.9,route=10.8.0.0/16:10.77.0.3,nameserver=10.0.0.3");
        assert_eq!((network.named_servers, network.nameservers.len()), (1, 2));
        let mut keeper = Keeper::new(&network, &REPORT).unwrap();
        message(&mut keeper)
    });
    assert!(told.contains("nameserver 10.77.0.1\n") && !told.contains("10.0.0.3"), "the lease's alone: {told}");
    let routes = lan.shown(&["-4", "route"]);
    assert!(routes.contains("default via 10.77.0.9 dev eth0"), "{routes}");
    assert!(routes.contains("10.8.0.0/16 via 10.77.0.3 dev eth0"), "{routes}");
    assert!(routes.contains("src 10.77.0.51"), "{routes}");
}

/// Two interfaces that the options name, whose leases a server takes back: each asks for another one.
/// Promise: renewals
#[test]
fn each_named_interface_gets_a_lease_again() {
    let Some(mut lan) = Lan::new("both") else { return };
    lan.pair.join("eth1", "srv1");
    lan.serve(|message| {
        let [a, b, net, host] = if message.interface == "srv0" { FIRST } else { Ipv4Addr::new(10, 78, 0, 50) }.octets();
        let own = |host| Ipv4Addr::new(a, b, net, host);
        match (message.kind, message.ciaddr.is_unspecified()) {
            // The counts are of both interfaces.
            (DISCOVER, _) if message.before < 2 => vec![answer(OFFER, own(host), 10)],
            (DISCOVER, _) => vec![answer(OFFER, own(host + 1), 600)],
            (REQUEST, true) if message.before < 2 => vec![answer(ACK, own(host), 10)],
            (REQUEST, true) => vec![answer(ACK, own(host + 1), 600)],
            (REQUEST, false) => vec![Answer { options: vec![(54, SERVER.octets().to_vec())], ..answer(NAK, FIRST, 0) }],
            _ => vec![],
        }
    });
    lan.client(|| {
        let network = named("b2c.iface=eth0,dhcp b2c.iface=eth1,dhcp");
        let mut keeper = Keeper::new(&network, &REPORT).unwrap();
        let is_whole = |told: String| told.contains(" 10.77.0.51 ") && told.contains(" 10.78.0.51 ");
        while !is_whole(message(&mut keeper)) {}
    });
    for (name, address) in [("eth0", "10.77.0.51/24"), ("eth1", "10.78.0.51/24")] {
        let shown = lan.shown(&["-4", "address", "show", name]);
        assert!(shown.contains(address), "{shown}");
    }
}

/// A container may take the interface down and up again, which costs its routes.
/// Promise: renewals
#[test]
fn a_renewal_brings_routes_back() {
    let Some(mut lan) = Lan::new("flushed") else { return };
    lan.serve(|message| match message.kind {
        DISCOVER => vec![answer(OFFER, FIRST, 10)],
        REQUEST => vec![answer(ACK, FIRST, 10)],
        _ => vec![],
    });
    lan.client(|| {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let mut keeper = Keeper::new(&network, &REPORT).unwrap();
        ip(&["route", "delete", "default"]);
        let start = Instant::now();
        while !shown(&["-4", "route"]).contains("default via 10.77.0.1 dev eth0") {
            assert!(start.elapsed() < LIMIT, "{}", shown(&["-4", "route"]));
            keeper.step(1_000).unwrap();
        }
        assert_eq!(keeper.message(), None, "nothing has changed");
    });
}

/// The network by options.
fn named(line: &str) -> Network {
    let config = Config::read(&[cmdline::parse(line.as_bytes()).unwrap()]).unwrap();
    ifaces::up(&config.network, &LIMITS, &REPORT).unwrap()
}

/// A job of the host's network makes a pair for a network of its own.
#[test]
fn a_pair_that_is_made_later_is_no_card() {
    let Some(mut lan) = Lan::new("pair") else { return };
    lan.serve(|message| usual(message, FIRST));
    let client = lan.pair.client.clone();
    let shown = lan.client(move || {
        let network = links::up(&LIMITS, &REPORT).unwrap();
        let mut keeper = Keeper::new(&network, &REPORT).unwrap();
        ip(&["-n", &client, "link", "add", "job0", "type", "veth", "peer", "name", "job1"]);
        // Each step ends with the first thing that has happened.
        for _ in 0..4 {
            keeper.step(500).unwrap();
        }
        shown(&["-n", &client, "link", "show", "job0"])
    });
    assert!(shown.contains("state DOWN") && !shown.contains(",UP"), "{shown}");
}

/// Promise: no-network
#[test]
fn a_server_that_failed_is_named_with_its_reason() {
    let Some(mut lan) = Lan::new("named") else { return };
    lan.serve(|message| if message.kind == DISCOVER { vec![answer(OFFER, FIRST, 600)] } else { vec![] });
    let limits = Limits { lease_ms: 5_000, carrier_ms: 5_000, ..LIMITS };
    let failure = lan.client(move || links::up(&limits, &REPORT).unwrap_err());
    assert!(failure.what.contains("10.77.0.1 offers, but does not acknowledge"), "{}", failure.what);
}
