//! rtnetlink messages: links, addresses, routes.
//!
//! Numbers are in the machine's byte order, since netlink never leaves the
//! machine; addresses are in the network's. Constants: `linux/rtnetlink.h`,
//! `linux/if_link.h`, `linux/if_addr.h`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub mod virtual_link;

/// Enough for any one message of a link dump: the kernel's NLMSG_GOODSIZE is 8 KiB, and `ip`
/// reads with 32 KiB since links with many virtual functions exceed that.
pub const RECEIVE_BYTES: usize = 32 * 1024;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
/// Adds what is not there, and changes what is.
const SET: u16 = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;

const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
const IFF_LOWER_UP: u32 = 0x1_0000;
const ARPHRD_ETHER: u16 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTNH_F_ONLINK: u32 = 4;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RT_TABLE_MAIN: u8 = 254;
/// Who has made a route: an administrator.
pub const RTPROT_STATIC: u8 = 4;
/// Who has made a route: a lease.
pub const RTPROT_DHCP: u8 = 16;
const RTN_UNICAST: u8 = 1;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;

/// A network interface (`RTM_NEWLINK`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Whether it is ARPHRD_ETHER; `mac` is zero for others.
    pub ethernet: bool,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub up: bool,
    /// There is a link (IFF_LOWER_UP).
    pub carrier: bool,
    /// The queues may send (IFF_RUNNING). Before, packets may be dropped without an error. A card whose carrier came
    /// before it was raised sends at once, and gets this flag up to a second later.
    pub running: bool,
    /// The kind of a virtual interface (`bridge`, `veth`); empty for hardware.
    pub kind: String,
}

/// An interface's address (`RTM_NEWADDR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub index: u32,
    pub address: IpAddr,
    pub prefix: u8,
}

/// A route of the main table by one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub index: u32,
    pub destination: IpAddr,
    pub prefix: u8,
    /// None: the destination is on the link. Of the destination's family, as the source is.
    pub gateway: Option<IpAddr>,
    /// The source address of packets by this route.
    pub source: Option<IpAddr>,
    /// The gateway is on the link though outside of the interface's subnet (a /32 lease, RFC 3442).
    pub onlink: bool,
}

/// A message of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The end of a request: 0, or its errno.
    Ack(i32),
    /// The end of a dump.
    Done,
    Link(Link),
    LinkGone(u32),
    Address(Address),
    Route(Route),
    Other,
}

/// Asks for all links (`RTM_GETLINK`).
pub fn get_links() -> Vec<u8> {
    request(RTM_GETLINK, NLM_F_DUMP, &[0; 16])
}

/// Asks for all addresses (`RTM_GETADDR`).
pub fn get_addresses() -> Vec<u8> {
    request(RTM_GETADDR, NLM_F_DUMP, &[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0])
}

/// Asks for all routes (`RTM_GETROUTE`).
pub fn get_routes() -> Vec<u8> {
    request(RTM_GETROUTE, NLM_F_DUMP, &[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Sets `IFF_UP`.
pub fn link_up(index: u32) -> Vec<u8> {
    set_link(index, IFF_UP, IFF_UP)
}

/// Clears `IFF_UP`.
pub fn link_down(index: u32) -> Vec<u8> {
    set_link(index, 0, IFF_UP)
}

/// Sets a link's MTU, in bytes.
pub fn set_mtu(index: u32, mtu: u32) -> Vec<u8> {
    let mut message = set_link(index, 0, 0);
    put(&mut message, IFLA_MTU, &mtu.to_ne_bytes());
    message
}

/// A change of a link that is there.
fn set_link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    request(RTM_NEWLINK, NLM_F_ACK, &interface(index, flags, change))
}

/// Removes an address, and with it the routes that have it as their source.
pub fn delete_address(address: &Address) -> Vec<u8> {
    about(RTM_DELADDR, NLM_F_ACK, address)
}

/// As [`set_address`], for so many seconds: then the kernel removes it (`u32::MAX`: never).
pub fn set_address_for(address: &Address, preferred_s: u32, valid_s: u32) -> Vec<u8> {
    // ifa_cacheinfo: preferred, valid, and two times that the kernel sets.
    let lifetimes = [preferred_s, valid_s, 0, 0].map(u32::to_ne_bytes);
    let mut message = set_address(address);
    put(&mut message, IFA_CACHEINFO, lifetimes.as_flattened());
    message
}

/// Adds or replaces an address, with its subnet's broadcast address (none on /31 and /32, RFC 3021). An IPv6 address
/// that is new is checked by the kernel: no other machine must have it.
pub fn set_address(address: &Address) -> Vec<u8> {
    let mut message = about(RTM_NEWADDR, SET, address);
    put_address(&mut message, IFA_ADDRESS, &address.address);
    if let (IpAddr::V4(own), ..31) = (address.address, address.prefix) {
        let broadcast = own.to_bits() | u32::MAX >> address.prefix;
        put(&mut message, IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    message
}

fn about(kind: u16, flags: u16, address: &Address) -> Vec<u8> {
    let [a, b, c, d] = address.index.to_ne_bytes();
    let body = [family(&address.address), address.prefix, 0, RT_SCOPE_UNIVERSE, a, b, c, d];
    let mut message = request(kind, flags, &body);
    put_address(&mut message, IFA_LOCAL, &address.address);
    message
}

/// Adds or replaces a lease's route (`RTM_NEWROUTE`).
pub fn set_route(route: &Route) -> Vec<u8> {
    set_route_by(route, RTPROT_DHCP, 0)
}

/// Adds or replaces a route of the origin `protocol`. Of several to one destination the one with the least metric
/// counts; 0 is the kernel's default (0 for IPv4, 1024 for IPv6).
pub fn set_route_by(route: &Route, protocol: u8, metric: u32) -> Vec<u8> {
    let scope = if route.gateway.is_some() { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
    let [a, b, c, d] = if route.onlink { RTNH_F_ONLINK } else { 0 }.to_ne_bytes();
    let family = family(&route.destination);
    let body = [family, route.prefix, 0, 0, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, a, b, c, d];
    let mut message = request(RTM_NEWROUTE, SET, &body);
    put_address(&mut message, RTA_DST, &route.destination);
    put(&mut message, RTA_OIF, &route.index.to_ne_bytes());
    for (kind, address) in [(RTA_GATEWAY, &route.gateway), (RTA_PREFSRC, &route.source)] {
        if let Some(address) = address {
            put_address(&mut message, kind, address);
        }
    }
    if metric != 0 {
        put(&mut message, RTA_PRIORITY, &metric.to_ne_bytes());
    }
    message
}

/// Removes a route.
pub fn delete_route(route: &Route) -> Vec<u8> {
    let mut bytes = set_route(route);
    let head = [RTM_DELROUTE.to_ne_bytes(), (NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes()].concat();
    bytes[4..8].copy_from_slice(&head);
    bytes
}

/// Ends a message with its length, and with the number by which its answer is known.
pub fn finish(message: &mut [u8], sequence: u32) {
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[8..12].copy_from_slice(&sequence.to_ne_bytes());
}

/// The messages of one datagram, each with its sequence number (0 for notifications).
/// A message that is cut short ends the list.
pub fn parse(mut datagram: &[u8]) -> Vec<(u32, Reply)> {
    let mut replies = Vec::new();
    while let (Some(length), Some(kind), Some(sequence)) =
        (u32_at(datagram, 0), u16_at(datagram, 4), u32_at(datagram, 8))
    {
        let length = length as usize;
        let Some(body) = datagram.get(HEADER..length) else { break };
        replies.push((sequence, message(kind, body).unwrap_or(Reply::Other)));
        datagram = datagram.get(align(length)..).unwrap_or_default();
    }
    replies
}

/// Not inlined, as the readers below: where they are, their values are copied field by field.
#[inline(never)]
fn message(kind: u16, body: &[u8]) -> Option<Reply> {
    Some(match kind {
        NLMSG_ERROR => Reply::Ack((u32_at(body, 0)? as i32).wrapping_neg()),
        NLMSG_DONE => Reply::Done,
        RTM_NEWLINK => Reply::Link(link(body)?),
        RTM_DELLINK => Reply::LinkGone(u32_at(body, 4)?),
        RTM_NEWADDR => Reply::Address(address(body)?),
        RTM_NEWROUTE => Reply::Route(route(body)?),
        _ => Reply::Other,
    })
}

#[inline(never)]
fn link(body: &[u8]) -> Option<Link> {
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        ethernet: u16_at(body, 2)? == ARPHRD_ETHER,
        mac: [0; 6],
        mtu: 0,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        running: flags & IFF_RUNNING != 0,
        kind: String::new(),
    };
    let about = body.get(16..)?;
    if let Some(mac) = attribute(about, IFLA_ADDRESS).filter(|_| link.ethernet) {
        link.mac = mac.try_into().unwrap_or_default();
    }
    link.name = text(attribute(about, IFLA_IFNAME));
    if let Some(mtu) = attribute(about, IFLA_MTU) {
        link.mtu = u32_at(mtu, 0)?;
    }
    link.kind = text(attribute(about, IFLA_LINKINFO).and_then(|kind| attribute(kind, IFLA_INFO_KIND)));
    Some(link)
}

#[inline(never)]
fn address(body: &[u8]) -> Option<Address> {
    let about = body.get(8..)?;
    // An IPv6 address has no local one where it has no peer.
    let own = attribute(about, IFA_LOCAL).or_else(|| attribute(about, IFA_ADDRESS));
    Some(Address { index: u32_at(body, 4)?, address: ip(own)?, prefix: *body.get(1)? })
}

#[inline(never)]
fn route(body: &[u8]) -> Option<Route> {
    let [family, prefix, _, _, RT_TABLE_MAIN, _, _, _, _, _, _, _, ref about @ ..] = *body else { return None };
    let any = match family {
        AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let destination = attribute(about, RTA_DST);
    Some(Route {
        index: attribute(about, RTA_OIF).map_or(Some(0), |index| u32_at(index, 0))?,
        destination: if destination.is_some() { ip(destination)? } else { any },
        prefix,
        gateway: ip(attribute(about, RTA_GATEWAY)),
        source: ip(attribute(about, RTA_PREFSRC)),
        onlink: u32_at(body, 8)? & RTNH_F_ONLINK != 0,
    })
}

/// The fixed part of a link message (`struct ifinfomsg`).
fn interface(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..].copy_from_slice(&change.to_ne_bytes());
    body
}

/// A message without attributes yet.
fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    message.extend_from_slice(body);
    message
}

/// Adds an attribute. `value` is at most some 60 bytes here, so the length fits.
fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(align(message.len()), 0);
}

fn put_address(message: &mut Vec<u8>, kind: u16, value: &IpAddr) {
    match value {
        IpAddr::V4(value) => put(message, kind, &value.octets()),
        IpAddr::V6(value) => put(message, kind, &value.octets()),
    }
}

/// The value of the first attribute of a kind; what comes after one that is cut short is not read.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        if u16_at(bytes, 2)? & 0x3fff == wanted {
            return Some(value);
        }
        bytes = bytes.get(align(length)..)?;
    }
}

const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn family(address: &IpAddr) -> u8 {
    if address.is_ipv4() {
        AF_INET
    } else {
        AF_INET6
    }
}

fn ip(bytes: Option<&[u8]>) -> Option<IpAddr> {
    let bytes = bytes?;
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    let bytes = bytes.unwrap_or_default();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::virtual_link::*;
    use super::*;
    use crate::net::pure::link_kind::LinkKind;

    /// Re-labels a request as the kernel would echo it.
    fn echo(request: &[u8]) -> Reply {
        parse(&finished(request.to_vec(), 1)).pop().unwrap().1
    }

    fn finished(mut message: Vec<u8>, sequence: u32) -> Vec<u8> {
        finish(&mut message, sequence);
        message
    }

    #[test]
    fn what_is_asked_for_is_what_is_read_back() {
        let address = Address { index: 3, address: IpAddr::from([10, 0, 2, 15]), prefix: 24 };
        assert_eq!(echo(&set_address(&address)), Reply::Address(address));
        assert_eq!(echo(&set_address_for(&address, 600, 600)), Reply::Address(address));
        let bytes = finished(set_address_for(&address, 600, 600), 1);
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() as u32));
        let info = attribute(&bytes[HEADER + 8..], IFA_CACHEINFO).map(|value| value[..8].to_vec());
        assert_eq!(info, Some([600u32.to_ne_bytes(), 600u32.to_ne_bytes()].concat()));
        let route = Route {
            index: 3,
            destination: IpAddr::from([192, 168, 0, 0]),
            prefix: 16,
            gateway: Some(IpAddr::from([10, 0, 2, 2])),
            source: Some(IpAddr::from([10, 0, 2, 15])),
            onlink: true,
        };
        assert_eq!(echo(&set_route(&route)), Reply::Route(route));
        let address = Address { address: "2001:db8::15".parse().unwrap(), prefix: 64, ..address };
        assert_eq!(echo(&set_address(&address)), Reply::Address(address));
        assert_eq!(echo(&set_address_for(&address, 60, u32::MAX)), Reply::Address(address));
        let gateway = Some("fe80::1".parse().unwrap());
        let destination = IpAddr::from([0; 16]);
        let route = Route { index: 3, destination, prefix: 0, gateway, source: None, onlink: false };
        assert_eq!(echo(&set_route(&route)), Reply::Route(route));
        let Reply::Link(link) = echo(&set_mtu(7, 1400)) else { panic!("not a link") };
        assert_eq!((link.index, link.mtu, link.up), (7, 1400, false));
        let Reply::Link(link) = echo(&link_up(7)) else { panic!("not a link") };
        assert!(link.up);
    }

    /// The attributes of what describes the link's kind.
    fn described(request: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let about = attribute(&request[HEADER + 16..], IFLA_LINKINFO);
        let mut data = about.and_then(|about| attribute(about, IFLA_INFO_DATA)).unwrap_or_default();
        let mut all = Vec::new();
        while let Some(kind) = u16_at(data, 2) {
            all.push((kind, attribute(data, kind).unwrap().to_vec()));
            data = data.get(align(usize::from(u16_at(data, 0).unwrap()))..).unwrap_or_default();
        }
        all
    }

    #[test]
    fn links_that_are_made_have_their_kind_and_its_data() {
        let vlan = LinkKind::Vlan { parent: "eth0".into(), id: 12 };
        let bond = LinkKind::Bond { members: vec![], mode: 4 };
        for (kind, data) in [
            (&vlan, vec![(IFLA_VLAN_ID, 12u16.to_ne_bytes().to_vec())]),
            (&bond, vec![(IFLA_BOND_MODE, vec![4]), (IFLA_BOND_MIIMON, 100u32.to_ne_bytes().to_vec())]),
            (&LinkKind::Bridge { members: vec![] }, vec![]),
        ] {
            let request = make_link("lab0", kind, 7);
            let Reply::Link(link) = echo(&request) else { panic!("not a link") };
            assert_eq!((link.name.as_str(), link.kind.as_str()), ("lab0", kind.text()));
            assert_eq!(described(&request), data);
            let parent = attribute(&request[HEADER + 16..], IFLA_LINK).map(<[u8]>::to_vec);
            assert_eq!(parent, (kind == &vlan).then(|| 7u32.to_ne_bytes().to_vec()));
        }
        let master = set_master(7, 9);
        assert_eq!(attribute(&master[HEADER + 16..], IFLA_MASTER), Some(&9u32.to_ne_bytes()[..]));
        let Reply::Link(link) = echo(&link_down(7)) else { panic!("not a link") };
        assert_eq!((link.index, link.up), (7, false));
    }

    #[test]
    fn a_metric_is_written_where_there_is_one() {
        let route = Route {
            index: 3,
            destination: IpAddr::from([0; 4]),
            prefix: 0,
            gateway: Some(IpAddr::from([10, 0, 2, 2])),
            source: None,
            onlink: false,
        };
        let metric = |request: Vec<u8>| {
            let all = attribute(&request[HEADER + 12..], RTA_PRIORITY).map(<[u8]>::to_vec);
            (request[HEADER + 5], all)
        };
        assert_eq!(metric(set_route(&route)), (RTPROT_DHCP, None));
        let by = set_route_by(&route, RTPROT_STATIC, 100);
        assert_eq!(metric(by), (RTPROT_STATIC, Some(100u32.to_ne_bytes().to_vec())));
    }

    #[test]
    fn a_carrier_and_running_queues_are_two_things() {
        let both = |flags| match echo(&request(RTM_NEWLINK, 0, &interface(7, flags, 0))) {
            Reply::Link(link) => (link.carrier, link.running),
            other => panic!("{other:?}"),
        };
        assert_eq!(both(IFF_UP | IFF_RUNNING | IFF_LOWER_UP), (true, true));
        assert_eq!(both(IFF_UP | IFF_LOWER_UP), (true, false), "the kernel is still at it");
        assert_eq!(both(IFF_UP | IFF_RUNNING), (false, true), "its state is not known yet");
    }

    #[test]
    fn broadcast_is_the_subnets_and_absent_where_there_is_none() {
        let of = |prefix| {
            let bytes = set_address(&Address { index: 1, address: IpAddr::from([10, 0, 2, 15]), prefix });
            attribute(&bytes[HEADER + 8..], IFA_BROADCAST).map(<[u8]>::to_vec)
        };
        assert_eq!(of(24), Some(vec![10, 0, 2, 255]));
        assert_eq!(of(0), Some(vec![255; 4]));
        assert_eq!(of(31), None);
        assert_eq!(of(32), None);
    }

    #[test]
    fn errors_are_positive_errnos_and_dumps_end() {
        let mut error = finished(request(NLMSG_ERROR, 0, &(-17i32).to_ne_bytes()), 9);
        error.extend(finished(request(NLMSG_DONE, 0, &[0; 4]), 9));
        assert_eq!(parse(&error), [(9, Reply::Ack(17)), (9, Reply::Done)]);
    }

    #[test]
    fn a_cut_message_is_no_message_at_any_length() {
        let address = Address { index: 3, address: IpAddr::from([10, 0, 2, 15]), prefix: 24 };
        let whole = finished(set_address(&address), 1);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), [], "cut at {length}");
        }
        let mut lying = whole.clone();
        lying[..4].copy_from_slice(&3u32.to_ne_bytes());
        assert_eq!(parse(&lying), [], "a length below the header's must not loop");
        let mut zero_attribute = whole;
        zero_attribute[24..26].copy_from_slice(&0u16.to_ne_bytes());
        assert_eq!(parse(&zero_attribute), [(1, Reply::Other)]);
    }
}
