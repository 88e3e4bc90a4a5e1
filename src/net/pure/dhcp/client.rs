//! The client's state machine (RFC 2131 section 4.4). It owns no clock: all times are the caller's milliseconds.

use crate::net::pure::dhcp::drops::{Drop, Drops};
use crate::net::pure::dhcp::frame;
use crate::net::pure::dhcp::message::{self, Kind, Lease, Outgoing, Reply, INFINITE};
use core::net::Ipv4Addr;

/// The first delay; RFC 2131 has 4 s. On a LAN an answer that takes a second is lost, and a boot waits for it.
const FIRST_RETRY_MS: u64 = 1_000;
/// The longest delay; RFC 2131 has 64 s. A switch port that begins to forward (spanning tree) should see a message
/// soon.
const MAX_RETRY_MS: u64 = 4_000;
/// REQUESTs per offer before a new DISCOVER.
const MAX_REQUESTS: u32 = 3;
/// The shortest time between two requests for a renewal (RFC 2131 section 4.4.5).
const MIN_RENEW_MS: u64 = 60_000;

/// What the caller has to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before [`Client::next_wake`].
    Idle,
    /// An IPv4 packet, to the link's broadcast address.
    Broadcast(Vec<u8>),
    /// A UDP payload from the lease's address, port 68, to the server's port 67.
    Unicast(Ipv4Addr, Vec<u8>),
    /// A new lease, or the old one renewed: the address and all else may have changed.
    Bound(Lease),
    /// The lease has expired: the address may not be used any more. The client asks for a new one.
    Lost,
}

enum State {
    Selecting,
    Requesting(Lease),
    /// The lease, and whether [`Client::poll`] has returned it.
    Bound(Lease, bool),
    Renewing(Lease),
    Rebinding(Lease),
    Lost,
}

/// One interface's client (RFC 2131, section 4.4).
pub struct Client {
    mac: [u8; 6],
    random: u32,
    xid: u32,
    state: State,
    started_ms: u64,
    wake_ms: u64,
    /// When the lease began: at the REQUEST that was acknowledged.
    lease_from_ms: u64,
    /// Messages sent in this state.
    sent: u32,
    discovers: u32,
    offers: u32,
    naks: u32,
    drops: Drops,
}

impl Client {
    /// A client that sends its first DISCOVER at once. Transaction number and delays come from `seed`, which should
    /// differ from other clients'.
    pub fn new(now_ms: u64, mac: [u8; 6], seed: u32) -> Client {
        let mut client = Client {
            mac,
            random: seed.max(1),
            xid: 0,
            state: State::Selecting,
            started_ms: now_ms,
            wake_ms: now_ms,
            lease_from_ms: now_ms,
            sent: 0,
            discovers: 0,
            offers: 0,
            naks: 0,
            drops: Drops::default(),
        };
        client.xid = client.next_random();
        client
    }

    /// Takes a received IPv4 packet. Call [`Client::poll`] after it.
    pub fn handle(&mut self, now_ms: u64, packet: &[u8]) {
        match frame::parse(packet) {
            Ok(None) => {}
            Ok(Some(payload)) => self.handle_message(now_ms, payload),
            Err(reason) => self.drops.count(reason),
        }
    }

    /// As [`Client::handle`], for a UDP payload.
    pub fn handle_message(&mut self, now_ms: u64, payload: &[u8]) {
        let taken = message::parse(payload, self.xid, self.mac).and_then(|reply| self.take(now_ms, reply));
        if let Err(reason) = taken {
            self.drops.count(reason);
        }
    }

    /// What is to be done at `now_ms`; call it until it returns [`Action::Idle`].
    pub fn poll(&mut self, now_ms: u64) -> Action {
        if now_ms < self.wake_ms {
            return Action::Idle;
        }
        match &mut self.state {
            State::Selecting => self.discover(now_ms),
            State::Requesting(offer) if self.sent < MAX_REQUESTS => {
                let requested = Some((offer.address, offer.server));
                self.lease_from_ms = now_ms;
                self.sent += 1;
                self.wake_ms = now_ms.saturating_add(self.retry_ms());
                let payload = self.message(now_ms, Kind::Request, Ipv4Addr::UNSPECIFIED, requested);
                Action::Broadcast(frame::emit(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, &payload))
            }
            State::Requesting(_) => {
                self.restart(now_ms);
                self.discover(now_ms)
            }
            State::Bound(lease, told @ false) => {
                *told = true;
                let action = Action::Bound(lease.clone());
                self.wake_ms = self.lease_time_ms(lease_renew);
                action
            }
            State::Lost => {
                self.restart(now_ms);
                Action::Lost
            }
            State::Bound(..) | State::Renewing(_) | State::Rebinding(_) => self.renew(now_ms),
        }
    }

    /// Sends again what waits for an answer, now: the last message was probably lost on our own side.
    pub fn resend_now(&mut self, now_ms: u64) {
        if matches!(self.state, State::Selecting | State::Requesting(_)) {
            self.wake_ms = now_ms;
        }
    }

    /// When [`Client::poll`] has something to do again; `None` where only a packet gives it something to do.
    pub fn next_wake(&self) -> Option<u64> {
        (self.wake_ms != u64::MAX).then_some(self.wake_ms)
    }

    /// DISCOVERs sent since the start.
    pub fn discovers(&self) -> u32 {
        self.discovers
    }

    /// Usable offers seen since the start.
    pub fn offers(&self) -> u32 {
        self.offers
    }

    pub fn naks(&self) -> u32 {
        self.naks
    }

    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    fn take(&mut self, now_ms: u64, reply: Reply) -> Result<(), Drop> {
        match (&self.state, reply) {
            (State::Selecting, Reply::Offer(offer)) => {
                self.offers += 1;
                self.enter(now_ms, State::Requesting(offer));
            }
            (State::Requesting(offer), Reply::Offer(other)) if other.server != offer.server => {
                return Err(Drop::OtherServer);
            }
            (State::Requesting(had) | State::Renewing(had), Reply::Ack(lease)) => {
                if lease.server != had.server {
                    return Err(Drop::OtherServer);
                }
                self.enter(now_ms, State::Bound(lease, false));
            }
            (State::Rebinding(_), Reply::Ack(lease)) => self.enter(now_ms, State::Bound(lease, false)),
            (State::Requesting(offer), Reply::Nak(server)) => {
                if server.is_some_and(|server| server != offer.server) {
                    return Err(Drop::OtherServer);
                }
                self.naks += 1;
                self.restart(now_ms);
                // At once after the first NAK only: a server that refuses its own offers must not cause a flood.
                self.wake_ms = now_ms + (u64::from(self.naks - 1) * FIRST_RETRY_MS).min(MAX_RETRY_MS);
            }
            (State::Renewing(had), Reply::Nak(Some(server))) if server != had.server => return Err(Drop::OtherServer),
            (State::Renewing(_) | State::Rebinding(_), Reply::Nak(_)) => {
                self.naks += 1;
                self.enter(now_ms, State::Lost);
            }
            _ => return Err(Drop::Unexpected),
        }
        Ok(())
    }

    fn discover(&mut self, now_ms: u64) -> Action {
        self.discovers += 1;
        self.sent += 1;
        self.wake_ms = now_ms.saturating_add(self.retry_ms());
        let payload = self.message(now_ms, Kind::Discover, Ipv4Addr::UNSPECIFIED, None);
        Action::Broadcast(frame::emit(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, &payload))
    }

    /// Bound at T1 and later: asks the server until T2, then any server until the lease expires.
    fn renew(&mut self, now_ms: u64) -> Action {
        let (State::Bound(lease, _) | State::Renewing(lease) | State::Rebinding(lease)) = &self.state else {
            return Action::Idle;
        };
        let lease = lease.clone();
        let (address, server) = (lease.address, lease.server);
        let (rebind_ms, end_ms) = (self.lease_time_ms(lease_rebind), self.lease_time_ms(lease_end));
        if now_ms >= end_ms {
            self.restart(now_ms);
            return Action::Lost;
        }
        if matches!(self.state, State::Bound(..)) {
            self.xid = self.next_random();
            self.started_ms = now_ms;
        }
        let rebinding = now_ms >= rebind_ms;
        let limit_ms = if rebinding { end_ms } else { rebind_ms };
        // RFC 2131 section 4.4.5: half of what is left, but no less than a minute.
        self.wake_ms = limit_ms.min(now_ms.saturating_add(MIN_RENEW_MS.max((limit_ms - now_ms) / 2)));
        self.state = if rebinding { State::Rebinding(lease) } else { State::Renewing(lease) };
        let payload = self.message(now_ms, Kind::Request, address, None);
        match rebinding {
            true => Action::Broadcast(frame::emit(address, Ipv4Addr::BROADCAST, &payload)),
            false => Action::Unicast(server, payload),
        }
    }

    fn message(&self, now_ms: u64, kind: Kind, ciaddr: Ipv4Addr, requested: Option<(Ipv4Addr, Ipv4Addr)>) -> Vec<u8> {
        let secs = (now_ms.saturating_sub(self.started_ms) / 1000).min(0xffff) as u16;
        message::emit(&Outgoing { kind, xid: self.xid, secs, mac: self.mac, ciaddr, requested })
    }

    /// A renewed lease begins at the ACK: the time of its REQUEST is not kept, and the server counts from the ACK.
    fn enter(&mut self, now_ms: u64, state: State) {
        if matches!(self.state, State::Renewing(_) | State::Rebinding(_)) {
            self.lease_from_ms = now_ms;
        }
        self.state = state;
        self.sent = 0;
        self.wake_ms = now_ms;
    }

    fn restart(&mut self, now_ms: u64) {
        self.enter(now_ms, State::Selecting);
        self.xid = self.next_random();
        self.started_ms = now_ms;
    }

    fn lease_time_ms(&self, of: fn(&Lease) -> u32) -> u64 {
        let (State::Bound(lease, _) | State::Renewing(lease) | State::Rebinding(lease)) = &self.state else {
            return u64::MAX;
        };
        match of(lease) {
            INFINITE => u64::MAX,
            seconds => self.lease_from_ms.saturating_add(u64::from(seconds) * 1000),
        }
    }

    /// The delay after the `sent`-th message: doubling, an eighth up or down at random (RFC 2131 section 4.1).
    fn retry_ms(&mut self) -> u64 {
        let base = (FIRST_RETRY_MS << self.sent.saturating_sub(1).min(8)).min(MAX_RETRY_MS);
        base - base / 8 + u64::from(self.next_random()) % (base / 4)
    }

    /// xorshift32: enough to keep clients apart, not for secrets.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

fn lease_renew(lease: &Lease) -> u32 {
    lease.renew_s
}

fn lease_rebind(lease: &Lease) -> u32 {
    lease.rebind_s
}

fn lease_end(lease: &Lease) -> u32 {
    lease.lease_s
}

#[cfg(test)]
mod tests {
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
        let message = reply(kind, client.xid, ADDRESS, &[(54, &server), (51, &lease_s), MASK]);
        client.handle(now_ms, &to_client(&message));
    }

    fn bound(lease_s: u32) -> Client {
        let mut client = client();
        client.poll(0);
        serve(&mut client, 1, OFFER, ONE, lease_s);
        client.poll(1);
        serve(&mut client, 2, ACK, ONE, lease_s);
        assert!(matches!(client.poll(2), Action::Bound(_)));
        client
    }

    #[test]
    fn discover_offer_request_ack_without_waiting() {
        let mut client = client();
        let (kind, xid, _) = sent(&client.poll(0));
        assert_eq!(kind, 1);
        assert_eq!(client.poll(0), Action::Idle);
        serve(&mut client, 1, OFFER, ONE, 86400);
        let (kind, request_xid, ciaddr) = sent(&client.poll(1));
        assert_eq!((kind, request_xid, ciaddr), (3, xid, [0; 4]));
        assert_eq!(client.poll(1), Action::Idle);
        serve(&mut client, 2, ACK, ONE, 86400);
        let Action::Bound(lease) = client.poll(2) else { panic!("not bound") };
        assert_eq!((lease.address, lease.prefix, lease.lease_s), (ADDRESS, 24, 86400));
        assert_eq!(client.poll(2), Action::Idle);
        assert_eq!(client.next_wake(), Some(1 + 43_200_000), "T1 from the REQUEST");
        assert_eq!((client.discovers(), client.drops().text()), (1, String::new()));
    }

    #[test]
    fn queues_that_begin_to_run_are_used_at_once() {
        let mut client = client();
        client.poll(0);
        client.resend_now(3);
        assert_eq!(sent(&client.poll(3)).0, 1);
        assert_eq!(client.poll(3), Action::Idle);
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
            assert_eq!(sent(&client.poll(now)).0, 1);
            assert_eq!(client.poll(now), Action::Idle);
            times.push(now);
        }
        let delays: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (delay, base) in delays.iter().zip([1000, 2000, 4000, 4000, 4000]) {
            assert!((base * 7 / 8..base * 9 / 8).contains(delay), "{delays:?}");
        }
        let mut other = Client::new(0, MAC, 43);
        other.poll(0);
        assert_ne!(other.next_wake(), Some(times[1]), "another seed, another delay");
    }

    #[test]
    fn a_lost_ack_is_asked_for_again_then_looked_for_elsewhere() {
        let mut client = client();
        let (_, xid, _) = sent(&client.poll(0));
        serve(&mut client, 0, OFFER, ONE, 600);
        for _ in 0..3 {
            let now = client.next_wake().unwrap();
            assert_eq!(sent(&client.poll(now)).0, 3);
        }
        let now = client.next_wake().unwrap();
        assert!((6_000..8_000).contains(&now), "{now}");
        let (kind, next_xid, _) = sent(&client.poll(now));
        assert_eq!(kind, 1);
        assert_ne!(next_xid, xid);
        // The late ACK belongs to a transaction that is over.
        client.handle(now, &to_client(&reply(ACK, xid, ADDRESS, &[(54, &ONE), MASK])));
        assert_eq!(client.poll(now), Action::Idle);
        assert_eq!(client.drops().of(Drop::OtherTransaction), 1);
    }

    #[test]
    fn a_nak_starts_over_at_once_and_then_slower() {
        let mut client = client();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(sent(&client.poll(now)).0, 1);
            serve(&mut client, now, OFFER, ONE, 600);
            assert_eq!(sent(&client.poll(now)).0, 3);
            serve(&mut client, now, NAK, ONE, 600);
            waits.push(client.next_wake().unwrap() - now);
            now = client.next_wake().unwrap();
        }
        assert_eq!(waits, [0, 1000, 2000, 3000, 4000, 4000, 4000]);
        assert_eq!(client.naks(), 7);
    }

    /// Input: dhcp-servers
    #[test]
    fn two_servers_the_first_offer_counts_and_the_others_words_do_not() {
        let mut client = client();
        client.poll(0);
        serve(&mut client, 0, OFFER, ONE, 600);
        serve(&mut client, 0, OFFER, TWO, 600);
        assert_eq!(sent(&client.poll(0)).0, 3);
        serve(&mut client, 1, NAK, TWO, 600);
        serve(&mut client, 1, ACK, TWO, 600);
        assert_eq!(client.poll(1), Action::Idle);
        serve(&mut client, 2, ACK, ONE, 600);
        assert!(matches!(client.poll(2), Action::Bound(_)));
        assert_eq!(client.drops().text(), "3 another server");
    }

    /// Input: dhcp-servers
    #[test]
    fn after_the_ack_neither_a_nak_nor_an_offer_changes_anything() {
        let mut client = bound(600);
        serve(&mut client, 3, NAK, ONE, 600);
        serve(&mut client, 3, OFFER, TWO, 600);
        serve(&mut client, 3, ACK, ONE, 600);
        assert_eq!(client.poll(3), Action::Idle);
        assert_eq!(client.drops().text(), "3 out of turn");
    }

    #[test]
    fn renewal_asks_the_server_then_everybody_then_gives_the_address_back() {
        let mut client = bound(600);
        assert_eq!(client.poll(300_000), Action::Idle, "one millisecond before T1");
        let Action::Unicast(server, message) = client.poll(300_001) else { panic!("no renewal") };
        assert_eq!((server, message[242], &message[12..16]), (ONE.into(), 3, &ADDRESS.octets()[..]));
        assert_eq!(client.next_wake(), Some(300_001 + 112_500), "half of what is left until T2");
        let now = client.next_wake().unwrap();
        assert!(matches!(client.poll(now), Action::Unicast(..)));
        assert_eq!(client.next_wake(), Some(now + 60_000), "not more often than each minute");
        assert!(matches!(client.poll(now + 60_000), Action::Unicast(..)));
        assert_eq!(client.next_wake(), Some(525_001), "T2");
        assert_eq!(sent(&client.poll(525_001)).2, ADDRESS.octets());
        assert_eq!(client.next_wake(), Some(585_001));
        assert_eq!(sent(&client.poll(585_001)).0, 3);
        assert_eq!(client.next_wake(), Some(600_001), "the end");
        assert_eq!(client.poll(600_001), Action::Lost);
        assert_eq!(sent(&client.poll(600_001)).0, 1);
    }

    #[test]
    fn a_renewed_lease_counts_from_its_ack() {
        let mut client = bound(600);
        client.poll(300_001);
        serve(&mut client, 310_000, ACK, ONE, 1200);
        let Action::Bound(lease) = client.poll(310_000) else { panic!("not renewed") };
        assert_eq!(lease.lease_s, 1200);
        assert_eq!(client.next_wake(), Some(310_000 + 600_000));
        let mut client = bound(600);
        client.poll(300_001);
        serve(&mut client, 310_000, NAK, ONE, 0);
        assert_eq!(client.poll(310_000), Action::Lost);
    }

    #[test]
    fn an_infinite_lease_is_never_renewed() {
        let mut client = bound(u32::MAX);
        assert_eq!(client.next_wake(), None);
        assert_eq!(client.poll(u64::MAX - 1), Action::Idle);
    }

    /// Promise: malformed-dhcp
    /// Input: dhcp-messages
    #[test]
    fn drops_are_told_by_reason() {
        let mut client = client();
        client.poll(0);
        client.handle(0, &to_client(&reply(OFFER, client.xid ^ 1, ADDRESS, &[(54, &ONE)])));
        client.handle(0, &to_client(&reply(OFFER, client.xid ^ 1, ADDRESS, &[(54, &ONE)])));
        client.handle(0, &to_client(&[0; 20]));
        client.handle(0, b"not even a packet");
        assert_eq!(client.drops().text(), "1 cut short, 2 another transaction");
        assert_eq!(client.offers(), 0);
    }
}
