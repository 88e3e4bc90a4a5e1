//! DHCP messages: the client's, and what is read of a reply (RFC 2131, 2132, 3396, 3397, 3442).

use crate::net::pure::choice::Quality;
use crate::net::pure::dhcp::drops::Drop;
pub use crate::net::pure::dhcp::values::Route;
use crate::net::pure::dhcp::values::{
    address, class_prefix, classless_routes, hosts, is_host, name, prefix_of, search_list, static_routes, MAX_DOMAIN,
    MAX_SEARCH,
};
use core::net::{IpAddr, Ipv4Addr};

/// The largest message that the client takes (option 57), with IP and UDP headers: an Ethernet frame's.
pub const MESSAGE_BYTES: u16 = 1500;
/// `lease_s` of a lease that never expires.
pub const INFINITE: u32 = u32::MAX;

/// The lease time where the server gives none: long enough for a boot, short enough to ask again.
const DEFAULT_LEASE_S: u32 = 3600;
/// A shorter lease is taken as this: it would keep the client renewing all the time.
const MIN_LEASE_S: u32 = 10;
/// Linux's own limit for a host name.
const MAX_HOST_NAME: usize = 64;
/// A smaller MTU is a server's mistake: every host takes packets of this size (RFC 791).
const MIN_MTU: u16 = 576;
/// With a smaller one the kernel takes IPv6 off the interface (RFC 8200, section 5).
const MIN_MTU_V6: u16 = 1280;

const FIXED: usize = 236;
const SNAME: core::ops::Range<usize> = 44..108;
const FILE: core::ops::Range<usize> = 108..236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// BOOTP relays may drop what is shorter (RFC 1542 section 2.1).
const MIN_MESSAGE: usize = 300;

const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS: u8 = 6;
const HOST_NAME: u8 = 12;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const STATIC_ROUTES: u8 = 33;
const NTP: u8 = 42;
const REQUESTED: u8 = 50;
const LEASE_TIME: u8 = 51;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const MAX_SIZE: u8 = 57;
const T1: u8 = 58;
const T2: u8 = 59;
const VENDOR_CLASS: u8 = 60;
const CLIENT_ID: u8 = 61;
const SEARCH: u8 = 119;
const CLASSLESS: u8 = 121;
const END: u8 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
}

/// A lease, checked: its times are in order, its addresses can be hosts', its names hold letters, digits and `-_.`
/// only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub server: Ipv4Addr,
    /// [`INFINITE`] for a lease that never expires.
    pub lease_s: u32,
    pub renew_s: u32,
    pub rebind_s: u32,
    /// From option 121, else those of option 33 and the default route of option 3, in the server's order.
    pub routes: Vec<Route>,
    pub nameservers: Vec<IpAddr>,
    pub ntp: Vec<IpAddr>,
    /// From option 119, else the names of option 15.
    pub search: Vec<String>,
    pub hostname: Option<String>,
    pub mtu: Option<u16>,
    /// Another station answers for the address. It is used all the same, since one answers for every address.
    pub is_contested: bool,
}

impl Lease {
    /// What a machine can do with it.
    pub fn quality(&self) -> Quality {
        match self.routes.iter().any(|route| route.prefix == 0) && !self.nameservers.is_empty() {
            _ if self.address.is_link_local() => Quality::LinkLocal,
            true => Quality::Whole,
            false => Quality::Partial,
        }
    }
}

/// A reply for this client.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Offer(Lease),
    Ack(Lease),
    /// The server's identifier, where it gave one.
    Nak(Option<Ipv4Addr>),
}

/// The fields that differ between a client's messages.
pub struct Outgoing {
    pub kind: Kind,
    pub xid: u32,
    pub secs: u16,
    pub mac: [u8; 6],
    /// The address in use when renewing, else 0.0.0.0.
    pub ciaddr: Ipv4Addr,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// The broadcast flag. A packet socket receives unicast before there is an address, and some switches deliver
    /// unicast better; but some servers and relays cannot send it to a station that does not answer ARP.
    pub broadcast: bool,
}

/// A message to a server.
pub fn emit(out: &Outgoing) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0];
    bytes.extend_from_slice(&out.xid.to_be_bytes());
    bytes.extend_from_slice(&out.secs.to_be_bytes());
    bytes.extend_from_slice(&[if out.broadcast { 0x80 } else { 0 }, 0]);
    bytes.extend_from_slice(&out.ciaddr.octets());
    bytes.resize(28, 0);
    bytes.extend_from_slice(&out.mac);
    bytes.resize(FIXED, 0);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[MESSAGE_TYPE, 1, out.kind as u8, CLIENT_ID, 7, 1]);
    bytes.extend_from_slice(&out.mac);
    for (code, address) in [(REQUESTED, out.requested), (SERVER, out.server)] {
        if let Some(address) = address {
            bytes.extend_from_slice(&[code, 4]);
            bytes.extend_from_slice(&address.octets());
        }
    }
    // RFC 2131 table 5: DECLINE and RELEASE ask for nothing.
    if !matches!(out.kind, Kind::Decline | Kind::Release) {
        let [size_high, size_low] = MESSAGE_BYTES.to_be_bytes();
        bytes.extend_from_slice(&[MAX_SIZE, 2, size_high, size_low, VENDOR_CLASS, 6]);
        bytes.extend_from_slice(b"ocinit");
        // RFC 3442: 121 is asked for before 3 and 33.
        let wanted = [
            MASK,
            CLASSLESS,
            ROUTER,
            STATIC_ROUTES,
            DNS,
            HOST_NAME,
            DOMAIN,
            SEARCH,
            MTU,
            NTP,
            LEASE_TIME,
            SERVER,
            T1,
            T2,
        ];
        bytes.extend_from_slice(&[PARAMETERS, wanted.len() as u8]);
        bytes.extend_from_slice(&wanted);
    }
    bytes.push(END);
    bytes.resize(bytes.len().max(MIN_MESSAGE), 0);
    bytes
}

/// A server's message for the transaction `xid` of the station `mac`. Where the server leaves its identifier out, it is
/// the address `source` that the packet came from, or else siaddr.
pub fn parse(bytes: &[u8], xid: u32, mac: [u8; 6], source: Ipv4Addr) -> Result<Reply, Drop> {
    let fixed = bytes.get(..FIXED).ok_or(Drop::Cut)?;
    let at = |range: core::ops::Range<usize>| fixed.get(range).unwrap_or_default();
    match at(0..3) {
        [2, 1, 6] => {}
        [2, ..] => return Err(Drop::NotEthernet),
        _ => return Err(Drop::NotReply),
    }
    if at(4..8) != xid.to_be_bytes() {
        return Err(Drop::OtherTransaction);
    }
    if at(28..34) != mac {
        return Err(Drop::OtherHardware);
    }
    if bytes.get(FIXED..FIXED + 4) != Some(&MAGIC) {
        return Err(Drop::Magic);
    }
    let mut options = Options::default();
    options.read(bytes.get(FIXED + 4..).unwrap_or_default())?;
    // RFC 3396 section 5: options, then file, then sname. An overload option within those two has no effect.
    let overload = options.number(OVERLOAD, 1).unwrap_or(0);
    if overload & 1 != 0 {
        options.read(at(FILE))?;
    }
    if overload & 2 != 0 {
        options.read(at(SNAME))?;
    }
    let yiaddr = address(at(16..20)).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let own = options.number(SERVER, 4).map(Ipv4Addr::from_bits).filter(|server| is_host(*server));
    let siaddr = address(at(20..24)).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let server = own.or([source, siaddr].into_iter().find(|server| is_host(*server))).ok_or(Drop::NoServer);
    match options.number(MESSAGE_TYPE, 1).ok_or(Drop::NoMessageType)? {
        2 => Ok(Reply::Offer(options.lease(yiaddr, server?)?)),
        5 => Ok(Reply::Ack(options.lease(yiaddr, server?)?)),
        6 => Ok(Reply::Nak(own)),
        _ => Err(Drop::Unexpected),
    }
}

/// The options of a message, in their order.
#[derive(Default)]
struct Options<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Options<'a> {
    /// A missing END is accepted: the field's end is one. An option that runs past the field is an error.
    fn read(&mut self, mut field: &'a [u8]) -> Result<(), Drop> {
        loop {
            field = match field {
                [] | [END, ..] => return Ok(()),
                [PAD, rest @ ..] => rest,
                [_] => return Err(Drop::OptionPastEnd),
                [code, length, rest @ ..] => {
                    let value = rest.get(..usize::from(*length)).ok_or(Drop::OptionPastEnd)?;
                    self.0.push((*code, value));
                    rest.get(value.len()..).unwrap_or_default()
                }
            }
        }
    }

    /// Of a fixed-length option the first of the right length counts.
    fn number(&self, code: u8, bytes: usize) -> Option<u32> {
        let (_, value) = self.0.iter().find(|(own, value)| *own == code && value.len() == bytes)?;
        Some(value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// A list or text that comes in pieces is put together (RFC 3396).
    fn list(&self, code: u8) -> Vec<u8> {
        let mut list = Vec::new();
        for (_, value) in self.0.iter().filter(|(own, _)| *own == code) {
            list.extend_from_slice(value);
        }
        list
    }

    fn lease(&self, yiaddr: Ipv4Addr, server: Ipv4Addr) -> Result<Lease, Drop> {
        let mask = self.number(MASK, 4).map(Ipv4Addr::from_bits);
        let prefix = mask.and_then(prefix_of).unwrap_or_else(|| class_prefix(yiaddr));
        let host_bits = u32::MAX >> prefix.min(31);
        let host = yiaddr.to_bits() & host_bits;
        if !is_host(yiaddr) || (prefix < 31 && (host == 0 || host == host_bits)) {
            return Err(Drop::BadAddress);
        }
        let lease_s = self.number(LEASE_TIME, 4).unwrap_or(DEFAULT_LEASE_S).max(MIN_LEASE_S);
        let (renew_s, rebind_s) = match (self.number(T1, 4), self.number(T2, 4)) {
            _ if lease_s == INFINITE => (INFINITE, INFINITE),
            (Some(renew), Some(rebind)) if MIN_LEASE_S / 2 <= renew && renew < rebind && rebind < lease_s => {
                (renew, rebind)
            }
            // The defaults of RFC 2131 section 4.4.5, also for times that are out of order or too short.
            _ => (lease_s / 2, (u64::from(lease_s) * 7 / 8) as u32),
        };
        let routes = classless_routes(&self.list(CLASSLESS)).unwrap_or_else(|| {
            let mut routes = static_routes(&self.list(STATIC_ROUTES));
            let routers = self.list(ROUTER);
            let mut routers = routers.chunks_exact(4).filter_map(address);
            let gateway = routers.find(|router| is_host(*router) && *router != yiaddr);
            if gateway.is_some() {
                routes.push(Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway });
            }
            routes
        });
        let mut search = search_list(&self.list(SEARCH));
        if search.is_empty() {
            for word in self.list(DOMAIN).split(u8::is_ascii_whitespace) {
                if search.len() < MAX_SEARCH {
                    search.extend(name(word, MAX_DOMAIN));
                }
            }
        }
        Ok(Lease {
            address: yiaddr,
            prefix,
            server,
            lease_s,
            renew_s,
            rebind_s,
            routes,
            nameservers: hosts(&self.list(DNS)),
            ntp: hosts(&self.list(NTP)),
            search,
            hostname: name(&self.list(HOST_NAME), MAX_HOST_NAME),
            mtu: self.number(MTU, 2).map(|mtu| mtu as u16).filter(|mtu| *mtu >= MIN_MTU).map(|mtu| mtu.max(MIN_MTU_V6)),
            is_contested: false,
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
