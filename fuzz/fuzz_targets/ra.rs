//! Oracle: an advertisement that is accepted comes from a router of the link, with a right checksum and no hop between;
//! its lists are bounded, its name servers can be hosts', its domains can stand in resolv.conf. A client that takes it
//! keeps no more than that, however many come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::net::pure::ra::{parse, Advertisement, Discovery};

fuzz_target!(|input: &[u8]| {
    let mut discovery = Discovery::new(0, 1);
    discovery.handle(0, input);
    // Header and checksum are ours, so that what follows is reached; the first byte is the hop limit.
    let (hop_limit, mut icmp) = (input.first().copied().unwrap_or(255) | 0xfe, input.to_vec());
    if icmp.len() >= 16 {
        icmp[..4].copy_from_slice(&[134, 0, 0, 0]);
    }
    icmp.truncate(2000);
    let packet = whole(hop_limit, icmp);
    match parse(&packet) {
        Ok(Some(advertisement)) => {
            assert_eq!(hop_limit, 255);
            check(&advertisement);
        }
        Ok(None) => assert!(packet.len() < 56, "an advertisement was passed over"),
        Err(_) => {}
    }
    for now_ms in [1, 2, 1_000_000] {
        discovery.handle(now_ms, &packet);
        assert!(discovery.nameservers(now_ms).len() <= 8 && discovery.search(now_ms).len() <= 6);
    }
});

fn check(advertisement: &Advertisement) {
    assert!(advertisement.router.is_unicast_link_local(), "{advertisement:?}");
    assert!(advertisement.nameservers.len() <= 8, "{advertisement:?}");
    for (server, _) in &advertisement.nameservers {
        assert!(!server.is_unspecified() && !server.is_multicast() && !server.is_loopback(), "{server}");
    }
    assert!(advertisement.search.len() <= 6, "{advertisement:?}");
    for (name, _) in &advertisement.search {
        let harmless = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        assert!(!name.is_empty() && name.len() <= 253 && name.chars().all(harmless), "{name:?}");
    }
}

/// An IPv6 packet from fe80::1 to ff02::1, with the right checksum.
fn whole(hop_limit: u8, mut icmp: Vec<u8>) -> Vec<u8> {
    let mut addresses = [0; 32];
    addresses[..2].copy_from_slice(&[0xfe, 0x80]);
    addresses[15] = 1;
    addresses[16..18].copy_from_slice(&[0xff, 2]);
    addresses[31] = 1;
    let words = addresses.chunks(2).chain(icmp.chunks(2));
    let sum: u64 = words.map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
    let check = !(((sum + 58 + icmp.len() as u64) % 0xffff) as u16);
    if icmp.len() >= 4 {
        icmp[2..4].copy_from_slice(&check.to_be_bytes());
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((icmp.len() as u16).to_be_bytes());
    packet.extend([58, hop_limit]);
    packet.extend(addresses);
    packet.extend(icmp);
    packet
}
