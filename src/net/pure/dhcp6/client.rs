//! The client's state machine (RFC 8415, section 18.2). It owns no clock: all times are the caller's milliseconds.

use crate::net::pure::dhcp6::message::{self, Drop, Info, Kind, Lease, Leased, Outgoing, Reply, FOR_EVER};
use crate::net::pure::dhcp6::message::{NO_BINDING, SUCCESS};
use core::net::Ipv6Addr;

/// All servers and relay agents of the link: where every message goes.
pub const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
pub const SERVER_PORT: u16 = 547;
pub const CLIENT_PORT: u16 = 546;

/// The longest pause while the boot waits; RFC 8415 has up to an hour.
const MAX_RETRY_MS: u64 = 4_000;
/// That is more than a minute. Later messages come less often.
const BOOT_RETRIES: u32 = 20;
const FIRST_RETRY_MS: u64 = 1_000;
/// REQUESTs to one server before another one is looked for; RFC 8415 has 10, which is minutes.
const MAX_REQUESTS: u32 = 4;
/// REN_TIMEOUT and REB_TIMEOUT, REN_MAX_RT and REB_MAX_RT.
const FIRST_RENEW_MS: u64 = 10_000;
const MAX_RENEW_MS: u64 = 600_000;
/// A server cannot have itself asked more often than this.
const MIN_RENEW_MS: u64 = 10_000;
/// IRT_DEFAULT and IRT_MINIMUM: when information is asked for again.
const REFRESH_S: u32 = 86_400;
const MIN_REFRESH_S: u32 = 600;
/// Addresses that are declined one after the other. Where a station claims each of them, further ones are asked for at
/// the pace of renewals.
const MAX_DECLINES: u32 = 3;
/// This preference ends the wait for better offers.
const BEST: u8 = 255;

/// What the caller has to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before [`Client::next_wake`].
    Idle,
    /// A message to [`SERVERS`], from the link-local address.
    Send(Vec<u8>),
    /// Addresses, new or renewed, and information.
    Bound(Lease),
    /// Information, new or renewed.
    Informed(Info),
    /// The addresses are not valid any more. The client asks for new ones.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Soliciting,
    Requesting,
    Bound,
    Renewing,
    Rebinding,
    /// The server will hear of addresses that another machine has.
    Declining,
    Lost,
    Informing,
    Informed,
}

/// One interface's client.
pub struct Client {
    mac: [u8; 6],
    random: u32,
    xid: u32,
    state: State,
    /// The best offer until now, what is asked for, or what is held; of an answer with information only that counts.
    current: Option<Lease>,
    /// Of the best offer.
    preference: u8,
    /// Whether [`Client::poll`] has returned what this state has brought.
    is_told: bool,
    started_ms: u64,
    wake_ms: u64,
    lease_from_ms: u64,
    /// The last pause, 0 before the first.
    pause_ms: u64,
    /// Messages sent in this state.
    sent: u32,
    /// The server that did not keep its offer: another one's is preferred.
    failed: Vec<u8>,
    /// Since the last address that was kept until its renewal.
    declines: u32,
    solicits: u32,
    offers: u32,
    dropped: u32,
    last_drop: Option<Drop>,
}

impl Client {
    /// A client that asks for addresses (`managed`) or for information only, at once: the kernel's check of the
    /// link-local address has had a random delay already (RFC 8415 section 18.2.1 has one for this).
    pub fn new(now_ms: u64, mac: [u8; 6], seed: u32, managed: bool) -> Client {
        let mut client = Client {
            mac,
            random: seed.max(1),
            xid: 0,
            state: if managed { State::Soliciting } else { State::Informing },
            current: None,
            preference: 0,
            is_told: false,
            started_ms: now_ms,
            wake_ms: now_ms,
            lease_from_ms: now_ms,
            pause_ms: 0,
            sent: 0,
            failed: Vec::new(),
            declines: 0,
            solicits: 0,
            offers: 0,
            dropped: 0,
            last_drop: None,
        };
        client.xid = client.next_random() >> 8;
        client
    }

    /// Takes a UDP payload. Call [`Client::poll`] after it.
    pub fn handle(&mut self, now_ms: u64, payload: &[u8]) {
        let taken = message::parse(payload, self.xid, self.mac).and_then(|reply| self.take(now_ms, reply));
        if let Err(reason) = taken {
            self.dropped = self.dropped.saturating_add(1);
            self.last_drop = Some(reason);
        }
    }

    /// What is to be done at `now_ms`; call it until it returns [`Action::Idle`].
    pub fn poll(&mut self, now_ms: u64) -> Action {
        if now_ms < self.wake_ms {
            return Action::Idle;
        }
        match self.state {
            State::Soliciting if self.current.is_some() => {
                self.enter(now_ms, State::Requesting);
                self.request(now_ms)
            }
            State::Soliciting | State::Informing => {
                self.solicits = self.solicits.saturating_add(1);
                let max_ms = if self.sent < BOOT_RETRIES { MAX_RETRY_MS } else { MAX_RENEW_MS };
                self.retry(now_ms, FIRST_RETRY_MS, max_ms);
                let is_informing = self.state == State::Informing;
                self.send(now_ms, if is_informing { Kind::Information } else { Kind::Solicit })
            }
            State::Requesting => self.request(now_ms),
            State::Bound | State::Informed if !self.is_told => self.tell(now_ms),
            State::Bound | State::Renewing | State::Rebinding => self.renew(now_ms),
            State::Declining => {
                let action = self.send(now_ms, Kind::Decline);
                self.restart(now_ms);
                let pause_ms = if self.declines < MAX_DECLINES { FIRST_RETRY_MS } else { MAX_RENEW_MS };
                self.wake_ms = now_ms.saturating_add(pause_ms);
                action
            }
            State::Lost => {
                self.restart(now_ms);
                Action::Lost
            }
            State::Informed => {
                self.enter(now_ms, State::Informing);
                self.begin(now_ms);
                self.poll(now_ms)
            }
        }
    }

    /// What has come, and when it is asked for again.
    fn tell(&mut self, now_ms: u64) -> Action {
        let Some(lease) = self.current.clone() else { return Action::Idle };
        self.is_told = true;
        if self.state == State::Bound {
            self.wake_ms = self.lease_time_ms(lease.renew_s).max(now_ms.saturating_add(MIN_RENEW_MS));
            return Action::Bound(lease);
        }
        let seconds = lease.info.refresh_s.unwrap_or(REFRESH_S).max(MIN_REFRESH_S);
        self.lease_from_ms = now_ms;
        self.wake_ms = self.lease_time_ms(seconds);
        Action::Informed(lease.info)
    }

    /// When [`Client::poll`] has something to do again; `None` where only a packet gives it something to do.
    pub fn next_wake(&self) -> Option<u64> {
        (self.wake_ms != u64::MAX).then_some(self.wake_ms)
    }

    /// Another machine has the lease's addresses (section 18.2.8): tells the server and asks for others.
    pub fn decline(&mut self, now_ms: u64) {
        if !matches!(self.state, State::Bound | State::Renewing | State::Rebinding) {
            return;
        }
        if let Some(lease) = &self.current {
            self.failed.clone_from(&lease.server);
            self.declines = self.declines.saturating_add(1);
            self.enter(now_ms, State::Declining);
            self.begin(now_ms);
        }
    }

    /// Whether an answer is still waited for.
    pub fn is_asking(&self) -> bool {
        matches!(self.state, State::Soliciting | State::Requesting | State::Informing | State::Declining)
    }

    /// SOLICITs or INFORMATION-REQUESTs sent since the start.
    pub fn solicits(&self) -> u32 {
        self.solicits
    }

    /// Usable offers seen since the start.
    pub fn offers(&self) -> u32 {
        self.offers
    }

    /// How many messages were dropped, and why the last one was.
    pub fn drops(&self) -> Option<(u32, Drop)> {
        Some((self.dropped, self.last_drop?))
    }

    fn take(&mut self, now_ms: u64, reply: Reply) -> Result<(), Drop> {
        let (is_offer, status, usable) = (reply.is_offer, reply.status, !reply.lease.addresses.is_empty());
        let is_other = self.current.as_ref().is_some_and(|had| had.server != reply.lease.server);
        match self.state {
            State::Informing if is_offer || status != SUCCESS => return Err(Drop::Unexpected),
            State::Informing => {
                self.current = Some(reply.lease);
                self.enter(now_ms, State::Informed);
            }
            State::Soliciting if is_offer => {
                if !usable {
                    return Err(Drop::Refused);
                }
                self.offers = self.offers.saturating_add(1);
                let failed = reply.lease.server == self.failed;
                // One that has failed comes after any other.
                let preference = if failed { 0 } else { reply.preference };
                let is_better = |had: &Lease| preference > self.preference || had.server == self.failed;
                if self.current.as_ref().is_none_or(is_better) {
                    (self.current, self.preference) = (Some(reply.lease), preference);
                }
                // Section 18.2.1: offers are collected during the first pause only.
                if (preference == BEST || self.sent > 1) && !failed {
                    self.wake_ms = now_ms;
                }
            }
            State::Soliciting if reply.rapid_commit && usable => self.bind(now_ms, reply.lease),
            State::Requesting | State::Renewing if is_other => return Err(Drop::OtherServer),
            State::Requesting if is_offer => return Err(Drop::Unexpected),
            State::Requesting | State::Rebinding | State::Renewing if usable && !is_offer => {
                self.bind(now_ms, reply.lease);
            }
            State::Requesting => {
                self.fail(now_ms);
                self.wake_ms = now_ms.saturating_add(FIRST_RETRY_MS);
                return Err(Drop::Refused);
            }
            // Section 18.2.10.1: the server has forgotten us; a REQUEST makes it know us again.
            State::Renewing | State::Rebinding if status == NO_BINDING && !is_offer => {
                if let Some(had) = &mut self.current {
                    had.server = reply.lease.server;
                }
                self.enter(now_ms, State::Requesting);
                self.begin(now_ms);
            }
            _ => return Err(Drop::Unexpected),
        }
        Ok(())
    }

    fn bind(&mut self, now_ms: u64, lease: Lease) {
        self.failed.clear();
        self.lease_from_ms = now_ms;
        self.current = Some(lease);
        self.enter(now_ms, State::Bound);
    }

    /// Looks for another server than the one that was asked.
    fn fail(&mut self, now_ms: u64) {
        self.failed = self.current.take().map_or(Vec::new(), |lease| lease.server);
        self.restart(now_ms);
    }

    fn request(&mut self, now_ms: u64) -> Action {
        if self.sent >= MAX_REQUESTS {
            self.fail(now_ms);
            return self.poll(now_ms);
        }
        self.retry(now_ms, FIRST_RETRY_MS, MAX_RETRY_MS);
        self.send(now_ms, Kind::Request)
    }

    /// Bound at T1 and later: asks the server until T2, then any server until the last address is over.
    fn renew(&mut self, now_ms: u64) -> Action {
        let Some(lease) = &self.current else { return Action::Idle };
        let (rebind_ms, end_ms) = (self.lease_time_ms(lease.rebind_s), self.lease_time_ms(lease.valid_s));
        if now_ms >= end_ms {
            self.enter(now_ms, State::Lost);
            return self.poll(now_ms);
        }
        if self.state == State::Bound {
            self.declines = 0;
            self.begin(now_ms);
        }
        let rebinding = now_ms >= rebind_ms;
        let state = if rebinding { State::Rebinding } else { State::Renewing };
        if self.state != state {
            self.enter(now_ms, state);
        }
        self.retry(now_ms, FIRST_RENEW_MS, MAX_RENEW_MS);
        self.wake_ms = self.wake_ms.min(if rebinding { end_ms } else { rebind_ms });
        self.send(now_ms, if rebinding { Kind::Rebind } else { Kind::Renew })
    }

    fn send(&self, now_ms: u64, kind: Kind) -> Action {
        let lease = self.lease();
        // A REBIND is for any server.
        let server = lease.filter(|_| kind != Kind::Rebind).map(|lease| lease.server.as_slice());
        let addresses: &[Leased] = lease.map_or(&[], |lease| &lease.addresses);
        let elapsed_cs = (now_ms.saturating_sub(self.started_ms) / 10).min(0xffff) as u16;
        Action::Send(message::emit(&Outgoing { kind, xid: self.xid, elapsed_cs, mac: self.mac, server, addresses }))
    }

    fn lease(&self) -> Option<&Lease> {
        let is_none = matches!(self.state, State::Soliciting | State::Lost | State::Informing | State::Informed);
        self.current.as_ref().filter(|_| !is_none)
    }

    fn enter(&mut self, now_ms: u64, state: State) {
        self.state = state;
        (self.sent, self.pause_ms, self.wake_ms, self.is_told) = (0, 0, now_ms, false);
    }

    /// A new exchange: another transaction, and the elapsed time begins anew.
    fn begin(&mut self, now_ms: u64) {
        self.xid = self.next_random() >> 8;
        self.started_ms = now_ms;
    }

    fn restart(&mut self, now_ms: u64) {
        self.current = None;
        self.enter(now_ms, State::Soliciting);
        self.begin(now_ms);
    }

    fn lease_time_ms(&self, seconds: u32) -> u64 {
        match seconds {
            FOR_EVER => u64::MAX,
            seconds => self.lease_from_ms.saturating_add(u64::from(seconds) * 1000),
        }
    }

    /// Sets when the message that is sent now is due again (section 15): the pauses double up to a limit, each up to a
    /// tenth longer or shorter. The first is only ever longer, as a SOLICIT's must be (section 18.2.1).
    fn retry(&mut self, now_ms: u64, first_ms: u64, max_ms: u64) {
        let base_ms = if self.pause_ms == 0 { first_ms } else { (self.pause_ms * 2).min(max_ms) };
        let random = u64::from(self.next_random());
        self.pause_ms = match self.sent {
            0 => base_ms + random % (base_ms / 10),
            _ => base_ms - base_ms / 10 + random % (base_ms / 5),
        };
        self.sent += 1;
        self.wake_ms = now_ms.saturating_add(self.pause_ms);
    }

    /// xorshift32: enough to keep clients apart, not for secrets.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::pure::dhcp6::message::tests::{addresses, message, refusal, ADDRESS, MAC, ONE};

    const TWO: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 2];
    const ADVERTISE: u8 = 2;
    const REPLY: u8 = 7;
    const RAPID: (u16, Vec<u8>) = (14, Vec::new());

    fn client() -> Client {
        Client::new(0, MAC, 42, true)
    }

    /// The type of a message to be sent, and the hundredths of a second that it says.
    fn sent(action: Action) -> (u8, u16) {
        let Action::Send(bytes) = action else { panic!("{action:?}") };
        let at = bytes.windows(4).position(|window| window == [0, 8, 0, 2]).unwrap();
        (bytes[0], u16::from_be_bytes([bytes[at + 4], bytes[at + 5]]))
    }

    fn serve(client: &mut Client, now_ms: u64, kind: u8, server: &[u8], more: &[(u16, Vec<u8>)]) {
        let lease = addresses([100, 160], ADDRESS, [200, 300]);
        let bytes = message(kind, client.xid, server, &[&[lease], more].concat());
        client.handle(now_ms, &bytes);
    }

    fn bound() -> Client {
        let mut client = client();
        client.poll(0);
        serve(&mut client, 1, REPLY, ONE, &[RAPID]);
        assert!(matches!(client.poll(1), Action::Bound(_)));
        client
    }

    /// Polls at the client's own times until `until_ms`: times and types of what is sent.
    fn trace(client: &mut Client, until_ms: u64) -> Vec<(u64, u8)> {
        let mut trace = Vec::new();
        while let Some(now_ms) = client.next_wake().filter(|wake_ms| *wake_ms < until_ms) {
            match client.poll(now_ms) {
                Action::Send(bytes) => trace.push((now_ms, bytes[0])),
                Action::Idle => {}
                Action::Lost => trace.push((now_ms, 0)),
                action => panic!("{action:?}"),
            }
        }
        trace
    }

    #[test]
    fn rapid_commit_binds_with_two_messages() {
        let mut client = client();
        assert_eq!(sent(client.poll(0)), (1, 0));
        assert_eq!(client.poll(0), Action::Idle);
        serve(&mut client, 5, REPLY, ONE, &[RAPID]);
        let Action::Bound(lease) = client.poll(5) else { panic!("not bound") };
        assert_eq!((lease.addresses[0].address, lease.renew_s, lease.rebind_s), (ADDRESS, 100, 160));
        assert_eq!((client.poll(5), client.next_wake(), client.is_asking()), (Action::Idle, Some(100_005), false));
    }

    #[test]
    fn offers_are_collected_for_a_second_and_the_preferred_one_is_taken() {
        let mut client = client();
        client.poll(0);
        serve(&mut client, 5, ADVERTISE, ONE, &[(7, vec![1])]);
        serve(&mut client, 6, ADVERTISE, TWO, &[(7, vec![9])]);
        assert_eq!(client.poll(6), Action::Idle, "a better one may come");
        let now_ms = client.next_wake().unwrap();
        assert!((1000..1100).contains(&now_ms), "{now_ms}");
        let Action::Send(request) = client.poll(now_ms) else { panic!("nothing sent") };
        assert!(request[0] == 3 && request.windows(10).any(|window| window == TWO));
        serve(&mut client, now_ms, REPLY, ONE, &[]);
        assert_eq!(client.drops(), Some((1, Drop::OtherServer)));
        serve(&mut client, now_ms, REPLY, TWO, &[]);
        assert!(matches!(client.poll(now_ms), Action::Bound(_)));
        assert_eq!(client.offers(), 2);
    }

    #[test]
    fn the_best_preference_and_a_late_offer_are_not_waited_with() {
        let mut best = client();
        best.poll(0);
        serve(&mut best, 5, ADVERTISE, ONE, &[(7, vec![255])]);
        assert_eq!(sent(best.poll(5)), (3, 0));
        let mut late = client();
        trace(&mut late, 5_000);
        serve(&mut late, 5_000, ADVERTISE, ONE, &[]);
        assert_eq!(sent(late.poll(5_000)).0, 3);
    }

    #[test]
    fn silence_is_met_with_solicits_that_slow_down() {
        let mut client = client();
        let times: Vec<u64> = trace(&mut client, 18_000).iter().map(|(at, _)| *at).collect();
        let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (pause, base) in pauses.iter().zip([1000, 2000, 4000, 4000]) {
            assert!((base * 8 / 10..base * 13 / 10).contains(pause), "{pauses:?}");
        }
        assert!((1000..1100).contains(&pauses[0]), "never shorter than a second: {pauses:?}");
        let now_ms = client.next_wake().unwrap();
        assert_eq!(sent(client.poll(now_ms)), (1, (now_ms / 10) as u16), "the time since the first");
        assert!(trace(&mut client, 3_600_000).len() < 40, "while containers run it is less urgent");
    }

    #[test]
    fn a_server_that_does_not_keep_its_offer_is_asked_last() {
        let mut client = client();
        client.poll(0);
        serve(&mut client, 1, ADVERTISE, ONE, &[(7, vec![255])]);
        let requests = trace(&mut client, 14_000);
        assert_eq!(requests.iter().filter(|(_, kind)| *kind == 3).count(), 4, "{requests:?}");
        assert_eq!(requests.last().unwrap().1, 1, "another one is looked for: {requests:?}");
        serve(&mut client, 14_000, ADVERTISE, ONE, &[(7, vec![255])]);
        serve(&mut client, 14_001, ADVERTISE, TWO, &[]);
        let Action::Send(request) = client.poll(14_001) else { panic!("nothing sent") };
        assert!(request.windows(10).any(|window| window == TWO), "the other one, at once");
        let lease = refusal(2);
        let bytes = message(REPLY, client.xid, TWO, &[lease]);
        client.handle(14_002, &bytes);
        assert_eq!(client.drops(), Some((1, Drop::Refused)));
        assert_eq!(client.next_wake(), Some(15_002), "a refusal must not cause a flood");
        assert_eq!(sent(client.poll(15_002)).0, 1);
    }

    #[test]
    fn no_addresses_are_told_and_waited_past() {
        let mut client = client();
        client.poll(0);
        let bytes = message(ADVERTISE, client.xid, ONE, &[refusal(2)]);
        client.handle(1, &bytes);
        assert_eq!((client.drops(), client.offers()), (Some((1, Drop::Refused)), 0));
        assert_eq!(client.poll(1), Action::Idle);
    }

    #[test]
    fn renewing_rebinding_and_the_end() {
        let mut client = bound();
        let trace = trace(&mut client, 310_000);
        assert_eq!(trace[0], (100_001, 5), "RENEW at T1");
        assert!(trace.contains(&(160_001, 6)), "REBIND at T2: {trace:?}");
        assert!(trace.contains(&(300_001, 0)), "the end: {trace:?}");
        assert_eq!(trace.iter().find(|(at, kind)| *at >= 300_001 && *kind != 0).unwrap().1, 1);
        assert!(trace.len() < 30, "{trace:?}");
    }

    #[test]
    fn a_renewal_is_told_and_a_server_that_forgot_is_asked_anew() {
        let mut client = bound();
        assert_eq!(sent(client.poll(100_001)), (5, 0));
        serve(&mut client, 100_002, REPLY, ONE, &[]);
        let Action::Bound(_) = client.poll(100_002) else { panic!("not told") };
        assert_eq!(client.next_wake(), Some(200_002));
        client.poll(200_002);
        let bytes = message(REPLY, client.xid, ONE, &[refusal(NO_BINDING)]);
        client.handle(200_003, &bytes);
        assert_eq!(sent(client.poll(200_003)), (3, 0));
    }

    #[test]
    fn twenty_thousand_renewals_send_one_message_each() {
        let mut client = bound();
        for _ in 0..20_000 {
            let now_ms = client.next_wake().unwrap();
            assert_eq!(sent(client.poll(now_ms)).0, 5);
            serve(&mut client, now_ms + 1, REPLY, ONE, &[]);
            assert!(matches!(client.poll(now_ms + 1), Action::Bound(_)));
        }
        assert_eq!((client.drops(), client.solicits()), (None, 1));
    }

    #[test]
    fn a_short_lease_is_no_flood() {
        let mut client = client();
        client.poll(0);
        let bytes = message(REPLY, client.xid, ONE, &[addresses([0, 0], ADDRESS, [1, 1]), RAPID]);
        client.handle(1, &bytes);
        assert!(matches!(client.poll(1), Action::Bound(_)));
        assert_eq!(client.next_wake(), Some(10_001));
        assert_eq!(client.poll(10_001), Action::Lost);
        assert_eq!(sent(client.poll(10_001)).0, 1);
    }

    #[test]
    fn duplicates_are_declined() {
        let mut client = bound();
        client.decline(60);
        assert_eq!(sent(client.poll(60)).0, 9);
        assert_eq!(client.poll(60), Action::Idle);
        let mut now_ms = 1_060;
        for _ in 0..2 {
            assert_eq!(sent(client.poll(now_ms)).0, 1);
            serve(&mut client, now_ms, REPLY, ONE, &[RAPID]);
            assert!(matches!(client.poll(now_ms), Action::Bound(_)));
            client.decline(now_ms);
            assert_eq!(sent(client.poll(now_ms)).0, 9);
            now_ms += 1_000;
        }
        assert_eq!(client.next_wake(), Some(602_060), "a station that claims each address causes no flood");
    }

    #[test]
    fn information_is_asked_for_again_when_it_is_old() {
        let mut client = Client::new(0, MAC, 42, false);
        assert_eq!(sent(client.poll(0)).0, 11);
        let bytes = message(REPLY, client.xid, ONE, &[(23, ADDRESS.octets().to_vec()), (32, vec![0, 0, 0, 1])]);
        client.handle(3, &bytes);
        let Action::Informed(info) = client.poll(3) else { panic!("not informed") };
        assert_eq!(info.nameservers, [core::net::IpAddr::from(ADDRESS)]);
        assert!(!client.is_asking());
        assert_eq!(client.next_wake(), Some(600_003), "not every second, whatever the server says");
        assert_eq!(sent(client.poll(600_003)), (11, 0));
    }
}
