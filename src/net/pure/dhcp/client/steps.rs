//! What the client sends when it is due, state by state.

use crate::net::pure::dhcp::arp;
use crate::net::pure::dhcp::client::{
    lease_end, lease_rebind, lease_renew, to_all, Action, Client, State, MAX_DECLINES,
};
use crate::net::pure::dhcp::message::{Kind, Lease};
use crate::net::pure::dhcp::servers::Fault;
use core::net::Ipv4Addr;

/// DISCOVERs without an answer before every other one has the broadcast flag.
const UNICAST_DISCOVERS: u32 = 2;
/// REQUESTs per offer before a new DISCOVER, and where another server has offered, too.
const MAX_REQUESTS: u32 = 3;
const MAX_REQUESTS_OF_SEVERAL: u32 = 2;
/// REQUESTs for the address that the client had before the link was interrupted; then it counts as still its own (RFC
/// 2131 section 3.2).
const MAX_REBOOTS: u32 = 4;
/// The shortest time between two requests for a renewal (RFC 2131 section 4.4.5), and of a lease below ten minutes.
const MIN_RENEW_MS: u64 = 60_000;
const MIN_SHORT_RENEW_MS: u64 = 1_000;
/// How long an ARP probe waits for an answer before the address is used. It goes out with the REQUEST, so the server's
/// own time to answer is part of it. RFC 5227 has seconds, in which no boot would do anything: a station on a LAN
/// answers within a millisecond, and one that is slower is noticed by the second probe.
const PROBE_MS: u64 = 15;
/// When the second probe is sent, and how long an answer to it counts. Both from the first use of the address.
const SECOND_PROBE_MS: u64 = 1_000;
const SETTLED_MS: u64 = 2_000;
impl Client {
    /// Does what is due.
    pub(super) fn act(&mut self, now_ms: u64) {
        match self.state {
            State::Selecting => match self.best.take_if(|(_, until_ms)| now_ms >= *until_ms) {
                Some((offer, _)) => {
                    self.current = Some(offer);
                    self.enter(now_ms, State::Requesting);
                    self.request(now_ms);
                }
                None => self.discover(now_ms),
            },
            State::Requesting => self.request(now_ms),
            State::Probing => {
                if let Some(mut lease) = self.current.take() {
                    lease.is_contested = self.declines >= MAX_DECLINES;
                    self.bind(now_ms, lease, true);
                }
            }
            State::Bound => match self.second_probe_ms {
                Some(at_ms) if now_ms < self.settled_ms => {
                    if let Some(lease) = self.current.as_ref().filter(|_| now_ms >= at_ms) {
                        self.actions.push(Action::Probe(arp::probe(self.mac, lease.address)));
                        self.second_probe_ms = Some(u64::MAX);
                    }
                    self.wake_ms = self.second_probe_ms.unwrap_or(u64::MAX).min(self.settled_ms);
                }
                Some(_) => {
                    self.second_probe_ms = None;
                    self.declines = 0;
                    self.wake_ms = self.lease_time_ms(lease_renew);
                }
                None => self.renew(now_ms),
            },
            State::Rebooting => self.reboot(now_ms),
            State::Renewing | State::Rebinding => self.renew(now_ms),
        }
    }

    fn discover(&mut self, now_ms: u64) {
        self.discovers += 1;
        self.sent += 1;
        self.silent += 1;
        self.broadcast = self.silent > UNICAST_DISCOVERS && self.silent % 2 == 1;
        self.wake_ms = now_ms.saturating_add(self.retry_ms());
        if let Some((_, until_ms)) = &self.best {
            self.wake_ms = self.wake_ms.min(*until_ms);
        }
        let payload = self.message(now_ms, Kind::Discover, Ipv4Addr::UNSPECIFIED, (None, None));
        self.actions.push(Action::Broadcast(to_all(Ipv4Addr::UNSPECIFIED, &payload)));
    }

    /// Asks for the offer, and whether another station has its address.
    fn request(&mut self, now_ms: u64) {
        let Some(Lease { address, server, .. }) = self.current else { return };
        let limit = if self.servers.are_several() { MAX_REQUESTS_OF_SEVERAL } else { MAX_REQUESTS };
        if self.sent >= limit {
            self.servers.set(server, Some(Fault::NoAck));
            self.restart(now_ms);
            return self.discover(now_ms);
        }
        self.asked_ms = now_ms;
        self.sent += 1;
        self.wake_ms = now_ms.saturating_add(self.retry_ms());
        let payload = self.message(now_ms, Kind::Request, Ipv4Addr::UNSPECIFIED, (Some(address), Some(server)));
        self.probed = Some((now_ms, address));
        self.actions.push(Action::Probe(arp::probe(self.mac, address)));
        self.actions.push(Action::Broadcast(to_all(Ipv4Addr::UNSPECIFIED, &payload)));
    }

    /// The lease counts as soon as its address was probed for long enough.
    pub(super) fn probe(&mut self, now_ms: u64, lease: Lease) {
        let probed_ms = match self.probed {
            Some((at_ms, address)) if address == lease.address => at_ms,
            _ => {
                self.actions.push(Action::Probe(arp::probe(self.mac, lease.address)));
                now_ms
            }
        };
        self.lease_from_ms = self.asked_ms;
        self.current = Some(lease);
        self.enter(now_ms, State::Probing);
        self.wake_ms = now_ms.max(probed_ms + PROBE_MS);
    }

    pub(super) fn bind(&mut self, now_ms: u64, lease: Lease, is_new: bool) {
        self.lease_from_ms = self.asked_ms;
        // One that is contested would be declined again by whoever goes on with it.
        let is_probed = is_new && !lease.is_contested;
        if !is_probed {
            self.declines = 0;
        }
        self.actions.push(Action::Bound(lease.clone()));
        self.current = Some(lease);
        self.enter(now_ms, State::Bound);
        self.first_offer_ms = None;
        self.naks = 0;
        self.second_probe_ms = is_probed.then_some(now_ms + SECOND_PROBE_MS);
        self.settled_ms = now_ms + SETTLED_MS;
        self.wake_ms = self.second_probe_ms.unwrap_or(self.lease_time_ms(lease_renew));
    }

    /// After the link was interrupted (RFC 2131 section 3.2). Without an answer the lease counts until its end.
    fn reboot(&mut self, now_ms: u64) {
        let Some(Lease { address, .. }) = self.current else { return };
        if now_ms >= self.lease_time_ms(lease_end) {
            return self.lose(now_ms);
        }
        if self.sent >= MAX_REBOOTS {
            self.enter(now_ms, State::Bound);
            self.second_probe_ms = None;
            self.wake_ms = self.lease_time_ms(lease_renew);
            return;
        }
        self.asked_ms = now_ms;
        self.sent += 1;
        self.wake_ms = now_ms.saturating_add(self.retry_ms()).min(self.lease_time_ms(lease_end));
        let payload = self.message(now_ms, Kind::Request, Ipv4Addr::UNSPECIFIED, (Some(address), None));
        self.actions.push(Action::Broadcast(to_all(Ipv4Addr::UNSPECIFIED, &payload)));
    }

    /// Bound at T1 and later: asks the server until T2, then any server until the lease expires.
    fn renew(&mut self, now_ms: u64) {
        let Some(Lease { address, server, lease_s, .. }) = self.current else { return };
        let (rebind_ms, end_ms) = (self.lease_time_ms(lease_rebind), self.lease_time_ms(lease_end));
        if now_ms >= end_ms {
            return self.lose(now_ms);
        }
        if self.state == State::Bound {
            self.xid = self.next_random();
            self.started_ms = now_ms;
        }
        let rebinding = now_ms >= rebind_ms;
        let limit_ms = if rebinding { end_ms } else { rebind_ms };
        // RFC 2131 section 4.4.5: half of what is left, but no less than a minute, or a tenth of a short lease.
        let least_ms = (u64::from(lease_s) * 100).clamp(MIN_SHORT_RENEW_MS, MIN_RENEW_MS);
        self.wake_ms = limit_ms.min(now_ms.saturating_add(least_ms.max((limit_ms - now_ms) / 2)));
        self.state = if rebinding { State::Rebinding } else { State::Renewing };
        self.asked_ms = now_ms;
        let payload = self.message(now_ms, Kind::Request, address, (None, None));
        self.actions.push(match rebinding {
            true => Action::Broadcast(to_all(address, &payload)),
            false => Action::Unicast(server, payload),
        });
    }
}
