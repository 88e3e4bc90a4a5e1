//! The lookup of one name: which server is asked when, and what comes of the answers.
//!
//! ```text
//! open ─ Addresses, NoAddress, NoSuchName ─> answered
//!  │ ├── CNAME alone ─> open, for that name (8 times)
//!  │ └── truncated ─> the same server by TCP
//!  ├──── failure, nonsense, ICMP error ─> the next server at once; two of them: that server is not asked again
//!  └──── silence ─> the next server after a pause, also the first again; 12 s in all
//! ```
//!
//! The two families are two such questions, side by side.

use crate::net::pure::dns::{self, Answer, Family, MAX_ALIASES};
use core::net::IpAddr;

/// For one name.
pub const LIMIT_MS: u64 = 12_000;
/// Before the next server is asked, or the only one again: the first times, and later.
const PAUSE_MS: [u64; 2] = [500, 1_000];
const QUICK: usize = 4;
/// How long one family's addresses wait for the other family's.
const GRACE_MS: u64 = 300;
/// Failures after which a server is not asked again.
const FAILURES_MAX: u8 = 2;
/// An alias's time to live is not known here.
const ALIAS_S: u32 = 60;

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the query to the server of this number; by TCP where `stream` is set.
    Send {
        server: usize,
        query: Vec<u8>,
        stream: bool,
    },
    Wait {
        until_ms: u64,
    },
    Done(Result<Found, Failure>),
}

/// A name's addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    pub ttl_s: u32,
    /// The number of the server that gave them.
    pub server: usize,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not a host name: nobody was asked.
    Name,
    /// A server says so.
    NoSuchName(usize),
    NoAddress(usize),
    /// More aliases than are followed.
    Aliases(usize),
    /// What each server did instead of answering; None where that is nothing.
    NoAnswer(Vec<Option<String>>),
}

/// A name that is looked up, for one family or both.
pub struct Lookup {
    name: String,
    questions: Vec<Question>,
    /// The numbers of the servers in the order in which they are asked.
    order: Vec<usize>,
    reasons: Vec<Option<String>>,
    both: bool,
    end_ms: u64,
    /// When the first addresses came.
    found_ms: Option<u64>,
    /// Of the random numbers of queries.
    state: u64,
}

struct Question {
    family: Family,
    name: String,
    id: u16,
    aliases: usize,
    ttl_s: u32,
    /// The place in the order of the server that is next.
    turn: usize,
    sent: usize,
    next_ms: u64,
    asked: Option<usize>,
    /// The server that is to be asked by TCP.
    stream: Option<usize>,
    /// By server.
    failures: Vec<u8>,
    /// The last one, and who gave it.
    answer: Option<(Answer, usize)>,
}

impl Lookup {
    /// Asks `servers` servers, number `first` before the others. `both`: for both families at once; otherwise for IPv4,
    /// and for IPv6 where there is none. `seed` is random: who knows it can forge answers.
    pub fn new(
        name: &str,
        both: bool,
        (servers, first): (usize, usize),
        seed: u64,
        now_ms: u64,
    ) -> Result<Lookup, Failure> {
        dns::query(0, name, Family::V4).map_err(|_| Failure::Name)?;
        let mut order = Vec::new();
        for server in [first].into_iter().chain(0..servers) {
            if server < servers && !order.contains(&server) {
                order.push(server);
            }
        }
        let mut lookup = Lookup {
            name: name.into(),
            questions: Vec::new(),
            order,
            reasons: vec![None; servers],
            both,
            end_ms: now_ms + LIMIT_MS,
            found_ms: None,
            state: seed,
        };
        lookup.open(Family::V4, now_ms, 0);
        if both {
            lookup.open(Family::V6, now_ms, 0);
        }
        Ok(lookup)
    }

    fn open(&mut self, family: Family, now_ms: u64, turn: usize) {
        let question = Question {
            family,
            name: self.name.clone(),
            id: self.id(),
            aliases: 0,
            ttl_s: u32::MAX,
            turn,
            sent: 0,
            next_ms: now_ms,
            asked: None,
            stream: None,
            failures: vec![0; self.order.len()],
            answer: None,
        };
        self.questions.push(question);
    }

    /// The next random number (splitmix64).
    fn id(&mut self) -> u16 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 48) as u16
    }

    pub fn poll(&mut self, now_ms: u64) -> Action {
        if let Some(outcome) = self.outcome(now_ms) {
            return Action::Done(outcome);
        }
        let mut until_ms = self.found_ms.map_or(self.end_ms, |found_ms| self.end_ms.min(found_ms + GRACE_MS));
        for question in self.questions.iter_mut().filter(|question| question.answer.is_none()) {
            let stream = question.stream.take();
            let is_due = stream.is_none() && now_ms >= question.next_ms;
            let due = if is_due { question.next_server(&self.order, now_ms) } else { None };
            if let Some(server) = stream.or(due) {
                question.asked = Some(server);
                let query = dns::query(question.id, &question.name, question.family).unwrap_or_default();
                return Action::Send { server, query, stream: stream.is_some() };
            }
            if question.has_server() {
                until_ms = until_ms.min(question.next_ms);
            }
        }
        Action::Wait { until_ms }
    }

    /// Takes a message of `server`. False where it answers none of the open questions: it is forged, or late.
    pub fn handle(&mut self, now_ms: u64, server: usize, message: &[u8], stream: bool) -> bool {
        for at in 0..self.questions.len() {
            let Some(question) = self.questions.get(at).filter(|question| question.answer.is_none()) else { continue };
            match dns::parse(message, question.id, &question.name, question.family) {
                Err(dns::Error::Unrelated) => {}
                answer => {
                    self.take(now_ms, server, (at, stream), answer);
                    return true;
                }
            }
        }
        false
    }

    /// `server` cannot be reached, or has broken its connection.
    pub fn failed(&mut self, now_ms: u64, server: usize, reason: &str) {
        if let Some(slot) = self.reasons.get_mut(server) {
            *slot = Some(reason.into());
        }
        for question in &mut self.questions {
            if question.asked == Some(server) && question.answer.is_none() {
                question.fail(now_ms, server);
            }
        }
    }

    fn take(&mut self, now_ms: u64, server: usize, (at, stream): (usize, bool), answer: Result<Answer, dns::Error>) {
        let turn = self.order.iter().position(|number| *number == server).unwrap_or_default();
        let next_id = self.id();
        let Some(question) = self.questions.get_mut(at) else { return };
        let reason = match answer {
            Ok(Answer::Addresses(addresses, ttl_s)) => {
                self.found_ms = self.found_ms.or(Some(now_ms));
                question.answer = Some((Answer::Addresses(addresses, ttl_s.min(question.ttl_s)), server));
                return;
            }
            Ok(Answer::Alias(name)) if question.aliases < MAX_ALIASES => {
                // The same server is asked at once.
                let aliases = question.aliases + 1;
                (question.name, question.id, question.aliases) = (name, next_id, aliases);
                (question.turn, question.next_ms, question.ttl_s) = (turn, now_ms, ALIAS_S);
                return;
            }
            Ok(answer @ (Answer::NoAddress | Answer::NoSuchName | Answer::Alias(_))) => {
                let v6_too = answer == Answer::NoAddress && question.family == Family::V4 && !self.both;
                question.answer = Some((answer, server));
                if v6_too {
                    self.open(Family::V6, now_ms, turn);
                }
                return;
            }
            Err(dns::Error::Aliases) => {
                question.answer = Some((Answer::Alias(String::new()), server));
                return;
            }
            Ok(Answer::Truncated) if !stream => {
                question.stream = Some(server);
                return;
            }
            Ok(Answer::Truncated) => "truncated by TCP too".into(),
            Ok(Answer::Failed(code)) => dns::failure(code),
            Err(error) => error.text().into(),
        };
        question.fail(now_ms, server);
        if let Some(slot) = self.reasons.get_mut(server) {
            *slot = Some(reason);
        }
    }

    /// None while there is something to wait for.
    fn outcome(&self, now_ms: u64) -> Option<Result<Found, Failure>> {
        let mut found: Option<Found> = None;
        let (mut no_such, mut no_address, mut aliases, mut open) = (None, None, None, false);
        for question in &self.questions {
            match &question.answer {
                Some((Answer::Addresses(addresses, ttl_s), server)) => match &mut found {
                    Some(found) => {
                        found.addresses.extend(addresses);
                        found.ttl_s = found.ttl_s.min(*ttl_s);
                    }
                    None => found = Some(Found { addresses: addresses.clone(), ttl_s: *ttl_s, server: *server }),
                },
                Some((Answer::NoSuchName, server)) => no_such = no_such.or(Some((*server, question.family))),
                Some((Answer::Alias(_), server)) => aliases = Some(*server),
                Some((_, server)) => no_address = Some(*server),
                None => open |= question.has_server(),
            }
        }
        let unanswered = self.questions.iter().any(|question| question.answer.is_none());
        // RFC 8020: then there is none of the other type either. Some servers say it wrongly to queries for IPv6, so
        // that counts only beside an answer for IPv4 (RFC 4074, section 4.2).
        if let Some((server, Family::V4)) = no_such {
            return Some(Err(Failure::NoSuchName(server)));
        }
        let waited = self.found_ms.is_some_and(|found_ms| now_ms >= found_ms + GRACE_MS);
        if open && now_ms < self.end_ms && !waited {
            return None;
        }
        Some(match (found, no_such, aliases, no_address) {
            (Some(found), ..) => Ok(found),
            _ if unanswered => Err(Failure::NoAnswer(self.reasons.clone())),
            (_, _, Some(server), _) => Err(Failure::Aliases(server)),
            (_, _, _, Some(server)) => Err(Failure::NoAddress(server)),
            (_, Some((server, _)), ..) => Err(Failure::NoSuchName(server)),
            _ => Err(Failure::NoAnswer(self.reasons.clone())),
        })
    }
}

impl Question {
    /// Whether a server is left that has not failed twice.
    fn has_server(&self) -> bool {
        self.failures.iter().any(|failures| *failures < FAILURES_MAX)
    }

    /// The server whose turn it is, if one is left; then it is the next one's, after a pause.
    fn next_server(&mut self, order: &[usize], now_ms: u64) -> Option<usize> {
        for turn in self.turn..self.turn + order.len() {
            let server = order.get(turn % order.len()).copied()?;
            if self.failures.get(server).is_some_and(|failures| *failures < FAILURES_MAX) {
                self.next_ms = now_ms + PAUSE_MS[usize::from(self.sent >= QUICK)];
                (self.turn, self.sent) = (turn + 1, self.sent + 1);
                return Some(server);
            }
        }
        None
    }

    fn fail(&mut self, now_ms: u64, server: usize) {
        if let Some(failures) = self.failures.get_mut(server) {
            *failures = failures.saturating_add(1).min(FAILURES_MAX);
        }
        if self.asked == Some(server) {
            self.next_ms = now_ms;
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What a scripted server does with a query; its bytes may be turned into an answer.
    pub type Script<'a> = &'a dyn Fn(usize, &[u8], bool) -> Vec<Vec<u8>>;

    /// A network of virtual time: each packet takes `way_ms`, and each way loses some.
    pub struct World<'a> {
        pub now_ms: u64,
        pub way_ms: u64,
        pub loss_percent: u64,
        pub state: u64,
        pub script: Script<'a>,
        /// Queries by UDP that were sent, by server.
        pub sent: Vec<usize>,
        pub times: Vec<(u64, usize)>,
    }

    impl<'a> World<'a> {
        pub fn new(servers: usize, script: Script<'a>) -> World<'a> {
            let sent = vec![0; servers];
            World { now_ms: 1_000, way_ms: 5, loss_percent: 0, state: 1, script, sent, times: vec![] }
        }

        pub fn random(&mut self) -> u64 {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.state >> 33
        }

        fn loses(&mut self) -> bool {
            self.random() % 100 < self.loss_percent
        }

        /// Runs a lookup to its end. Answers by TCP are never lost.
        pub fn look_up(&mut self, name: &str, both: bool, first: usize) -> Result<Found, Failure> {
            let seed = self.random();
            let mut lookup = Lookup::new(name, both, (self.sent.len(), first), seed, self.now_ms)?;
            let mut flying: BTreeMap<(u64, usize), (usize, Vec<u8>)> = BTreeMap::new();
            for step in 0..10_000 {
                match lookup.poll(self.now_ms) {
                    Action::Done(outcome) => return outcome,
                    Action::Send { server, query, stream: true } => {
                        let answer = (self.script)(server, &query, true).pop();
                        let taken = answer.is_some_and(|answer| lookup.handle(self.now_ms, server, &answer, true));
                        if !taken {
                            lookup.failed(self.now_ms, server, "no answer by TCP");
                        }
                    }
                    Action::Send { server, query, stream: false } => {
                        self.sent[server] += 1;
                        self.times.push((self.now_ms, server));
                        if self.loses() {
                            continue;
                        }
                        for (at, answer) in (self.script)(server, &query, false).into_iter().enumerate() {
                            if !self.loses() {
                                flying.insert((self.now_ms + 2 * self.way_ms, step * 100 + at), (server, answer));
                            }
                        }
                    }
                    Action::Wait { until_ms } => {
                        assert!(until_ms > self.now_ms, "a wait for the past never ends");
                        match flying.first_key_value().map(|(key, _)| *key).filter(|(at_ms, _)| *at_ms <= until_ms) {
                            None => self.now_ms = until_ms,
                            Some(key) => {
                                self.now_ms = self.now_ms.max(key.0);
                                let (server, answer) = flying.remove(&key).unwrap();
                                lookup.handle(self.now_ms, server, &answer, false);
                            }
                        }
                    }
                }
            }
            panic!("the lookup never ends");
        }
    }

    const OK: u8 = 0;
    const NO_SUCH_NAME: u8 = 3;

    pub fn asks_v4(query: &[u8]) -> bool {
        query[query.len() - 3] == 1
    }

    /// The query turned into an answer with this code, and an address of its family where it is 0.
    pub fn answer(query: &[u8], code: u8, last: u8) -> Vec<u8> {
        let mut bytes = query.to_vec();
        bytes[2] = 0x81;
        bytes[3] = 0x80 | code;
        if code == OK {
            bytes[7] = 1;
            let address: &[u8] = &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
            let address = if asks_v4(query) { &[192, 0, 2, last] } else { address };
            bytes.extend([0xc0, 12, 0, query[query.len() - 3], 0, 1, 0, 0, 0, 60, 0, address.len() as u8]);
            bytes.extend(address);
        }
        bytes
    }

    /// An answer without an address.
    fn empty(query: &[u8]) -> Vec<u8> {
        let mut bytes = answer(query, NO_SUCH_NAME, 0);
        bytes[3] = 0x80;
        bytes
    }

    fn addresses(found: Result<Found, Failure>) -> Vec<String> {
        found.unwrap().addresses.iter().map(IpAddr::to_string).collect()
    }

    const V4: &str = "192.0.2.7";
    const V6: &str = "2001:db8::7";

    #[test]
    fn both_families_are_asked_at_once() {
        let mut world = World::new(1, &|_, query, _| vec![answer(query, OK, 7)]);
        assert_eq!(addresses(world.look_up("a.org", true, 0)), [V4, V6]);
        assert_eq!((world.now_ms, world.sent[0]), (1_010, 2), "one round trip");
        let mut world = World::new(1, &|_, query, _| vec![answer(query, OK, 7)]);
        assert_eq!(addresses(world.look_up("a.org", false, 0)), [V4]);
        assert_eq!(world.sent, [1], "without a route IPv6 is of no use");
        let only_v6 =
            |_: usize, query: &[u8], _: bool| vec![if asks_v4(query) { empty(query) } else { answer(query, OK, 7) }];
        let mut world = World::new(1, &only_v6);
        assert_eq!(addresses(world.look_up("a.org", false, 0)), [V6]);
    }

    /// Promise: name-servers-in-turn
    #[test]
    fn a_silent_server_costs_half_a_second_and_is_not_the_last_word() {
        let second = |server: usize, query: &[u8], _: bool| match server {
            1 => vec![answer(query, OK, 7)],
            _ => vec![],
        };
        let mut world = World::new(3, &second);
        let found = world.look_up("a.org", false, 0).unwrap();
        assert_eq!((found.server, found.ttl_s), (1, 60));
        assert_eq!((world.now_ms, world.sent), (1_510, vec![1, 1, 0]));
        let mut world = World::new(3, &second);
        world.look_up("a.org", false, 1).unwrap();
        assert_eq!(world.sent, [0, 1, 0], "the one that is known to answer is asked first");
        let late = |server: usize, query: &[u8], _: bool| match server {
            0 => vec![answer(query, OK, 7)],
            _ => vec![],
        };
        let mut world = World::new(2, &late);
        world.way_ms = 400;
        assert_eq!(world.look_up("a.org", false, 0).unwrap().server, 0, "a late answer counts");
    }

    #[test]
    fn nobody_answers() {
        let mut world = World::new(2, &|_, _, _| vec![]);
        assert_eq!(world.look_up("a.org", false, 0), Err(Failure::NoAnswer(vec![None, None])));
        let starts: Vec<u64> = world.times.iter().map(|(at_ms, _)| at_ms - 1_000).collect();
        assert_eq!(starts[..6], [0, 500, 1_000, 1_500, 2_000, 3_000]);
        assert_eq!((world.now_ms, world.times.len()), (1_000 + LIMIT_MS, 14));
    }

    /// Promise: name-servers-in-turn
    #[test]
    fn a_server_that_fails_is_passed_over_at_once_and_given_up_after_two() {
        let mut world = World::new(2, &|server, query, _| vec![answer(query, if server == 0 { 2 } else { OK }, 7)]);
        assert_eq!(addresses(world.look_up("a.org", true, 0)), [V4, V6]);
        assert_eq!((world.now_ms, world.sent), (1_020, vec![2, 2]));
        let mut world = World::new(2, &|_, query, _| vec![answer(query, 5, 0)]);
        let refused = Some(dns::failure(5));
        assert_eq!(world.look_up("a.org", false, 0), Err(Failure::NoAnswer(vec![refused.clone(), refused])));
        assert_eq!((world.now_ms, world.sent), (1_040, vec![2, 2]));
    }

    #[test]
    fn one_family_waits_for_the_other_only_for_a_moment() {
        let half = |_: usize, query: &[u8], _: bool| if asks_v4(query) { vec![answer(query, OK, 7)] } else { vec![] };
        let mut world = World::new(1, &half);
        assert_eq!(addresses(world.look_up("a.org", true, 0)), [V4]);
        assert_eq!(world.now_ms, 1_010 + GRACE_MS);
        // Some servers deny the name to those who ask for IPv6.
        let denies = |_: usize, query: &[u8], _: bool| vec![answer(query, if asks_v4(query) { OK } else { 3 }, 7)];
        assert_eq!(addresses(World::new(1, &denies).look_up("a.org", true, 0)), [V4]);
        let other = |_: usize, query: &[u8], _: bool| vec![answer(query, if asks_v4(query) { 3 } else { OK }, 7)];
        assert_eq!(World::new(1, &other).look_up("a.org", true, 0), Err(Failure::NoSuchName(0)));
        let failing =
            |_: usize, query: &[u8], _: bool| vec![if asks_v4(query) { empty(query) } else { answer(query, 2, 0) }];
        let reasons = vec![Some(dns::failure(2))];
        assert_eq!(World::new(1, &failing).look_up("a.org", true, 0), Err(Failure::NoAnswer(reasons)));
        let none = |_: usize, query: &[u8], _: bool| vec![empty(query)];
        assert_eq!(World::new(1, &none).look_up("a.org", true, 0), Err(Failure::NoAddress(0)));
    }

    /// The query answered by an alias alone.
    fn alias(query: &[u8], name: &str) -> Vec<u8> {
        let target = dns::query(0, name, Family::V4).unwrap();
        let target = &target[12..target.len() - 4];
        let mut bytes = answer(query, OK, 0);
        bytes.truncate(query.len());
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, target.len() as u8]);
        bytes.extend(target);
        bytes
    }

    /// Input: dns-answers
    #[test]
    fn aliases_are_followed_eight_times() {
        let number = |query: &[u8]| u32::from(query[14] - b'0') * 10 + u32::from(query[15] - b'0');
        for (last, fits) in [(8, true), (9, false)] {
            let chain = move |_: usize, query: &[u8], _: bool| match number(query) {
                at if at == last => vec![answer(query, OK, 7)],
                at => vec![alias(query, &format!("n{:02}.org", at + 1))],
            };
            let mut world = World::new(1, &chain);
            let found = world.look_up("n00.org", true, 0);
            if fits {
                assert_eq!(found.as_ref().unwrap().ttl_s, ALIAS_S);
                assert_eq!(addresses(found), [V4, V6]);
            } else {
                assert_eq!(found, Err(Failure::Aliases(0)));
            }
            assert!(world.sent[0] <= 18, "{:?}", world.sent);
        }
    }

    /// Input: dns-answers
    #[test]
    fn what_is_truncated_comes_by_tcp_or_from_another_server() {
        let truncated = |query: &[u8]| {
            let mut bytes = empty(query);
            bytes[2] |= 2;
            bytes
        };
        let tcp = move |_: usize, query: &[u8], stream: bool| {
            vec![if stream { answer(query, OK, 7) } else { truncated(query) }]
        };
        let mut world = World::new(1, &tcp);
        assert_eq!(addresses(world.look_up("a.org", true, 0)), [V4, V6]);
        assert_eq!(world.sent, [2]);
        let no_tcp = move |server: usize, query: &[u8], stream: bool| match (server, stream) {
            (0, true) => vec![],
            (0, false) => vec![truncated(query)],
            _ => vec![answer(query, OK, 7)],
        };
        assert_eq!(World::new(2, &no_tcp).look_up("a.org", false, 0).unwrap().server, 1);
        // The answer comes just when it is the next one's turn, which it still has after TCP has failed.
        let mut world = World::new(2, &no_tcp);
        world.way_ms = 250;
        assert_eq!(world.look_up("a.org", false, 0).unwrap().server, 1);
        assert_eq!(world.sent, [1, 1]);
        let twice = move |_: usize, query: &[u8], _: bool| vec![truncated(query)];
        let reasons = vec![Some("truncated by TCP too".to_string())];
        assert_eq!(World::new(1, &twice).look_up("a.org", false, 0), Err(Failure::NoAnswer(reasons)));
    }

    /// Promise: forged-dns
    /// Input: dns-answers
    #[test]
    fn ids_are_random_and_others_answers_are_waited_past() {
        let forged = |_: usize, query: &[u8], _: bool| {
            let mut wrong_id = answer(query, OK, 6);
            wrong_id[1] ^= 1;
            let mut wrong_name = answer(query, OK, 6);
            wrong_name[13] ^= 1;
            vec![wrong_id, wrong_name, b"x".to_vec(), answer(query, OK, 7)]
        };
        assert_eq!(addresses(World::new(1, &forged).look_up("a.org", true, 0)), [V4, V6]);
        let ids: std::collections::BTreeSet<u16> =
            (0..200).map(|seed| Lookup::new("a", true, (1, 0), seed, 0).ok().unwrap().questions[0].id).collect();
        assert!(ids.len() > 190, "{}", ids.len());
        assert_eq!(Lookup::new("a..b", true, (1, 0), 0, 0).err(), Some(Failure::Name));
    }
}
