//! The client's state machine (RFC 2131 section 4.4). It owns no clock: all times are the caller's milliseconds.

mod steps;

use crate::net::pure::choice::Quality;
use crate::net::pure::dhcp::drops::{Drop, Drops};
use crate::net::pure::dhcp::message::{self, Kind, Lease, Outgoing, Reply, INFINITE};
use crate::net::pure::dhcp::servers::{Fault, Servers};
use crate::net::pure::dhcp::{arp, frame};
use core::net::Ipv4Addr;

/// The first delay; RFC 2131 has 4 s. On a LAN an answer that takes a second is lost, and a boot waits for it.
const FIRST_RETRY_MS: u64 = 1_000;
/// The longest delay; RFC 2131 has 64 s. A switch port that begins to forward (spanning tree) should see a message
/// soon.
const MAX_RETRY_MS: u64 = 4_000;
/// The same where nobody waits for a lease, after DISCOVERs of about a minute.
const IDLE_RETRY_MS: u64 = 64_000;
const IDLE_DISCOVERS: u32 = 16;
/// How long an offer that is not whole, or of a server that has failed, waits for a better one.
const OFFER_WAIT_MS: u64 = 3_000;
/// Addresses that are declined in a row. Where then still somebody claims each address (a router that answers every ARP
/// request), the address is taken.
const MAX_DECLINES: u32 = 3;

/// What the caller has to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before [`Client::next_wake`].
    Idle,
    /// An IPv4 packet, to the link's broadcast address.
    Broadcast(Vec<u8>),
    /// A UDP payload from the lease's address, port 68, to the server's port 67.
    Unicast(Ipv4Addr, Vec<u8>),
    /// An ARP packet, to the link's broadcast address.
    Probe(Vec<u8>),
    /// A new lease, or the old one renewed: the address and all else may have changed.
    Bound(Lease),
    /// The lease has ended: the address may not be used any more. The client asks for a new one.
    Lost,
    /// The address was declined, since this station has it. To be told.
    InUse(Ipv4Addr, [u8; 6]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Selecting,
    Requesting,
    /// Acknowledged, and nobody has answered to the probe yet.
    Probing,
    Bound,
    Renewing,
    Rebinding,
    /// The link was interrupted: the server is asked whether the address still counts.
    Rebooting,
}

/// One interface's client (RFC 2131, section 4.4).
pub struct Client {
    mac: [u8; 6],
    random: u32,
    xid: u32,
    state: State,
    /// What is asked for or held; none while Selecting.
    current: Option<Lease>,
    /// What the caller has to do, in order.
    actions: Vec<Action>,
    started_ms: u64,
    wake_ms: u64,
    /// When the last REQUEST was sent: a lease counts from there.
    asked_ms: u64,
    lease_from_ms: u64,
    /// When the last probe was sent, and of which address.
    probed: Option<(u64, Ipv4Addr)>,
    /// From then on the second probe of an address in use is sent; None when it is settled.
    second_probe_ms: Option<u64>,
    settled_ms: u64,
    /// The best offer that waits for a better one, and until when.
    best: Option<(Lease, u64)>,
    first_offer_ms: Option<u64>,
    /// Messages sent in this state.
    sent: u32,
    /// DISCOVERs since the last offer.
    silent: u32,
    broadcast: bool,
    is_idle: bool,
    discovers: u32,
    offers: u32,
    naks: u32,
    declines: u32,
    drops: Drops,
    servers: Servers,
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
            current: None,
            actions: Vec::new(),
            started_ms: now_ms,
            wake_ms: now_ms,
            asked_ms: now_ms,
            lease_from_ms: now_ms,
            probed: None,
            second_probe_ms: None,
            settled_ms: 0,
            best: None,
            first_offer_ms: None,
            sent: 0,
            silent: 0,
            broadcast: false,
            is_idle: false,
            discovers: 0,
            offers: 0,
            naks: 0,
            declines: 0,
            drops: Drops::default(),
            servers: Servers::default(),
        };
        client.xid = client.next_random();
        client
    }

    /// A client that goes on with `lease`, which began at `leased_ms` and whose address is used already.
    pub fn resume(leased_ms: u64, mac: [u8; 6], seed: u32, lease: Lease) -> Client {
        let mut client = Client::new(leased_ms, mac, seed);
        client.bind(leased_ms, lease, true);
        client.actions.clear();
        client
    }

    /// Says whether nobody waits for a lease, since the network works without one.
    pub fn set_idle(&mut self, is_idle: bool) {
        self.is_idle = is_idle;
    }

    /// Takes a received IPv4 packet. Call [`Client::poll`] after it.
    pub fn handle(&mut self, now_ms: u64, packet: &[u8]) {
        let taken = match frame::parse(packet) {
            Ok(None) => Ok(()),
            Ok(Some((source, payload))) => {
                message::parse(payload, self.xid, self.mac, source).and_then(|reply| self.take(now_ms, reply))
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = taken {
            self.drops.count(reason);
        }
    }

    /// Takes a received ARP packet. Call [`Client::poll`] after it. `is_own` says whether a MAC address is one of this
    /// machine's: a second card on the same LAN answers for the first one's address.
    pub fn handle_arp(&mut self, now_ms: u64, packet: &[u8], is_own: &mut dyn FnMut([u8; 6]) -> bool) {
        let Some(Lease { address, server, .. }) = self.current else { return };
        if !self.listens_to_arp() {
            return;
        }
        let in_use = self.state == State::Bound;
        let conflict = arp::conflict(packet, self.mac, address).filter(|_| self.declines < MAX_DECLINES);
        let Some(station) = conflict.filter(|station| !is_own(*station)) else { return };
        self.declines += 1;
        self.servers.set(server, Some(Fault::AddressInUse));
        let declined = self.message(now_ms, Kind::Decline, Ipv4Addr::UNSPECIFIED, (Some(address), Some(server)));
        self.restart(now_ms);
        if in_use {
            self.actions.push(Action::Lost);
        }
        self.actions.push(Action::InUse(address, station));
        self.actions.push(Action::Broadcast(to_all(Ipv4Addr::UNSPECIFIED, &declined)));
        self.slow_down(now_ms, self.declines);
    }

    /// What is to be done at `now_ms`; call it until it returns [`Action::Idle`].
    pub fn poll(&mut self, now_ms: u64) -> Action {
        if self.actions.is_empty() && now_ms >= self.wake_ms {
            self.act(now_ms);
        }
        if self.actions.is_empty() {
            return Action::Idle;
        }
        self.actions.remove(0)
    }

    /// When [`Client::poll`] has something to do again; `None` where only a packet gives it something to do.
    pub fn next_wake(&self) -> Option<u64> {
        if !self.actions.is_empty() {
            return Some(0);
        }
        (self.wake_ms != u64::MAX).then_some(self.wake_ms)
    }

    /// Sends again what waits for an answer, now: the last message was probably lost on our own side.
    pub fn resend_now(&mut self, now_ms: u64) {
        if matches!(self.state, State::Selecting | State::Requesting | State::Rebooting) {
            self.wake_ms = now_ms;
        }
    }

    /// The link was interrupted, and may lead elsewhere now: a lease is confirmed, without one all begins anew.
    pub fn link_is_back(&mut self, now_ms: u64) {
        if self.lease().is_none() {
            return self.restart(now_ms);
        }
        self.xid = self.next_random();
        self.started_ms = now_ms;
        self.enter(now_ms, State::Rebooting);
    }

    /// Whether it waits for packets of servers; while it has a lease it does so only when that is renewed.
    pub fn listens(&self) -> bool {
        self.state != State::Bound
    }

    /// Whether it waits for ARP packets.
    pub fn listens_to_arp(&self) -> bool {
        match self.state {
            State::Requesting | State::Probing => true,
            State::Bound => self.second_probe_ms.is_some(),
            _ => false,
        }
    }

    /// The lease, once it was given by [`Action::Bound`] and until it is lost.
    pub fn lease(&self) -> Option<&Lease> {
        let is_given = !matches!(self.state, State::Selecting | State::Requesting | State::Probing);
        self.current.as_ref().filter(|_| is_given)
    }

    /// DISCOVERs sent since the start.
    pub fn discovers(&self) -> u32 {
        self.discovers
    }

    /// Usable offers seen since the start.
    pub fn offers(&self) -> u32 {
        self.offers
    }

    /// When the first of them came, since the last lease.
    pub fn first_offer_ms(&self) -> Option<u64> {
        self.first_offer_ms
    }

    pub fn naks(&self) -> u32 {
        self.naks
    }

    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// The servers that have failed, and how.
    pub fn faults(&self) -> String {
        self.servers.text()
    }

    /// What the client holds on the heap, beside the lease's own lists.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.actions.capacity() * size_of::<Action>() + self.servers.capacity()
    }

    fn take(&mut self, now_ms: u64, reply: Reply) -> Result<(), Drop> {
        let had = self.current.as_ref().map(|lease| (lease.server, lease.address));
        let (had_server, had_address) = had.unwrap_or((Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
        match (self.state, reply) {
            (State::Selecting, Reply::Offer(offer)) => self.offered(now_ms, offer),
            (State::Requesting, Reply::Offer(other)) => {
                self.servers.seen(other.server);
                let is_late = other.server == had_server;
                return Err(if is_late { Drop::Unexpected } else { Drop::OtherServer });
            }
            (State::Requesting, Reply::Ack(lease)) => {
                // Servers that share their leases answer for each other.
                if lease.server != had_server && lease.address != had_address {
                    return Err(Drop::OtherServer);
                }
                self.servers.set(lease.server, None);
                self.probe(now_ms, lease);
            }
            (State::Renewing | State::Rebinding | State::Rebooting, Reply::Ack(lease)) => {
                self.bind(now_ms, lease, false);
            }
            (State::Requesting | State::Renewing, Reply::Nak(Some(server))) if server != had_server => {
                return Err(Drop::OtherServer);
            }
            (State::Requesting, Reply::Nak(_)) => {
                self.servers.set(had_server, Some(Fault::Refused));
                self.naks += 1;
                self.restart(now_ms);
                self.slow_down(now_ms, self.naks);
            }
            (State::Renewing | State::Rebinding | State::Rebooting, Reply::Nak(_)) => {
                self.naks += 1;
                self.lose(now_ms);
            }
            _ => return Err(Drop::Unexpected),
        }
        Ok(())
    }

    /// A whole offer is asked for at once, any other one waits for a better one.
    fn offered(&mut self, now_ms: u64, offer: Lease) {
        self.offers += 1;
        self.silent = 0;
        self.first_offer_ms.get_or_insert(now_ms);
        self.servers.seen(offer.server);
        let rank = |servers: &Servers, offer: &Lease| (!servers.is_last(offer.server), offer.quality());
        let own = rank(&self.servers, &offer);
        match &self.best {
            _ if own == (true, Quality::Whole) => {
                self.current = Some(offer);
                self.enter(now_ms, State::Requesting);
            }
            Some((best, _)) if rank(&self.servers, best) >= own => {}
            best => {
                let until_ms = best.as_ref().map_or(now_ms + OFFER_WAIT_MS, |(_, until_ms)| *until_ms);
                self.best = Some((offer, until_ms));
                self.wake_ms = self.wake_ms.min(until_ms);
            }
        }
    }

    fn message(
        &self,
        now_ms: u64,
        kind: Kind,
        ciaddr: Ipv4Addr,
        (requested, server): (Option<Ipv4Addr>, Option<Ipv4Addr>),
    ) -> Vec<u8> {
        let secs = (now_ms.saturating_sub(self.started_ms) / 1000).min(0xffff) as u16;
        let broadcast = self.broadcast && ciaddr.is_unspecified() && kind != Kind::Decline;
        message::emit(&Outgoing { kind, xid: self.xid, secs, mac: self.mac, ciaddr, requested, server, broadcast })
    }

    fn enter(&mut self, now_ms: u64, state: State) {
        self.state = state;
        self.sent = 0;
        self.wake_ms = now_ms;
        self.best = None;
    }

    fn restart(&mut self, now_ms: u64) {
        self.current = None;
        self.enter(now_ms, State::Selecting);
        self.xid = self.next_random();
        self.started_ms = now_ms;
        self.second_probe_ms = None;
    }

    fn lose(&mut self, now_ms: u64) {
        self.restart(now_ms);
        self.actions.push(Action::Lost);
    }

    /// The next DISCOVER at once after the first failure only: a server that refuses its own offers must not cause a
    /// flood.
    fn slow_down(&mut self, now_ms: u64, failures: u32) {
        self.wake_ms = now_ms + (u64::from(failures.saturating_sub(1)) * FIRST_RETRY_MS).min(MAX_RETRY_MS);
    }

    fn lease_time_ms(&self, of: fn(&Lease) -> u32) -> u64 {
        match self.lease().map(of) {
            None | Some(INFINITE) => u64::MAX,
            Some(seconds) => self.lease_from_ms.saturating_add(u64::from(seconds) * 1000),
        }
    }

    /// The delay after the `sent`-th message: doubling, an eighth up or down at random (RFC 2131 section 4.1).
    fn retry_ms(&mut self) -> u64 {
        let max_ms = if self.is_idle && self.silent > IDLE_DISCOVERS { IDLE_RETRY_MS } else { MAX_RETRY_MS };
        let base = (FIRST_RETRY_MS << self.sent.saturating_sub(1).min(8)).min(max_ms);
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

/// The message by which the station `mac` gives `address` back (RFC 2131 section 4.4.6).
pub fn release(address: Ipv4Addr, server: Ipv4Addr, mac: [u8; 6], xid: u32) -> Vec<u8> {
    message::emit(&Outgoing {
        kind: Kind::Release,
        xid,
        secs: 0,
        mac,
        ciaddr: address,
        requested: None,
        server: Some(server),
        broadcast: false,
    })
}

fn to_all(source: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    frame::emit(source, Ipv4Addr::BROADCAST, payload)
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
mod tests;
