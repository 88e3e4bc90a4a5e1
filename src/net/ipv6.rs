//! IPv6 beside DHCPv4 on each wired interface. The kernel forms addresses from router advertisements, checks them for
//! duplicates, and keeps routes and lifetimes; what it does not do is done here: name servers, search domains, DHCPv6.

use crate::net::pure::dhcp6::client::{CLIENT_PORT, SERVERS, SERVER_PORT};
use crate::net::pure::dhcp6::message::Leased;
use crate::net::pure::dhcp6::{Action, Client, Info};
use crate::net::pure::families::{Own, V6};
use crate::net::pure::merge::add_new;
use crate::net::pure::netlink::{self, Address, Link};
use crate::net::pure::ra::{Discovery, ALL_ROUTERS_MAC, FILTER};
use crate::net::random::seed;
use crate::net::rtnetlink::Kernel;
use crate::net::scope::own_addresses;
use crate::net::step::STEP;
use crate::report::Report;
use crate::sys::bpf::Instruction;
use crate::sys::io::Poll;
use crate::sys::machine::uptime_ms;
use crate::sys::{self, socket};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The kernel's settings of each interface; not there without IPv6.
const SETTINGS: &str = "/proc/sys/net/ipv6/conf";
/// More than the payload of an Ethernet frame, for larger frames.
const PACKET_BYTES: usize = 2048;
/// Packets that are read before timers are checked again: a busy network must not delay them.
const MAX_PACKETS: usize = 64;
/// Addresses that the console line shows.
const SHOWN: usize = 4;

/// IPv6 on all interfaces that have a carrier.
pub struct Ipv6 {
    /// Advertisements, and the kernel's notifications of addresses. None where the kernel has no IPv6: then nothing
    /// happens here.
    sockets: Option<(OwnedFd, OwnedFd)>,
    /// The client's port, from the first message on.
    dhcp: Option<UdpSocket>,
    buffer: Vec<u8>,
    own: Vec<Own>,
    ports: Vec<Port>,
}

struct Port {
    index: u32,
    name: String,
    mac: [u8; 6],
    discovery: Discovery,
    client: Option<Client>,
    /// Whether the client asks for addresses.
    managed: bool,
    leased: Vec<Leased>,
    info: Info,
    /// When the first advertisement came.
    heard_ms: Option<u64>,
    /// Since when there is a usable address.
    since_ms: Option<u64>,
    /// Addresses that the kernel checks for duplicates.
    tentative: Vec<Ipv6Addr>,
    /// The duplicate that was told last: each advertisement has the kernel try it again.
    told: Option<Ipv6Addr>,
    error: Option<sys::Error>,
}

/// What an interface has by IPv6.
#[derive(Debug, Default)]
pub struct Config {
    pub addresses: Vec<(IpAddr, u8)>,
    pub gateways: Vec<IpAddr>,
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub ntp: Vec<IpAddr>,
}

impl Ipv6 {
    pub fn open() -> Ipv6 {
        let open = || {
            let changes = socket::netlink_route().ok()?;
            socket::netlink_bind(changes.as_fd(), socket::ADDRESS_EVENTS).ok()?;
            Some((filtered(socket::IPV6, &FILTER).ok()?, changes))
        };
        let sockets = if Path::new(SETTINGS).exists() { open() } else { None };
        Ipv6 { sockets, dhcp: None, buffer: vec![0; PACKET_BYTES], own: own_addresses(), ports: Vec::new() }
    }

    /// Adds what to wait for, three at most; [`Ipv6::receive`] takes which of them can be read.
    pub fn add_fds<'a>(&'a self, fds: &mut Vec<Poll<'a>>) {
        let Some((packets, changes)) = &self.sockets else { return };
        fds.push(Poll { fd: packets.as_fd(), write: false });
        fds.push(Poll { fd: changes.as_fd(), write: false });
        if let Some(socket) = &self.dhcp {
            fds.push(Poll { fd: socket.as_fd(), write: false });
        }
    }

    /// Begins on a link with a carrier; forgets all about one without: the next carrier may be another network's.
    pub fn follow(&mut self, link: &Link, now_ms: u64) {
        let known = self.ports.iter().find(|port| port.index == link.index);
        match known {
            Some(_) if !link.carrier => self.forget(link.index),
            None if link.carrier && self.sockets.is_some() => {
                accept_advertisements(&link.name);
                self.ports.push(Port::new(link, now_ms));
            }
            _ => {}
        }
    }

    /// The interface was removed.
    pub fn forget(&mut self, index: u32) {
        self.ports.retain(|port| port.index != index);
    }

    /// The queues of the link have begun to run: what was sent before is lost.
    pub fn resend_now(&mut self, index: u32, now_ms: u64) {
        if let Some(port) = self.ports.iter_mut().find(|port| port.index == index) {
            port.discovery.resend_now(now_ms);
        }
    }

    /// Does what is due on all interfaces.
    pub fn drive(&mut self, kernel: &mut Kernel, now_ms: u64, report: &Report) {
        let Some((packets, _)) = &self.sockets else { return };
        let mut leased = false;
        for port in &mut self.ports {
            port.look(&self.own, now_ms, report);
            if let Some(packet) = port.discovery.poll(now_ms) {
                // As a packet that was lost, one that could not be sent is sent again.
                let sent = socket::packet_send(packets.as_fd(), socket::IPV6, port.index, ALL_ROUTERS_MAC, &packet);
                port.error = sent.err();
            }
            port.start_client(&self.own, now_ms);
            while let Some(client) = &mut port.client {
                match client.poll(now_ms) {
                    Action::Idle => break,
                    Action::Send(message) => port.error = send(&mut self.dhcp, port.index, &message).err(),
                    Action::Informed(info) => port.info = info,
                    Action::Lost => port.leased.clear(),
                    Action::Bound(lease) => {
                        port.info = lease.info;
                        port.remove(kernel, &lease.ended);
                        port.apply(kernel, lease.addresses, report);
                        leased = true;
                    }
                }
            }
        }
        if leased {
            self.own = own_addresses();
        }
    }

    /// Takes what has come on the [`Ipv6::add_fds`] whose bits are set: the interfaces of which it is the first
    /// advertisement.
    pub fn receive(&mut self, ready: u32) -> Vec<u32> {
        let (mut heard, mut changed) = (Vec::new(), ready & 0b010 != 0);
        let Some((packets, changes)) = &self.sockets else { return heard };
        for _ in 0..if ready & 0b001 != 0 { MAX_PACKETS } else { 0 } {
            // EAGAIN, mostly; ENETDOWN when a link disappears. Neither needs to be handled.
            let Ok((length, index)) = socket::packet_receive(packets.as_fd(), &mut self.buffer) else { break };
            if let Some(port) = self.ports.iter_mut().find(|port| port.index == index) {
                let now_ms = uptime_ms();
                // The kernel tells of an address when it has checked it, not when it begins to.
                changed |= port.discovery.handle(now_ms, self.buffer.get(..length).unwrap_or_default());
                if port.heard_ms.is_none() && port.discovery.is_seen() {
                    port.heard_ms = Some(now_ms);
                    heard.push(index);
                }
            }
        }
        // The kernel's table says all; lost notifications (ENOBUFS) are a change as well.
        while changed && socket::receive(changes.as_fd(), &mut self.buffer).is_ok() {}
        if changed {
            self.own = own_addresses();
        }
        if ready & 0b100 != 0 {
            self.receive_messages();
        }
        heard
    }

    /// When something is due again; `u64::MAX` where nothing is.
    pub fn next_wake(&self) -> u64 {
        let mut wake_ms = u64::MAX;
        for port in &self.ports {
            let client = port.client.as_ref().and_then(Client::next_wake);
            for at_ms in [port.discovery.next_wake(), client].into_iter().flatten() {
                wake_ms = wake_ms.min(at_ms);
            }
        }
        wake_ms
    }

    /// The interface whose IPv6 is enough first, or the preferred one, and from when on.
    pub fn ready(&self, now_ms: u64, preferred_mac: Option<[u8; 6]>) -> Option<(u32, u64)> {
        let ready = |port: &Port| {
            let v6 = V6 {
                heard_ms: port.heard_ms?,
                since_ms: port.since_ms?,
                routed: port.discovery.router().is_some(),
                named: !port.info.nameservers.is_empty() || !port.discovery.nameservers(now_ms).is_empty(),
                asking: port.is_asking(),
            };
            Some((preferred_mac != Some(port.mac), v6.ready_ms(), port.index))
        };
        self.ports.iter().filter_map(ready).min().map(|(_, ready_ms, index)| (index, ready_ms))
    }

    /// What the interface has now. Without a usable address it has nothing: no server could be asked.
    pub fn config(&self, index: u32, now_ms: u64) -> Config {
        let usable = |port: &&Port| port.index == index && port.since_ms.is_some();
        let Some(port) = self.ports.iter().find(usable) else { return Config::default() };
        let mut config = Config {
            addresses: Vec::new(),
            gateways: Vec::new(),
            // RFC 8106, section 5.3.1: a router's come first.
            nameservers: port.discovery.nameservers(now_ms),
            search: port.discovery.search(now_ms),
            ntp: port.info.ntp.clone(),
        };
        for own in self.own.iter().filter(|own| own.index == index && own.is_usable()).take(SHOWN) {
            config.addresses.push((own.address.into(), own.prefix));
        }
        if let Some(router) = port.discovery.router() {
            config.gateways.push(router.into());
        }
        add_new(&mut config.nameservers, &port.info.nameservers);
        add_new(&mut config.search, &port.info.search);
        config
    }

    /// What was seen of IPv6, for the reason of a failure; empty where nothing was.
    pub fn status(&self, index: u32) -> String {
        self.ports.iter().find(|port| port.index == index).map_or(String::new(), Port::status)
    }

    fn receive_messages(&mut self) {
        let Some(socket) = &self.dhcp else { return };
        for _ in 0..MAX_PACKETS {
            // EAGAIN, mostly; other errors are of messages that were sent, which are sent again.
            let Ok((length, from)) = socket.recv_from(&mut self.buffer) else { return };
            let SocketAddr::V6(from) = from else { continue };
            // Only a link-local sender's interface is known. Servers and relay agents of the link have no other source
            // for a client's link-local address (RFC 6724, section 5, rule 2).
            let port = self.ports.iter_mut().find(|port| port.index == from.scope_id());
            if let Some(client) = port.and_then(|port| port.client.as_mut()) {
                client.handle(uptime_ms(), self.buffer.get(..length).unwrap_or_default());
            }
        }
    }
}

impl Port {
    fn new(link: &Link, now_ms: u64) -> Port {
        Port {
            index: link.index,
            name: link.name.clone(),
            mac: link.mac,
            discovery: Discovery::new(now_ms, seed(link.mac)),
            client: None,
            managed: false,
            leased: Vec::new(),
            info: Info::default(),
            heard_ms: None,
            since_ms: None,
            tentative: Vec::new(),
            told: None,
            error: None,
        }
    }

    /// Looks at the kernel's addresses: whether one is usable, and whether one was another machine's.
    fn look(&mut self, own: &[Own], now_ms: u64, report: &Report) {
        let index = self.index;
        // The kernel removes such an address, unless it is for ever.
        let is_it = |own: &Own, address| own.index == index && own.address == address && !own.is_duplicate();
        for address in &std::mem::take(&mut self.tentative) {
            if own.iter().any(|own| is_it(own, *address)) {
                continue;
            }
            if self.told.replace(*address) != Some(*address) {
                report.warn(STEP, format_args!("{}: another machine has the address {address}", self.name));
            }
            if self.leased.iter().any(|leased| leased.address == *address) {
                self.leased.clear();
                if let Some(client) = &mut self.client {
                    client.decline(now_ms);
                }
            }
        }
        let mut is_usable = false;
        for own in own.iter().filter(|own| own.index == index) {
            is_usable |= own.is_usable();
            if own.is_tentative() {
                self.tentative.push(own.address);
            }
        }
        self.since_ms = is_usable.then(|| self.since_ms.unwrap_or(now_ms));
    }

    /// Starts the DHCPv6 client where a router says so and there is an address to ask from. One that asks for
    /// information only gives way to one for addresses.
    fn start_client(&mut self, own: &[Own], now_ms: u64) {
        let managed = self.discovery.managed();
        let is_wanted = (managed && !self.managed) || (self.client.is_none() && self.discovery.other());
        let is_able = || own.iter().any(|own| own.index == self.index && own.is_link_local());
        if is_wanted && is_able() {
            self.managed = managed;
            self.client = Some(Client::new(now_ms, self.mac, seed(self.mac), managed));
        }
    }

    fn is_asking(&self) -> bool {
        let is_wanted = self.discovery.managed() || self.discovery.other();
        self.client.as_ref().map_or(is_wanted, |client| client.is_asking())
    }

    /// Takes leased addresses that the server has ended off the interface; others are not the server's.
    fn remove(&mut self, kernel: &mut Kernel, ended: &[Leased]) {
        for one in ended.iter().filter(|one| self.leased.iter().any(|had| had.address == one.address)) {
            let address = Address { index: self.index, address: one.address.into(), prefix: 128 };
            // The kernel may have removed it already.
            let _ = kernel.request(netlink::delete_address(&address));
        }
    }

    /// Gives the interface its leased addresses, or new lifetimes to those that it has.
    fn apply(&mut self, kernel: &mut Kernel, leased: Vec<Leased>, report: &Report) {
        for one in &leased {
            // Which addresses are on the link is a router's to say (RFC 8415, section 18.2.10.1).
            let address = Address { index: self.index, address: one.address.into(), prefix: 128 };
            let set = kernel.request(netlink::set_address_for(&address, one.preferred_s, one.valid_s));
            if let Err(error) = set {
                report.warn(STEP, format_args!("{}: address {}: {error}", self.name, one.address));
            }
        }
        self.leased = leased;
    }

    /// `router fe80::2, no address yet`, `DHCPv6 sent: 3, offers: 0`
    fn status(&self) -> String {
        let mut parts = Vec::new();
        if let Some(router) = self.discovery.router() {
            parts.push(format!("IPv6 router {router}"));
        }
        if let Some(client) = &self.client {
            parts.push(format!("DHCPv6 sent: {}, offers: {}", client.solicits(), client.offers()));
        }
        let advertisements = self.discovery.drops().map(|(count, last)| ("advertisements", count, last.text()));
        let messages = self.client.as_ref().and_then(|client| client.drops());
        let messages = messages.map(|(count, last)| ("DHCPv6 messages", count, last.text()));
        for (what, count, last) in [advertisements, messages].into_iter().flatten() {
            parts.push(format!("{what} dropped: {count}, the last one: {last}"));
        }
        if let (Some(error), false) = (self.error, parts.is_empty()) {
            parts.push(error.to_string());
        }
        parts.join(", ")
    }
}

/// Sends a message to all DHCPv6 servers of the link, from the client's port, which is opened for the first one.
fn send(socket: &mut Option<UdpSocket>, index: u32, message: &[u8]) -> sys::Result<()> {
    let failed = |call| move |error: std::io::Error| sys::Error::from_io(call, &error);
    let socket = match socket {
        Some(socket) => socket,
        None => {
            let bound = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, CLIENT_PORT)).map_err(failed("bind"))?;
            bound.set_nonblocking(true).map_err(failed("fcntl"))?;
            socket.insert(bound)
        }
    };
    let servers = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, index);
    socket.send_to(message, servers).map(|_| ()).map_err(failed("sendto"))
}

/// Lets the kernel take advertisements, also where it forwards packets, when it would take none by default. An IPv6
/// that is disabled stays so.
fn accept_advertisements(name: &str) {
    let settings = Path::new(SETTINGS).join(name);
    for (setting, value) in [("accept_ra", "2"), ("autoconf", "1")] {
        // Without it the kernel does as it was told: an interface that is just gone has no settings.
        let _ = std::fs::write(settings.join(setting), value);
    }
}

/// A socket for the packets of `kind` that `filter` lets through.
pub fn filtered(kind: u16, filter: &[(u16, u8, u8, u32)]) -> sys::Result<OwnedFd> {
    let packets = socket::packets(kind)?;
    let mut program = Vec::new();
    for (code, jt, jf, k) in filter {
        program.push(Instruction { code: *code, jt: *jt, jf: *jf, k: *k });
    }
    // Without the filter there is only more to look at.
    let _ = socket::attach_filter(packets.as_fd(), &program);
    Ok(packets)
}
