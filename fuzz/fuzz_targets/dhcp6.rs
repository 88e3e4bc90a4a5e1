//! Oracle: a reply that is accepted is for this client and transaction, and names its server; its addresses can be
//! hosts', its times are in order. A client that gets it, at any time, never asks in a loop.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::net::pure::dhcp6::message::{parse, Lease};
use ocinit::net::pure::dhcp6::{Action, Client};

const XID: u32 = 0x12_3456;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// ADVERTISE or REPLY, this transaction, this client, a server.
const HEAD: [u8; 32] =
    [7, 0x12, 0x34, 0x56, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1, 0, 2, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 9];

fuzz_target!(|input: &[u8]| {
    let _ = parse(input, XID, MAC);
    let (first, options) = input.split_first().unwrap_or((&0, &[]));
    let mut message = [&HEAD, options].concat();
    message[0] = if first & 1 == 0 { 7 } else { 2 };
    assert!(parse(&message, !XID & 0xff_ffff, MAC).is_err(), "took another transaction's reply");
    assert!(parse(&message, XID, [3; 6]).is_err(), "took another machine's reply");
    if let Ok(reply) = parse(&message, XID, MAC) {
        assert!((1..=130).contains(&reply.lease.server.len()), "{reply:?}");
        check(&reply.lease);
    }
    drive(Client::new(0, MAC, u32::from(*first) + 1, first & 2 == 0), &mut message);
});

/// Answers each message of the client with this one.
fn drive(mut client: Client, message: &mut [u8]) {
    let (mut sent, mut now_ms) = (0, 0);
    for _ in 0..200 {
        match client.poll(now_ms) {
            Action::Send(bytes) => {
                sent += 1;
                message[1..4].copy_from_slice(&bytes[1..4]);
                client.handle(now_ms, message);
            }
            Action::Bound(lease) => {
                check(&lease);
                assert!(!lease.addresses.is_empty(), "{lease:?}");
            }
            Action::Idle => match client.next_wake() {
                Some(wake_ms) => now_ms = now_ms.max(wake_ms),
                None => break,
            },
            Action::Informed(_) | Action::Lost => {}
        }
    }
    assert!(sent <= 8 + now_ms / 500, "{sent} messages in {now_ms} ms");
}

fn check(lease: &Lease) {
    assert!(lease.addresses.len() <= 4 && lease.info.nameservers.len() <= 8 && lease.info.ntp.len() <= 8, "{lease:?}");
    assert!(lease.renew_s <= lease.rebind_s && lease.rebind_s <= lease.valid_s, "{lease:?}");
    for leased in &lease.addresses {
        let address = leased.address;
        assert!(!address.is_unspecified() && !address.is_multicast() && !address.is_loopback(), "{lease:?}");
        assert!(leased.preferred_s <= leased.valid_s && leased.valid_s > 0, "{lease:?}");
    }
    let harmless = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    assert!(lease.info.search.iter().all(|name| !name.is_empty() && name.chars().all(harmless)), "{lease:?}");
}
