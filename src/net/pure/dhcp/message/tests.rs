//! Messages as servers send them, well and badly.
#![cfg(test)]

use super::*;

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub const XID: u32 = 0x3903_f326;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// A server's message with these options after its message type; no END, no padding.
pub fn reply(kind: u8, xid: u32, yiaddr: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0];
    bytes.extend(xid.to_be_bytes());
    bytes.resize(16, 0);
    bytes.extend(yiaddr.octets());
    bytes.resize(28, 0);
    bytes.extend(MAC);
    bytes.resize(FIXED, 0);
    bytes.extend(MAGIC);
    bytes.extend([MESSAGE_TYPE, 1, kind]);
    for (code, value) in options {
        bytes.extend([*code, value.len() as u8]);
        bytes.extend(*value);
    }
    bytes
}

fn with(options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut all: Vec<(u8, &[u8])> = vec![(SERVER, &[10, 0, 2, 2]), (MASK, &[255, 255, 255, 0])];
    all.extend(options);
    reply(5, XID, ADDRESS, &all)
}

fn lease(bytes: &[u8]) -> Lease {
    match parse(bytes, XID, MAC, NOBODY) {
        Ok(Reply::Ack(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

fn route(destination: [u8; 4], prefix: u8, gateway: Option<[u8; 4]>) -> Route {
    Route { destination: destination.into(), prefix, gateway: gateway.map(Ipv4Addr::from) }
}

#[test]
fn a_usual_lease_is_read_whole() {
    let mut bytes = with(&[
        (ROUTER, &[10, 0, 2, 2, 10, 0, 2, 3]),
        (DNS, &[10, 0, 2, 3, 0, 0, 0, 0, 127, 0, 0, 1, 255, 255, 255, 255]),
        (NTP, &[10, 0, 2, 4]),
        (LEASE_TIME, &86400u32.to_be_bytes()),
        (HOST_NAME, b"dut-7\0"),
        (DOMAIN, b"lab.example.org."),
        (MTU, &1400u16.to_be_bytes()),
    ]);
    bytes.extend([END, ROUTER, 200]);
    let expected = Lease {
        address: ADDRESS,
        prefix: 24,
        server: Ipv4Addr::new(10, 0, 2, 2),
        lease_s: 86400,
        renew_s: 43200,
        rebind_s: 75600,
        routes: vec![route([0; 4], 0, Some([10, 0, 2, 2]))],
        nameservers: vec![Ipv4Addr::new(10, 0, 2, 3).into()],
        ntp: vec![Ipv4Addr::new(10, 0, 2, 4).into()],
        search: vec!["lab.example.org".into()],
        hostname: Some("dut-7".into()),
        mtu: Some(1400),
        is_contested: false,
    };
    assert_eq!(lease(&bytes), expected);
}

#[test]
fn what_we_send_has_what_servers_look_for() {
    let bytes = emit(&Outgoing {
        kind: Kind::Request,
        xid: XID,
        secs: 3,
        mac: MAC,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        requested: Some(ADDRESS),
        server: Some(Ipv4Addr::new(10, 0, 2, 2)),
        broadcast: true,
    });
    assert_eq!(bytes.len(), MIN_MESSAGE);
    assert_eq!(bytes[..12], [1, 1, 6, 0, 0x39, 3, 0xf3, 0x26, 0, 3, 0x80, 0]);
    assert_eq!(bytes[28..34], MAC);
    let options = &bytes[FIXED + 4..];
    assert_eq!(options[..3], [53, 1, 3]);
    assert_eq!(options[3..12], [61, 7, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!(options[12..24], [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]);
    assert_eq!(options[24..36], [57, 2, 5, 220, 60, 6, b'o', b'c', b'i', b'n', b'i', b't']);
}

/// Promise: malformed-dhcp
/// Input: dhcp-messages
#[test]
fn messages_that_are_not_for_us_are_dropped_by_reason() {
    let good = with(&[]);
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        parse(&bytes, XID, MAC, NOBODY).err()
    };
    assert_eq!(change(0, 1), Some(Drop::NotReply));
    assert_eq!(change(1, 6), Some(Drop::NotEthernet));
    assert_eq!(change(4, 0), Some(Drop::OtherTransaction));
    assert_eq!(change(33, 0), Some(Drop::OtherHardware));
    assert_eq!(change(FIXED, 0), Some(Drop::Magic));
    assert_eq!(change(FIXED + 5, 2), Some(Drop::OptionPastEnd));
    assert_eq!(change(FIXED + 6, 9), Some(Drop::Unexpected));
    for length in 0..good.len() {
        assert!(parse(&good[..length], XID, MAC, NOBODY).is_err() || length >= FIXED + 13, "cut at {length}");
    }
    assert_eq!(parse(&good[..FIXED], XID, MAC, NOBODY), Err(Drop::Magic));
    assert_eq!(parse(&good[..FIXED - 1], XID, MAC, NOBODY), Err(Drop::Cut));
    assert_eq!(parse(&good[..FIXED + 4], XID, MAC, NOBODY), Err(Drop::NoMessageType));
    assert_eq!(parse(&good[..FIXED + 7], XID, MAC, NOBODY), Err(Drop::NoServer));
}

/// Promise: malformed-dhcp
/// Input: dhcp-messages
#[test]
fn addresses_that_cannot_be_a_hosts_are_refused() {
    let refused = |address: [u8; 4], mask: [u8; 4]| {
        let options: [(u8, &[u8]); 2] = [(SERVER, &[10, 0, 2, 2]), (MASK, &mask)];
        parse(&reply(2, XID, address.into(), &options), XID, MAC, NOBODY) == Err(Drop::BadAddress)
    };
    for address in [[0; 4], [127, 0, 0, 1], [255; 4], [224, 0, 0, 1], [10, 0, 2, 255], [10, 0, 2, 0]] {
        assert!(refused(address, [255, 255, 255, 0]), "{address:?}");
    }
    assert!(!refused([10, 0, 2, 1], [255, 255, 255, 0]));
    assert!(!refused([10, 0, 2, 0], [255, 255, 255, 254]), "both hosts of a /31 are hosts");
    assert!(!refused([10, 0, 2, 255], [255; 4]));
}

#[test]
fn masks_with_holes_and_of_zero_are_replaced_by_the_class() {
    let prefix = |mask: &[u8]| {
        let bytes = reply(5, XID, ADDRESS, &[(SERVER, &[10, 0, 2, 2]), (MASK, mask)]);
        lease(&bytes).prefix
    };
    assert_eq!(prefix(&[255, 255, 255, 0]), 24);
    assert_eq!(prefix(&[255; 4]), 32);
    assert_eq!(prefix(&[255, 255, 0, 255]), 8, "not 16");
    assert_eq!(prefix(&[0; 4]), 8);
    assert_eq!(prefix(&[255, 255, 255]), 8);
}

/// Input: dhcp-options
#[test]
fn times_out_of_order_get_the_defaults_and_infinity_stays() {
    let times = |lease_s: u32, t1: u32, t2: u32| {
        let (lease_s, t1, t2) = (lease_s.to_be_bytes(), t1.to_be_bytes(), t2.to_be_bytes());
        let lease = lease(&with(&[(LEASE_TIME, &lease_s), (T1, &t1), (T2, &t2)]));
        (lease.lease_s, lease.renew_s, lease.rebind_s)
    };
    assert_eq!(times(800, 100, 200), (800, 100, 200));
    assert_eq!(times(800, 200, 100), (800, 400, 700));
    assert_eq!(times(800, 100, 900), (800, 400, 700));
    assert_eq!(times(800, 0, 700), (800, 400, 700));
    assert_eq!(times(86_400, 1, 2), (86_400, 43_200, 75_600), "a request each second");
    assert_eq!(times(86_400, 5, 6), (86_400, 5, 6));
    assert_eq!(times(0, 0, 0), (10, 5, 8));
    assert_eq!(times(10, 0, 0), (10, 5, 8));
    assert_eq!(times(INFINITE, 5, 6), (INFINITE, INFINITE, INFINITE));
    assert_eq!(lease(&with(&[(LEASE_TIME, &[1, 2, 3])])).lease_s, DEFAULT_LEASE_S);
    assert_eq!(lease(&with(&[])).lease_s, DEFAULT_LEASE_S);
}

/// Promise: malformed-dhcp
/// Input: dhcp-messages
#[test]
fn overloaded_fields_are_read_once_and_do_not_nest() {
    let overloaded = |how: u8, file: &[u8], sname: &[u8]| {
        let mut bytes = with(&[(OVERLOAD, &[how])]);
        bytes[FILE.start..FILE.start + file.len()].copy_from_slice(file);
        bytes[SNAME.start..SNAME.start + sname.len()].copy_from_slice(sname);
        parse(&bytes, XID, MAC, NOBODY)
    };
    let (file, sname) = ([HOST_NAME, 2, b'f', b'i'], [HOST_NAME, 2, b's', b'n']);
    let name = |how: u8| match overloaded(how, &file, &sname) {
        Ok(Reply::Ack(lease)) => lease.hostname,
        other => panic!("{other:?}"),
    };
    assert_eq!(name(1).as_deref(), Some("fi"));
    assert_eq!(name(2).as_deref(), Some("sn"));
    assert_eq!(name(3).as_deref(), Some("fisn"), "pieces of one option are put together, file before sname");
    assert_eq!(name(4), None);
    let nested = [OVERLOAD, 1, 3, END];
    let Ok(Reply::Ack(lease)) = overloaded(1, &nested, &sname) else { panic!() };
    assert_eq!(lease.hostname, None, "overload inside file opens nothing");
    assert_eq!(overloaded(1, &[HOST_NAME, 200], &[]), Err(Drop::OptionPastEnd));
}

/// Input: dhcp-options
#[test]
fn a_repeated_option_counts_where_it_first_has_its_length() {
    let mut repeated = with(&[(LEASE_TIME, &[1]), (LEASE_TIME, &[0, 0, 2, 88]), (LEASE_TIME, &[0, 0, 9, 9])]);
    repeated.extend([MESSAGE_TYPE, 1, 6, SERVER, 4, 10, 0, 2, 99, MASK, 4, 255, 0, 0, 0]);
    let lease = lease(&repeated);
    assert_eq!((lease.lease_s, lease.prefix, lease.server), (600, 24, Ipv4Addr::new(10, 0, 2, 2)));
}

/// Input: dhcp-options
#[test]
fn classless_routes_win_over_the_router_unless_they_are_malformed() {
    let routes = |classless: &[u8]| lease(&with(&[(ROUTER, &[10, 0, 2, 2]), (CLASSLESS, classless)])).routes;
    assert_eq!(
        routes(&[0, 10, 0, 2, 1, 24, 192, 168, 7, 10, 0, 2, 9, 32, 10, 1, 1, 1, 0, 0, 0, 0, 12, 172, 31, 10, 0, 2, 8]),
        [
            route([0; 4], 0, Some([10, 0, 2, 1])),
            route([192, 168, 7, 0], 24, Some([10, 0, 2, 9])),
            route([10, 1, 1, 1], 32, None),
            route([172, 16, 0, 0], 12, Some([10, 0, 2, 8])),
        ]
    );
    let by_router = [route([0; 4], 0, Some([10, 0, 2, 2]))];
    assert_eq!(routes(&[33, 10, 0, 2, 1, 1, 10, 0, 2, 1]), by_router);
    assert_eq!(routes(&[0, 10, 0, 2]), by_router);
    assert_eq!(routes(&[]), by_router);
    assert_eq!(routes(&[24, 192, 168, 7, 0, 0, 0, 0]), [route([192, 168, 7, 0], 24, None)], "121 alone: no default");
    // In two pieces (RFC 3396), cut in the middle of an address.
    let two = lease(&with(&[(CLASSLESS, &[0, 10, 0]), (CLASSLESS, &[2, 1])])).routes;
    assert_eq!(two, [route([0; 4], 0, Some([10, 0, 2, 1]))]);
    let own = lease(&with(&[(ROUTER, &[10, 0, 2, 15, 0, 0, 0, 0])])).routes;
    assert_eq!(own, [], "the client is not its own router");
}

/// Promise: dhcp-names
/// Input: dhcp-options
#[test]
fn names_with_shell_characters_are_not_taken() {
    let host = |value: &[u8]| lease(&with(&[(HOST_NAME, value)])).hostname;
    assert_eq!(host(b"dut_7.lab").as_deref(), Some("dut_7.lab"));
    assert_eq!(host(b"$(reboot)"), None);
    assert_eq!(host(b"-rf"), None);
    assert_eq!(host(b"a b"), None);
    assert_eq!(host(b"a\nb"), None);
    assert_eq!(host(&[b'a'; 65]), None);
    assert_eq!(host(&[b'a'; 64]), Some("a".repeat(64)));
    assert_eq!(host(&[b';'; 255]), None);
    assert_eq!(host(&[0, 0]), None);
    assert_eq!(host(&[0xff, 0xfe]), None);
    let mtu = |mtu: u16| lease(&with(&[(MTU, &mtu.to_be_bytes())])).mtu;
    assert_eq!((mtu(575), mtu(576), mtu(1279), mtu(9000)), (None, Some(1280), Some(1280), Some(9000)));
}

/// Promise: odd-dhcp-servers
/// Input: dhcp-servers
#[test]
fn a_server_without_an_identifier_is_its_source_or_siaddr() {
    let mut bytes = reply(5, XID, ADDRESS, &[(MASK, &[255, 255, 255, 0])]);
    bytes[20..24].copy_from_slice(&[10, 0, 2, 7]);
    let server = |bytes: &[u8], source: [u8; 4]| match parse(bytes, XID, MAC, source.into()) {
        Ok(Reply::Ack(lease)) => Some(lease.server.octets()),
        _ => None,
    };
    assert_eq!(server(&bytes, [10, 0, 2, 3]), Some([10, 0, 2, 3]));
    assert_eq!(server(&bytes, [0; 4]), Some([10, 0, 2, 7]));
    bytes[20..24].copy_from_slice(&[0; 4]);
    assert_eq!(server(&bytes, [0; 4]), None);
    assert_eq!(server(&with(&[]), [10, 0, 2, 3]), Some([10, 0, 2, 2]), "its own word counts");
}

/// Promise: search-domains
/// Input: dhcp-options
#[test]
fn search_domains_of_option_119_compressed_and_in_pieces_else_of_option_15() {
    let search = |options: &[(u8, &[u8])]| lease(&with(options)).search;
    let list = b"\x03eng\x05apple\x03com\0\x09marketing\xc0\x04";
    assert_eq!(search(&[(SEARCH, list), (DOMAIN, b"other.org")]), ["eng.apple.com", "marketing.apple.com"]);
    assert_eq!(search(&[(SEARCH, &list[..9]), (SEARCH, &list[9..])]), ["eng.apple.com", "marketing.apple.com"]);
    assert_eq!(search(&[(DOMAIN, b"lab.example.org  example.org\0")]), ["lab.example.org", "example.org"]);
    assert_eq!(search(&[(DOMAIN, b"lab;reboot lab")]), ["lab"]);
    for odd in
        [&b"\xc0\0"[..], b"\x01a\xc0\x09", b"\x01a\xc0", b"\x05ab", b"\x41a\0", b"\x03a;b\0", b"\x03a.b\0", b"\0"]
    {
        assert_eq!(search(&[(SEARCH, odd), (DOMAIN, b"lab")]), ["lab"], "{odd:?}");
    }
    assert_eq!(search(&[(SEARCH, b"\x01a\0\x01b\xc0\x03\x01c\0")]), ["a"], "what is after an odd one is not read");
    assert_eq!(search(&[(SEARCH, &b"\x01a\0".repeat(20))]).len(), MAX_SEARCH);
}

/// Input: dhcp-options
#[test]
fn static_routes_stand_beside_the_router_and_yield_to_classless_ones() {
    let routers = [10, 1, 0, 0, 10, 0, 2, 2, 192, 168, 7, 9, 10, 0, 2, 3, 0, 0, 0, 0, 10, 0, 2, 4, 1];
    let options: [(u8, &[u8]); 2] = [(STATIC_ROUTES, &routers), (ROUTER, &[10, 0, 2, 2])];
    let expected = [
        route([10, 1, 0, 0], 32, Some([10, 0, 2, 2])),
        route([192, 168, 7, 9], 32, Some([10, 0, 2, 3])),
        route([0; 4], 0, Some([10, 0, 2, 2])),
    ];
    assert_eq!(lease(&with(&options)).routes, expected);
    let with_classless = lease(&with(&[options[0], (CLASSLESS, &[0, 10, 0, 2, 1])]));
    assert_eq!(with_classless.routes, [route([0; 4], 0, Some([10, 0, 2, 1]))]);
}

#[test]
fn a_lease_without_router_or_name_server_is_partial() {
    let quality = |options: &[(u8, &[u8])]| lease(&with(options)).quality();
    let [router, dns]: [(u8, &[u8]); 2] = [(ROUTER, &[10, 0, 2, 2]), (DNS, &[10, 0, 2, 3])];
    assert_eq!(quality(&[router, dns]), Quality::Whole);
    assert_eq!(quality(&[router]), Quality::Partial);
    assert_eq!(quality(&[dns]), Quality::Partial);
    let usb = reply(5, XID, Ipv4Addr::new(169, 254, 0, 17), &[(SERVER, &[169, 254, 0, 18]), router, dns]);
    assert_eq!(lease(&usb).quality(), Quality::LinkLocal);
}
