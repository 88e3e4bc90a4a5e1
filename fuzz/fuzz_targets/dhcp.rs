//! Oracle: a lease that is accepted can be used: addresses that a host can have,
//! times in order, prefixes that exist. Another client's reply is never accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::net::pure::dhcp::message::{parse, Lease, Reply};
use std::net::Ipv4Addr;

const XID: u32 = 0x3903_f326;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fuzz_target!(|input: &[u8]| {
    // The fields that a random input would almost never get right.
    let mut message = input.to_vec();
    let fixed: [(usize, &[u8]); 4] = [(0, &[2, 1, 6]), (4, &XID.to_be_bytes()), (28, &MAC), (236, &[99, 130, 83, 99])];
    for (at, bytes) in fixed {
        if let Some(field) = message.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }
    let source = Ipv4Addr::new(10, 0, 2, 2);
    assert!(parse(&message, !XID, MAC, source).is_err(), "took another transaction's reply");
    assert!(parse(&message, XID, [3; 6], source).is_err(), "took another machine's reply");
    match parse(&message, XID, MAC, source) {
        Ok(Reply::Offer(lease) | Reply::Ack(lease)) => check(&lease),
        Ok(Reply::Nak(_)) | Err(_) => {}
    }
});

fn check(lease: &Lease) {
    let address = lease.address;
    assert!(!address.is_unspecified() && !address.is_loopback() && !address.is_broadcast(), "{lease:?}");
    assert!(!address.is_multicast() && lease.prefix <= 32, "{lease:?}");
    assert!(lease.renew_s <= lease.rebind_s && lease.rebind_s <= lease.lease_s, "{lease:?}");
    assert!(lease.routes.iter().all(|route| route.prefix <= 32), "{lease:?}");
    assert!(lease.nameservers.iter().all(|server| !server.is_unspecified()), "{lease:?}");
    let harmless = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    assert!(lease.lease_s >= 10 && lease.routes.len() <= 65 && lease.search.len() <= 8, "{lease:?}");
    assert!(!lease.server.is_unspecified() && lease.search.iter().all(|name| name.len() <= 253), "{lease:?}");
    let gateways = lease.routes.iter().filter_map(|route| route.gateway);
    assert!(gateways.into_iter().all(|gateway| !gateway.is_unspecified() && !gateway.is_multicast()), "{lease:?}");
    let names = lease.search.iter().chain(&lease.hostname);
    assert!(names.into_iter().all(|name| !name.is_empty() && name.chars().all(harmless)), "{lease:?}");
}
