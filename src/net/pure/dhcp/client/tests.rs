//! The states of the client, driven packet by packet.
#![cfg(test)]

use super::*;
use crate::net::pure::dhcp::frame::tests::to_client;
use crate::net::pure::dhcp::message::tests::{reply, MAC};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ONE: [u8; 4] = [10, 0, 2, 2];
const TWO: [u8; 4] = [10, 0, 2, 3];
const MASK: (u8, &[u8]) = (1, &[255, 255, 255, 0]);
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

fn client() -> Client {
    Client::new(0, MAC, 42)
}

/// The message type, transaction and ciaddr of a packet to be broadcast.
fn sent(action: &Action) -> (u8, u32, [u8; 4]) {
    let Action::Broadcast(packet) = action else { panic!("{action:?}") };
    let payload = &packet[28..];
    let xid = u32::from_be_bytes(payload[4..8].try_into().unwrap());
    (payload[242], xid, payload[12..16].try_into().unwrap())
}

fn serve(client: &mut Client, now_ms: u64, kind: u8, server: [u8; 4], lease_s: u32) {
    let lease_s = lease_s.to_be_bytes();
    let message = reply(kind, client.xid, ADDRESS, &[(54, &server), (51, &lease_s), MASK, (3, &server), (6, &server)]);
    client.handle(now_ms, &to_client(&message));
}

/// The next action but ARP probes.
fn polled(client: &mut Client, now_ms: u64) -> Action {
    loop {
        match client.poll(now_ms) {
            Action::Probe(_) => {}
            other => return other,
        }
    }
}

/// A client whose lease counts from the millisecond 1 on.
fn bound(lease_s: u32) -> Client {
    let mut client = client();
    client.poll(0);
    serve(&mut client, 1, OFFER, ONE, lease_s);
    polled(&mut client, 1);
    serve(&mut client, 2, ACK, ONE, lease_s);
    assert!(matches!(polled(&mut client, 16), Action::Bound(_)));
    assert_eq!(polled(&mut client, 1_016), Action::Idle);
    assert_eq!(polled(&mut client, 2_016), Action::Idle);
    client
}

/// A station's answer to an ARP request for `ADDRESS`.
fn claim() -> Vec<u8> {
    let mut answer = arp::probe([2, 0, 0, 0, 0, 9], Ipv4Addr::UNSPECIFIED);
    answer[14..18].copy_from_slice(&ADDRESS.octets());
    answer
}

#[test]
fn discover_offer_request_ack_without_waiting() {
    let mut client = client();
    let (kind, xid, _) = sent(&polled(&mut client, 0));
    assert_eq!(kind, 1);
    assert_eq!(polled(&mut client, 0), Action::Idle);
    serve(&mut client, 1, OFFER, ONE, 86400);
    let (kind, request_xid, ciaddr) = sent(&polled(&mut client, 1));
    assert_eq!((kind, request_xid, ciaddr), (3, xid, [0; 4]));
    assert_eq!(polled(&mut client, 1), Action::Idle);
    serve(&mut client, 2, ACK, ONE, 86400);
    assert_eq!((polled(&mut client, 15), client.next_wake()), (Action::Idle, Some(16)), "15 ms from the probe on");
    let Action::Bound(lease) = polled(&mut client, 16) else { panic!("not bound") };
    assert_eq!((lease.address, lease.prefix, lease.lease_s), (ADDRESS, 24, 86400));
    assert_eq!(polled(&mut client, 16), Action::Idle);
    assert!(matches!(client.poll(1_016), Action::Probe(_)), "once more");
    assert!(client.listens_to_arp() && !client.listens());
    assert_eq!(polled(&mut client, 2_016), Action::Idle);
    assert!(!client.listens_to_arp());
    assert_eq!(client.next_wake(), Some(1 + 43_200_000), "T1 from the REQUEST");
    assert_eq!((client.discovers(), client.drops().text()), (1, String::new()));
}

#[test]
fn queues_that_begin_to_run_are_used_at_once() {
    let mut client = client();
    polled(&mut client, 0);
    client.resend_now(3);
    assert_eq!(sent(&polled(&mut client, 3)).0, 1);
    assert_eq!(polled(&mut client, 3), Action::Idle);
    let mut bound = bound(600);
    let before = bound.next_wake();
    bound.resend_now(4);
    assert_eq!(bound.next_wake(), before, "a lease is not asked for again");
}

#[test]
fn silence_is_met_with_discovers_that_slow_down() {
    let mut client = client();
    let mut times = Vec::new();
    while times.len() < 6 {
        let now = client.next_wake().unwrap();
        assert_eq!(sent(&polled(&mut client, now)).0, 1);
        assert_eq!(polled(&mut client, now), Action::Idle);
        times.push(now);
    }
    let delays: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (delay, base) in delays.iter().zip([1000, 2000, 4000, 4000, 4000]) {
        assert!((base * 7 / 8..base * 9 / 8).contains(delay), "{delays:?}");
    }
    let mut other = Client::new(0, MAC, 43);
    polled(&mut other, 0);
    assert_ne!(other.next_wake(), Some(times[1]), "another seed, another delay");
}

#[test]
fn where_nobody_waits_for_a_lease_discovers_become_rare() {
    for (is_idle, expected) in [(false, 880..930), (true, 68..78)] {
        let mut client = client();
        client.set_idle(is_idle);
        let (mut now, mut times) = (0, Vec::new());
        while now < 3_600_000 {
            assert_eq!(sent(&polled(&mut client, now)).0, 1);
            times.push(now);
            now = client.next_wake().unwrap();
        }
        assert!(expected.contains(&times.len()), "{}", times.len());
        assert!((50_000..70_000).contains(&times[16]), "quick for a minute: {}", times[16]);
        serve(&mut client, now, OFFER, ONE, 600);
        assert_eq!(sent(&polled(&mut client, now)).0, 3);
        let retry = client.next_wake().unwrap() - now;
        assert!(retry < 2_000, "an offer is followed quickly: {retry}");
    }
}

#[test]
fn a_lost_ack_is_asked_for_again_then_looked_for_elsewhere() {
    let mut client = client();
    let (_, xid, _) = sent(&polled(&mut client, 0));
    serve(&mut client, 0, OFFER, ONE, 600);
    for _ in 0..3 {
        let now = client.next_wake().unwrap();
        assert_eq!(sent(&polled(&mut client, now)).0, 3);
    }
    let now = client.next_wake().unwrap();
    assert!((6_000..8_000).contains(&now), "{now}");
    let (kind, next_xid, _) = sent(&polled(&mut client, now));
    assert_eq!(kind, 1);
    assert_ne!(next_xid, xid);
    // The late ACK belongs to a transaction that is over.
    client.handle(now, &to_client(&reply(ACK, xid, ADDRESS, &[(54, &ONE), MASK])));
    assert_eq!(polled(&mut client, now), Action::Idle);
    assert_eq!(client.drops().of(Drop::OtherTransaction), 1);
}

#[test]
fn a_nak_starts_over_at_once_and_then_slower() {
    let mut client = client();
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..7 {
        assert_eq!(sent(&polled(&mut client, now)).0, 1);
        serve(&mut client, now, OFFER, ONE, 600);
        assert_eq!(sent(&polled(&mut client, now)).0, 3);
        serve(&mut client, now, NAK, ONE, 600);
        waits.push(client.next_wake().unwrap() - now);
        now = client.next_wake().unwrap();
    }
    assert_eq!(waits, [0, 1000, 2000, 3000, 4000, 4000, 4000]);
    assert_eq!(client.naks(), 7);
}

/// Input: dhcp-servers
#[test]
fn two_servers_the_first_offer_counts_and_the_others_nak_does_not() {
    let mut client = client();
    polled(&mut client, 0);
    serve(&mut client, 0, OFFER, ONE, 600);
    serve(&mut client, 0, OFFER, TWO, 600);
    assert_eq!(sent(&polled(&mut client, 0)).0, 3);
    serve(&mut client, 1, NAK, TWO, 600);
    assert_eq!(polled(&mut client, 1), Action::Idle);
    serve(&mut client, 2, ACK, ONE, 600);
    assert!(matches!(polled(&mut client, 16), Action::Bound(_)));
    assert_eq!(client.drops().text(), "2 another server");
}

/// Input: dhcp-servers
#[test]
fn after_the_ack_neither_a_nak_nor_an_offer_changes_anything() {
    let mut client = bound(600);
    serve(&mut client, 3, NAK, ONE, 600);
    serve(&mut client, 3, OFFER, TWO, 600);
    serve(&mut client, 3, ACK, ONE, 600);
    assert_eq!(polled(&mut client, 3), Action::Idle);
    assert_eq!(client.drops().text(), "3 out of turn");
}

#[test]
fn renewal_asks_the_server_then_everybody_then_gives_the_address_back() {
    let mut client = bound(600);
    assert_eq!(polled(&mut client, 300_000), Action::Idle, "one millisecond before T1");
    let Action::Unicast(server, message) = polled(&mut client, 300_001) else { panic!("no renewal") };
    assert_eq!((server, message[242], &message[12..16]), (ONE.into(), 3, &ADDRESS.octets()[..]));
    assert_eq!(client.next_wake(), Some(300_001 + 112_500), "half of what is left until T2");
    let now = client.next_wake().unwrap();
    assert!(matches!(polled(&mut client, now), Action::Unicast(..)));
    assert_eq!(client.next_wake(), Some(now + 60_000), "not more often than each minute");
    assert!(matches!(polled(&mut client, now + 60_000), Action::Unicast(..)));
    assert_eq!(client.next_wake(), Some(525_001), "T2");
    assert_eq!(sent(&polled(&mut client, 525_001)).2, ADDRESS.octets());
    assert_eq!(client.next_wake(), Some(585_001));
    assert_eq!(sent(&polled(&mut client, 585_001)).0, 3);
    assert_eq!(client.next_wake(), Some(600_001), "the end");
    assert_eq!(polled(&mut client, 600_001), Action::Lost);
    assert_eq!(sent(&polled(&mut client, 600_001)).0, 1);
}

#[test]
fn a_renewed_lease_counts_from_its_request() {
    let mut client = bound(600);
    polled(&mut client, 300_001);
    serve(&mut client, 310_000, ACK, ONE, 1200);
    let Action::Bound(lease) = polled(&mut client, 310_000) else { panic!("not renewed") };
    assert_eq!(lease.lease_s, 1200);
    assert_eq!(client.next_wake(), Some(300_001 + 600_000), "from the REQUEST");
    let mut client = bound(600);
    polled(&mut client, 300_001);
    serve(&mut client, 310_000, NAK, ONE, 0);
    assert_eq!(polled(&mut client, 310_000), Action::Lost);
}

#[test]
fn an_infinite_lease_is_never_renewed() {
    let mut client = bound(u32::MAX);
    assert_eq!(client.next_wake(), None);
    assert_eq!(polled(&mut client, u64::MAX - 1), Action::Idle);
}

/// Promise: malformed-dhcp
/// Input: dhcp-messages
#[test]
fn drops_are_told_by_reason() {
    let mut client = client();
    polled(&mut client, 0);
    client.handle(0, &to_client(&reply(OFFER, client.xid ^ 1, ADDRESS, &[(54, &ONE)])));
    client.handle(0, &to_client(&reply(OFFER, client.xid ^ 1, ADDRESS, &[(54, &ONE)])));
    client.handle(0, &to_client(&[0; 20]));
    client.handle(0, b"not even a packet");
    assert_eq!(client.drops().text(), "1 cut short, 2 another transaction");
    assert_eq!(client.offers(), 0);
}

fn flag(action: &Action) -> u8 {
    let Action::Broadcast(packet) = action else { panic!("{action:?}") };
    packet[28 + 10]
}

/// Promise: odd-dhcp-servers
#[test]
fn after_two_unanswered_discovers_every_other_one_asks_for_broadcast() {
    let mut client = client();
    let mut flags = Vec::new();
    while flags.len() < 6 {
        let now = client.next_wake().unwrap();
        flags.push(flag(&client.poll(now)));
    }
    assert_eq!(flags, [0, 0, 0x80, 0, 0x80, 0]);
    let now = client.next_wake().unwrap();
    assert_eq!(flag(&client.poll(now)), 0x80);
    serve(&mut client, now, OFFER, ONE, 600);
    assert_eq!(flag(&polled(&mut client, now)), 0x80, "the REQUEST is answered in the same way");
}

/// Promise: odd-dhcp-servers
/// Input: dhcp-servers
#[test]
fn a_server_that_never_acknowledges_is_asked_last() {
    let mut client = client();
    client.poll(0);
    serve(&mut client, 0, OFFER, TWO, 600);
    serve(&mut client, 1, OFFER, ONE, 600);
    assert_eq!(sent(&polled(&mut client, 1)).0, 3);
    let again = client.next_wake().unwrap();
    assert_eq!(sent(&polled(&mut client, again)).0, 3);
    let now = client.next_wake().unwrap();
    assert!(now < 3_500, "{now}");
    assert_eq!(sent(&polled(&mut client, now)).0, 1);
    assert_eq!(client.faults(), "10.0.2.3 offers, but does not acknowledge");
    serve(&mut client, now, OFFER, TWO, 600);
    assert_eq!(polled(&mut client, now), Action::Idle, "it waits for another one");
    serve(&mut client, now + 5, OFFER, ONE, 600);
    assert_eq!(sent(&polled(&mut client, now + 5)).0, 3);
    serve(&mut client, now + 6, ACK, ONE, 600);
    assert!(matches!(polled(&mut client, now + 20), Action::Bound(_)));
}

/// Promise: better-lease
#[test]
fn a_lease_without_router_waits_three_seconds_for_a_better_one() {
    let mut client = client();
    client.poll(0);
    let partial = reply(OFFER, client.xid, ADDRESS, &[(54, &TWO), MASK]);
    client.handle(5, &to_client(&partial));
    assert_eq!(polled(&mut client, 5), Action::Idle);
    assert_eq!(client.first_offer_ms(), Some(5));
    let now = client.next_wake().unwrap();
    assert_eq!(sent(&polled(&mut client, now)).0, 1, "DISCOVERs go on");
    serve(&mut client, 2_000, OFFER, ONE, 600);
    assert_eq!(sent(&polled(&mut client, 2_000)).0, 3);
    let mut client = self::client();
    client.poll(0);
    client.handle(5, &to_client(&partial));
    let partial = reply(OFFER, client.xid, ADDRESS, &[(54, &TWO), MASK]);
    client.handle(5, &to_client(&partial));
    while client.next_wake().unwrap() < 3_005 {
        let now = client.next_wake().unwrap();
        polled(&mut client, now);
    }
    assert_eq!(sent(&polled(&mut client, 3_005)).0, 3);
}

/// Promise: address-in-use
#[test]
fn an_address_that_another_station_has_is_declined_and_told() {
    let mut client = client();
    client.poll(0);
    serve(&mut client, 1, OFFER, ONE, 600);
    assert!(matches!(client.poll(1), Action::Probe(_)));
    assert_eq!(sent(&client.poll(1)).0, 3);
    serve(&mut client, 2, ACK, ONE, 600);
    client.handle_arp(3, &claim(), &mut |_| false);
    assert_eq!(client.poll(3), Action::InUse(ADDRESS, [2, 0, 0, 0, 0, 9]));
    assert_eq!(sent(&client.poll(3)).0, 4, "DECLINE");
    assert_eq!(sent(&client.poll(3)).0, 1, "and at once DISCOVER");
    assert_eq!(client.faults(), "10.0.2.2 offers an address that is in use");
    // A router that claims every address must not keep the machine without one.
    let mut now = 3;
    for _ in 0..2 {
        serve(&mut client, now, OFFER, ONE, 600);
        polled(&mut client, now);
        client.handle_arp(now, &claim(), &mut |_| false);
        while !matches!(client.poll(now), Action::Idle) {}
        now = client.next_wake().unwrap();
        polled(&mut client, now);
    }
    serve(&mut client, now, OFFER, ONE, 600);
    polled(&mut client, now);
    serve(&mut client, now, ACK, ONE, 600);
    client.handle_arp(now, &claim(), &mut |_| false);
    let Action::Bound(lease) = polled(&mut client, now + 15) else { panic!("not bound") };
    assert!(lease.is_contested && !client.listens_to_arp());
    // The process that keeps the lease does not begin again.
    let mut keeper = Client::resume(now + 100, MAC, 43, lease);
    assert_eq!((keeper.poll(now + 1_100), keeper.listens_to_arp()), (Action::Idle, false));
    keeper.handle_arp(now + 1_101, &claim(), &mut |_| false);
    assert_eq!(keeper.poll(now + 1_101), Action::Idle);
}

/// Promise: address-in-use
#[test]
fn an_address_that_turns_out_to_be_in_use_is_given_up() {
    let mut client = client();
    client.poll(0);
    serve(&mut client, 1, OFFER, ONE, 600);
    polled(&mut client, 1);
    serve(&mut client, 2, ACK, ONE, 600);
    assert!(matches!(polled(&mut client, 16), Action::Bound(_)));
    client.handle_arp(900, &claim(), &mut |mac| mac == [2, 0, 0, 0, 0, 9]);
    assert_eq!(client.poll(900), Action::Idle, "another card of this machine");
    client.handle_arp(900, &claim(), &mut |_| false);
    assert_eq!(client.poll(900), Action::Lost);
    assert!(matches!(client.poll(900), Action::InUse(..)));
    let mut settled = bound(600);
    settled.handle_arp(3_000, &claim(), &mut |_| false);
    assert_eq!(settled.poll(3_000), Action::Idle, "later it is the other station's fault");
}

/// Promise: renewals
#[test]
fn after_a_broken_link_the_lease_is_confirmed_or_given_up() {
    let mut client = bound(600);
    client.link_is_back(10_000);
    let action = client.poll(10_000);
    let Action::Broadcast(packet) = &action else { panic!("{action:?}") };
    assert_eq!(sent(&action).2, [0; 4], "ciaddr is empty (RFC 2131 section 4.3.2)");
    assert!(packet.windows(6).any(|option| option == [50, 4, 10, 0, 2, 15]));
    serve(&mut client, 10_001, ACK, ONE, 600);
    assert!(matches!(client.poll(10_001), Action::Bound(_)));
    client.link_is_back(20_000);
    client.poll(20_000);
    serve(&mut client, 20_001, NAK, TWO, 600);
    assert_eq!(client.poll(20_001), Action::Lost, "another network's server");
    let mut client = bound(600);
    client.link_is_back(10_000);
    let mut now = 10_000;
    while let Action::Broadcast(_) = polled(&mut client, now) {
        now = client.next_wake().unwrap();
    }
    assert!(client.lease().is_some() && !client.listens(), "nobody answers: the lease counts until its end");
    assert_eq!(client.next_wake(), Some(300_001));
}

/// Promise: renewals
#[test]
fn a_lease_of_ten_seconds_is_renewed_after_five() {
    let mut client = bound(10);
    assert_eq!(client.next_wake(), Some(5_001));
    let mut times = Vec::new();
    loop {
        let now = client.next_wake().unwrap();
        match client.poll(now) {
            Action::Unicast(..) | Action::Broadcast(_) => times.push(now),
            other => break assert_eq!((other, now), (Action::Lost, 10_001)),
        }
    }
    assert_eq!(times, [5_001, 6_501, 7_501, 8_001, 9_001]);
}

/// The boot may have done other things since.
/// Promise: renewals
#[test]
fn a_lease_counts_from_when_it_was_given_not_from_when_somebody_keeps_it() {
    let resumed = |now_ms| {
        let lease = bound(600).lease().unwrap().clone();
        let mut client = Client::resume(1_000, MAC, 7, lease);
        let mut actions = Vec::new();
        loop {
            match client.poll(now_ms) {
                Action::Idle if client.next_wake() <= Some(now_ms) => {}
                Action::Idle => return (actions, client.next_wake()),
                Action::Unicast(..) => actions.push("renew"),
                Action::Lost => actions.push("lost"),
                Action::Broadcast(_) => actions.push("broadcast"),
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(resumed(60_000), (vec![], Some(301_000)), "half of it");
    assert_eq!(resumed(310_000).0, ["renew"]);
    assert_eq!(resumed(550_000).0, ["broadcast"]);
    assert_eq!(resumed(601_000).0, ["lost", "broadcast"], "and a new one is asked for");
}
