//! Machines on a LAN: a network namespace with Debian's dnsmasq and chrony, or a DHCP server of this file, behind a
//! cable that may be bad.

use crate::hop::{Faults, Hop};
use crate::lab::{lab, Lab, Seen, POWER_DOWN};
use crate::netns::{possible, within, Server};
use ocinit::host::qemu::Machine;
use ocinit::sys::io::{poll, Poll};
use ocinit::sys::socket;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const TUN: &str = "/dev/net/tun";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SERVER_V6: &str = "2001:db8:77::1";
const SERVER_MAC: &str = "02:00:00:77:00:01";
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
const RANGE: &str = "--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,2h";
/// 30 percent, as promised, and enough of the others for each to happen in a boot.
const BAD: Faults = Faults { lost: 30, duplicated: 5, delayed: 20, overtaken: 5, cut: 2 };
const GOOD: Faults = Faults { lost: 0, duplicated: 0, delayed: 0, overtaken: 0, cut: 0 };
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;
const WITHIN_S: f64 = 120.0;

/// A namespace with `srv0` (10.77.0.1/24), and the cable from there to a machine. Takes all away at its end.
struct Lan {
    server: Server,
    hop: Hop,
    /// Threads of the tests that serve in the namespace end without it.
    is_there: Arc<AtomicBool>,
}

impl Lan {
    /// None, and a line that says why, where it cannot be made.
    fn new(name: &str, faults: Faults, seed: u64) -> Option<Lan> {
        possible(&["dnsmasq", "chronyd"])?;
        if !Path::new(TUN).exists() {
            skip!("a machine on a LAN takes {TUN}");
        }
        let server = Server::new(format!("ocinit-{}-{name}", std::process::id()));
        let tap = within(&server.namespace, || tap("srv0")).join().unwrap();
        let hop = Hop::new(tap, faults, seed);
        server.ip(&["link", "set", "lo", "up"]);
        server.ip(&["link", "set", "srv0", "address", SERVER_MAC, "up"]);
        server.ip(&["address", "add", "10.77.0.1/24", "dev", "srv0"]);
        Some(Lan { server, hop, is_there: Arc::new(AtomicBool::new(true)) })
    }

    /// Where there is no DHCP: a router with its prefix, and the name server of it.
    fn router(&mut self) {
        self.server.set("all/forwarding", "1");
        self.server.set("srv0/accept_dad", "0");
        self.server.ip(&["address", "add", &format!("{SERVER_V6}/64"), "dev", "srv0", "nodad"]);
        // It multicasts by itself ten minutes later: the machine has to ask until it is answered.
        self.server.radvd(&format!("prefix 2001:db8:77::/64 {{ }}; RDNSS {SERVER_V6} {{ }};"));
    }

    /// Runs `work` on a thread in the namespace.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        within(&self.server.namespace, work)
    }

    /// Connects a machine.
    fn plug(&self, machine: &mut Machine) {
        machine.network = self.hop.network.clone();
        // Its own waits are the product's affair; this one ends a machine that hangs.
        machine.timeout = Duration::from_secs(180);
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let ([from, to], lost) = self.hop.counts();
        println!("{}: {from} frames of the machine, {to} of the network, {lost} lost", self.server.namespace);
        self.is_there.store(false, Ordering::Relaxed);
    }
}

/// A TAP interface in this thread's namespace; its frames have no header of the kernel's.
fn tap(name: &str) -> File {
    let tap = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(TUN).unwrap();
    // SAFETY: numbers and arrays of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is ours, and lives as long as the call.
    let made = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(made, 0, "{name}: {}", std::io::Error::last_os_error());
    tap
}

/// The machine's uptime in a line of the console.
fn uptime(line: &str) -> f64 {
    line.trim_start_matches('[').split(']').next().unwrap().trim().parse().unwrap()
}

/// Boots a machine behind a bad cable, whose clock is wrong and is set by `server`, which it knows by name.
fn on_a_bad_day(lab: &Lab, lan: &Lan, name: &str, server: &str) -> String {
    let seen = lab.boot(name, "b2c.ntp_peer=ntp.lab", |machine| {
        lan.plug(machine);
        machine.extra.extend(["-rtc".into(), "base=2029-01-01T00:00:00".into()]);
    });
    seen.over(0, POWER_DOWN);
    // On a busy host the kernel's clock may jump while it looks for one, before the init starts.
    let start = uptime(seen.says("] ocinit     "));
    let address = uptime(seen.says(&format!("network    eth0 {}", server.trim_end_matches([':', '1'])))) - start;
    let clock = uptime(seen.says(&format!(" UTC by {server}, was off by -"))) - start;
    assert!(clock <= WITHIN_S, "{name}: the clock is set after {clock} s");
    let ([from, to], lost) = lan.hop.counts();
    assert!(lost > 0, "{name}: nothing was lost");
    format!("{name}: address after {address:.1} s, clock after {clock:.1} s; {lost} of {from} + {to} frames lost")
}

/// 30 percent of the frames are lost each way; others come late, twice, in another order or without their end.
/// Promise: dhcp-loss, lossy-network, clock
#[test]
fn ten_machines_behind_bad_cables() {
    let Some(lab) = lab() else { return };
    let mut lans = Vec::new();
    for seed in SEEDS {
        let Some(mut lan) = Lan::new(&format!("bad{seed}"), BAD, seed) else { return };
        lan.server.dnsmasq(&[RANGE, "--domain=lab", "--local=/lab/", "--host-record=ntp.lab,10.77.0.1"]);
        lan.server.chrony("10.77.0.1");
        lans.push((format!("bad-cable-{seed}"), lan));
    }
    // The lab lets two of them run at a time.
    let told: Vec<_> = std::thread::scope(|scope| {
        let lab = &lab;
        let machines: Vec<_> =
            lans.iter().map(|(name, lan)| scope.spawn(move || on_a_bad_day(lab, lan, name, "10.77.0.1"))).collect();
        machines.into_iter().map(|machine| machine.join()).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = told.into_iter().partition(Result::is_ok);
    good.into_iter().flatten().for_each(|line| println!("{line}"));
    assert!(bad.is_empty(), "{} of the ten failed: their consoles and reasons are above", bad.len());
}

/// Promise: ipv6-only, lossy-network
#[test]
fn a_machine_with_ipv6_only_behind_a_bad_cable() {
    let Some(lab) = lab() else { return };
    if possible(&["radvd"]).is_none() || !Path::new("/proc/net/if_inet6").exists() {
        skip!("there is no radvd or no IPv6 here (./dev setup brings radvd)");
    }
    let Some(mut lan) = Lan::new("bad-v6", BAD, 1) else { return };
    lan.router();
    lan.server.dnsmasq(&["--local=/lab/", &format!("--host-record=ntp.lab,{SERVER_V6}")]);
    lan.server.chrony(SERVER_V6);
    println!("{}", on_a_bad_day(&lab, &lan, "bad-cable-ipv6", SERVER_V6));
}

/// A machine whose image is in its initramfs.
fn boot_with_image(name: &str, lan: &Lan, words: &str) -> Option<Seen> {
    let lab = lab()?;
    let initramfs = lab.build(name, |spec| spec.added.push((lab.dir.join("payload"), "images/payload".into())));
    Some(lab.boot(name, words, |machine| {
        lan.plug(machine);
        machine.initrd = initramfs;
    }))
}

/// A station that has `address`: whoever asks for it by ARP (RFC 826) is answered.
fn station(lan: &Lan, address: Ipv4Addr, mac: [u8; 6]) {
    let goes_on = lan.is_there.clone();
    let (ready, is_ready) = channel();
    lan.inside(move || {
        let packets = socket::packets(socket::ARP).unwrap();
        ready.send(()).unwrap();
        let mut buffer = [0; 64];
        while goes_on.load(Ordering::Relaxed) {
            poll(&[Poll { fd: packets.as_fd(), write: false }], 100).unwrap();
            while let Ok((length, index)) = socket::packet_receive(packets.as_fd(), &mut buffer) {
                let packet = &buffer[..length];
                if packet.len() < 28 || packet[7] != 1 || packet[24..28] != address.octets() {
                    continue;
                }
                let reply = [&packet[..6], &[0, 2], &mac, &address.octets(), &packet[8..18]].concat();
                socket::packet_send(packets.as_fd(), socket::ARP, index, [0xff; 6], &reply).unwrap();
            }
        }
    });
    is_ready.recv().unwrap();
}

/// dnsmasq would first look whether the address is free, unless it is told not to, or the station lets no ping in.
/// Promise: address-in-use
#[test]
fn an_address_that_another_station_has() {
    let Some(mut lan) = Lan::new("in-use", GOOD, 0) else { return };
    // The one of the range that dnsmasq makes of the card's hardware address.
    station(&lan, Ipv4Addr::new(10, 77, 0, 58), [2, 0, 0, 0x77, 0, 0x58]);
    lan.server.dnsmasq(&[RANGE]);
    let words = r#"b2c.run="oci:/images/payload:latest echo goes on""#;
    let Some(seen) = boot_with_image("address-in-use", &lan, words) else { return };
    seen.over(0, POWER_DOWN);
    seen.golden("address-in-use");
}

/// A message of a DHCP client: its kind and ciaddr.
type Message = (u8, Ipv4Addr);
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const RELEASE: u8 = 7;

/// Leases CLIENT for `lease_s`, which dnsmasq does for two minutes at least.
fn serve_leases(lan: &Lan, lease_s: u32) -> Receiver<Message> {
    lan.server.ip(&["route", "add", "255.255.255.255/32", "dev", "srv0"]);
    let (sender, messages) = channel();
    let goes_on = lan.is_there.clone();
    let (ready, is_ready) = channel();
    lan.inside(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        ready.send(()).unwrap();
        let mut buffer = [0; 2048];
        while goes_on.load(Ordering::Relaxed) {
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            let request = &buffer[..length];
            let (kind, ciaddr) = (request[242], Ipv4Addr::from(<[u8; 4]>::try_from(&request[12..16]).unwrap()));
            // The test may have ended.
            let _ = sender.send((kind, ciaddr));
            if let DISCOVER | REQUEST = kind {
                let to = if ciaddr.is_unspecified() { Ipv4Addr::BROADCAST } else { ciaddr };
                socket.send_to(&answer(request, kind, lease_s), (to, 68)).unwrap();
            }
        }
    });
    is_ready.recv().unwrap();
    messages
}

/// The OFFER to a DISCOVER, and the ACK to a REQUEST.
fn answer(request: &[u8], kind: u8, lease_s: u32) -> Vec<u8> {
    let mut payload = vec![2, 1, 6, 0];
    payload.extend(&request[4..8]);
    payload.resize(16, 0);
    payload.extend(CLIENT.octets());
    payload.resize(28, 0);
    payload.extend(&request[28..34]);
    payload.resize(236, 0);
    payload.extend([99, 130, 83, 99, 53, 1, if kind == DISCOVER { 2 } else { 5 }]);
    let server = SERVER.octets();
    for (code, value) in [(54, server), (51, lease_s.to_be_bytes()), (1, [255, 255, 255, 0]), (3, server), (6, server)]
    {
        payload.extend([code, 4]);
        payload.extend(value);
    }
    payload.push(255);
    payload
}

/// It is renewed again and again while a container runs, and that is no matter for the console.
/// Promise: renewals
#[test]
fn a_lease_of_ten_seconds() {
    let Some(lan) = Lan::new("short", GOOD, 0) else { return };
    let messages = serve_leases(&lan, 10);
    let words = r#"b2c.run="oci:/images/payload:latest sleep 16 awake" b2c.run="oci:/images/payload:latest cat /proc/net/route""#;
    let Some(seen) = boot_with_image("lease-of-10-s", &lan, words) else { return };
    seen.over(0, POWER_DOWN);
    seen.golden_from("lease-of-10-s", "network ");
    let messages: Vec<Message> = messages.try_iter().collect();
    let renewals = messages.iter().filter(|message| **message == (REQUEST, CLIENT)).count();
    // At half of the lease: after 5, 10 and 15 s.
    assert!((2..=5).contains(&renewals), "{messages:?}");
    let asked_anew = messages.iter().skip_while(|(kind, _)| *kind == DISCOVER).any(|(kind, _)| *kind == DISCOVER);
    assert!(!asked_anew, "{messages:?}");
    assert_eq!(messages.last(), Some(&(RELEASE, CLIENT)), "{messages:?}");
}

/// Promise: failures-are-told, name-servers-in-turn
#[test]
fn a_name_server_that_answers_nothing() {
    let Some(mut lan) = Lan::new("silent", GOOD, 0) else { return };
    lan.server.ip(&["address", "add", "10.77.0.53/24", "dev", "srv0"]);
    // One that nobody reads.
    let socket = lan.inside(|| UdpSocket::bind("10.77.0.53:53").unwrap()).join().unwrap();
    lan.server.dnsmasq(&[
        RANGE,
        "--port=0",
        "--dhcp-option=option:dns-server,10.77.0.53",
        "--dhcp-host=52:54:00:12:34:56,10.77.0.50",
    ]);
    let Some(lab) = lab() else { return };
    let words = r#"b2c.run="--retry=0 docker://registry.lab/payload""#;
    let seen = lab.boot("name-server-silent", words, |machine| lan.plug(machine));
    seen.over(125, POWER_DOWN);
    seen.golden("name-server-silent");
    drop(socket);
}
