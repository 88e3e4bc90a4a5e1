//! Which time server is asked when, and which of their answers is the time.
//!
//! All servers are asked at once, and those that are silent again each second. Of one server an answer that took at
//! most a quarter of a second is enough; otherwise the fastest of three is taken. Of several servers the first two that
//! agree are enough; where only one answers within a second after the first answer, it is believed, and where none
//! agree, the one that is named first, with a warning.

use crate::net::pure::sntp::{self, Time, PACKET_BYTES};

/// boot2container's three tries of five seconds.
pub const LIMIT_MS: u64 = 15_000;
/// Between two requests to one server.
const PAUSE_MS: u64 = 1_000;
/// An answer that is off by half of it at most is good enough for certificates, logs and file times.
const NEAR_MS: u64 = 250;
const SAMPLES: usize = 3;
/// How long the first answer waits for a second server's, and for the faster ones of its own.
const SECOND_MS: u64 = 1_000;
const FASTER_MS: u64 = 4_000;
/// Two servers agree if they differ by no more than this beyond what their round trips explain.
const AGREE_MS: i64 = 100;
const FAILURES_MAX: u8 = 3;

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the packet to the server of this number.
    Send {
        server: usize,
        packet: [u8; PACKET_BYTES],
    },
    Wait {
        until_ms: u64,
    },
    /// The time; or for each server what it did instead of telling it, None where that is nothing.
    Done(Result<Chosen, Vec<Option<String>>>),
}

/// A server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub server: usize,
    /// The time at `at_ms` of the machine's uptime.
    pub time: Time,
    pub at_ms: u64,
    /// The round trip.
    pub delay_ms: u64,
}

/// The answer that is believed, and one that says something else, where no two agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub best: Sample,
    pub contradicts: Option<Sample>,
}

/// A question for the time, to some servers.
pub struct Client {
    servers: Vec<Server>,
    end_ms: u64,
    floor_s: i64,
    state: u64,
    /// When the first answer came.
    first_ms: Option<u64>,
    /// Take all samples of each server.
    thorough: bool,
}

#[derive(Default)]
struct Server {
    /// Each request's cookie and time. Their number is limited by that of the pauses.
    sent: Vec<(u64, u64)>,
    next_ms: u64,
    samples: usize,
    best: Option<Sample>,
    failures: u8,
    reason: Option<String>,
}

impl Client {
    /// Asks `servers` servers until `end_ms` at most. A time before `floor_s` is wrong. `seed` is random: who knows it
    /// can forge answers. `thorough`: three samples of each server, however fast they are.
    pub fn new(servers: usize, (now_ms, end_ms): (u64, u64), floor_s: i64, seed: u64, thorough: bool) -> Client {
        let server = |_| Server { next_ms: now_ms, ..Server::default() };
        Client { servers: (0..servers).map(server).collect(), end_ms, floor_s, state: seed, first_ms: None, thorough }
    }

    pub fn poll(&mut self, now_ms: u64) -> Action {
        if let Some(outcome) = self.outcome(now_ms) {
            return Action::Done(outcome);
        }
        let mut until_ms = self.end_ms;
        if let Some(first_ms) = self.first_ms.filter(|first_ms| now_ms < first_ms + SECOND_MS) {
            until_ms = until_ms.min(first_ms + SECOND_MS);
        }
        for (number, server) in self.servers.iter_mut().enumerate() {
            if !server.is_open(self.thorough) {
                continue;
            }
            if now_ms >= server.next_ms {
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let cookie = mixed(self.state).max(1);
                server.sent.push((cookie, now_ms));
                server.next_ms = now_ms + PAUSE_MS;
                return Action::Send { server: number, packet: sntp::query(cookie) };
            }
            until_ms = until_ms.min(server.next_ms);
        }
        Action::Wait { until_ms }
    }

    /// Takes a packet of `server`. False where it answers none of the requests: it is forged, or comes twice.
    pub fn handle(&mut self, now_ms: u64, number: usize, packet: &[u8]) -> bool {
        let Some(server) = self.servers.get_mut(number) else { return false };
        for at in 0..server.sent.len() {
            let Some((cookie, sent_ms)) = server.sent.get(at).copied() else { continue };
            match sntp::parse(packet, cookie, now_ms.saturating_sub(sent_ms), self.floor_s) {
                Err(sntp::Error::Unrelated) => continue,
                Ok((time, delay_ms)) => {
                    self.first_ms = self.first_ms.or(Some(now_ms));
                    server.samples += 1;
                    if server.best.is_none_or(|best| delay_ms < best.delay_ms) {
                        server.best = Some(Sample { server: number, time, at_ms: now_ms, delay_ms });
                    }
                }
                Err(error) => {
                    // RFC 5905, section 7.4: who is told to go away does not ask again.
                    let is_kiss = matches!(error, sntp::Error::KissOfDeath(_));
                    server.fail(error.text(), if is_kiss { FAILURES_MAX } else { 1 });
                }
            }
            server.sent.remove(at);
            return true;
        }
        false
    }

    /// `server` cannot be reached.
    pub fn failed(&mut self, number: usize, reason: &str) {
        if let Some(server) = self.servers.get_mut(number) {
            server.fail(reason.into(), 1);
        }
    }

    /// None while there is something to wait for.
    fn outcome(&self, now_ms: u64) -> Option<Result<Chosen, Vec<Option<String>>>> {
        let is_over = now_ms >= self.end_ms || !self.servers.iter().any(|server| server.is_open(self.thorough));
        if self.thorough && !is_over {
            return None;
        }
        let mut samples = Vec::new();
        for server in &self.servers {
            samples.extend_from_slice(server.best.as_slice());
        }
        let of_agreeing = |sample: &Sample| samples.iter().filter(|other| agree(sample, other)).count();
        // Of two that agree with as many others the faster one; of two as fast ones the one that is named first.
        let rank = |sample: &Sample| (usize::MAX - of_agreeing(sample), sample.delay_ms);
        let Some(best) = samples.iter().min_by_key(|sample| rank(sample)).copied() else {
            let mut reasons = Vec::new();
            for server in &self.servers {
                reasons.push(server.reason.clone());
            }
            return is_over.then_some(Err(reasons));
        };
        if of_agreeing(&best) >= 2 {
            return Some(Ok(Chosen { best, contradicts: None }));
        }
        let waited = |ms| self.first_ms.is_some_and(|first_ms| now_ms >= first_ms + ms);
        let alone = self.servers.iter().all(|server| server.best.is_some() || !server.is_open(false));
        let settled = self.servers.iter().all(|server| server.best.is_none() || !server.is_open(false));
        if !(is_over || waited(FASTER_MS) || settled && (waited(SECOND_MS) || alone)) {
            return None;
        }
        let first = samples.first().copied()?;
        Some(Ok(Chosen { best: first, contradicts: samples.get(1).copied() }))
    }
}

impl Server {
    /// Whether it is to be asked again.
    fn is_open(&self, thorough: bool) -> bool {
        let near = !thorough && self.best.is_some_and(|best| best.delay_ms <= NEAR_MS);
        self.failures < FAILURES_MAX && self.samples < SAMPLES && !near
    }

    fn fail(&mut self, reason: String, weight: u8) {
        self.reason = Some(reason);
        self.failures = self.failures.saturating_add(weight);
    }
}

/// Whether the difference of two answers is within what their round trips explain.
fn agree(a: &Sample, b: &Sample) -> bool {
    let apart_ms = a.time.minus_ms(b.time).saturating_sub(a.at_ms as i64 - b.at_ms as i64);
    apart_ms.saturating_abs() <= (a.delay_ms / 2).saturating_add(b.delay_ms / 2) as i64 + AGREE_MS
}

/// The last steps of splitmix64.
fn mixed(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::pure::dns::lookup::tests::{answer as dns_answer, World};
    use std::collections::BTreeMap;

    const FLOOR: i64 = 1_795_000_000;
    const EPOCH_S: i64 = 2_208_988_800;

    /// What a scripted server does: how many milliseconds it is off, how long the way to it takes, and its answer's
    /// first two bytes. None is silence.
    type Script<'a> = &'a dyn Fn(usize, u64) -> Option<(i64, u64, [u8; 2])>;
    const WELL: [u8; 2] = [0x24, 2];

    /// The answer of a server whose clock says `time_ms` since 1970 all the while.
    fn reply(query: &[u8], time_ms: i64, first: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![0; PACKET_BYTES];
        bytes[..2].copy_from_slice(&first);
        bytes[12..16].copy_from_slice(b"DENY");
        bytes[24..32].copy_from_slice(&query[40..48]);
        let seconds = (time_ms.div_euclid(1000) + EPOCH_S) as u64;
        let fraction = (time_ms.rem_euclid(1000) as u64) * (1 << 32) / 1000;
        for at in [32, 40] {
            bytes[at..at + 8].copy_from_slice(&(seconds << 32 | fraction).to_be_bytes());
        }
        bytes
    }

    /// Real time in milliseconds at `now_ms` of virtual time.
    fn real_ms(now_ms: u64) -> i64 {
        FLOOR * 1000 + now_ms as i64
    }

    struct Outcome {
        result: Result<Chosen, Vec<Option<String>>>,
        now_ms: u64,
        sent: Vec<usize>,
    }

    /// Runs a client to its end; each way of a packet is lost where `loses` says so.
    fn ask(servers: usize, script: Script, thorough: bool, loses: &mut dyn FnMut() -> bool) -> Outcome {
        let (mut now_ms, mut sent) = (1_000, vec![0; servers]);
        let mut client = Client::new(servers, (now_ms, now_ms + LIMIT_MS), FLOOR, 7, thorough);
        let mut flying: BTreeMap<(u64, usize), (usize, Vec<u8>)> = BTreeMap::new();
        for step in 0..1_000 {
            match client.poll(now_ms) {
                Action::Done(result) => return Outcome { result, now_ms, sent },
                Action::Send { server, packet } => {
                    sent[server] += 1;
                    let there = !loses() && !loses();
                    if let Some((off_ms, way_ms, first)) = script(server, now_ms).filter(|_| there) {
                        let answer = reply(&packet, real_ms(now_ms + way_ms) + off_ms, first);
                        flying.insert((now_ms + 2 * way_ms, step), (server, answer));
                    }
                }
                Action::Wait { until_ms } => {
                    assert!(until_ms > now_ms, "a wait for the past never ends");
                    match flying.first_key_value().map(|(key, _)| *key).filter(|(at_ms, _)| *at_ms <= until_ms) {
                        None => now_ms = until_ms,
                        Some(key) => {
                            now_ms = now_ms.max(key.0);
                            let (server, packet) = flying.remove(&key).unwrap();
                            assert!(client.handle(now_ms, server, &packet));
                            assert!(!client.handle(now_ms, server, &packet), "a copy of it is nobody's answer");
                        }
                    }
                }
            }
        }
        panic!("the client never ends");
    }

    fn quiet(servers: usize, script: Script) -> Outcome {
        ask(servers, script, false, &mut || false)
    }

    /// How many milliseconds the chosen time is off.
    fn off_ms(outcome: &Outcome) -> i64 {
        let best = outcome.result.as_ref().unwrap().best;
        best.time.seconds * 1000 + i64::from(best.time.nanoseconds / 1_000_000) - real_ms(best.at_ms)
    }

    /// Promise: clock-samples
    #[test]
    fn one_near_server_is_enough_and_of_a_far_one_the_fastest_of_three() {
        let near = quiet(1, &|_, _| Some((0, 50, WELL)));
        assert_eq!((near.now_ms, near.sent.as_slice()), (1_100, [1].as_slice()));
        assert!(off_ms(&near).abs() <= 1);
        let far = quiet(1, &|_, now_ms| Some((0, if now_ms < 2_000 { 400 } else { 100 + now_ms / 100 }, WELL)));
        assert_eq!(far.sent, [2], "the second one was near");
        let far = quiet(1, &|_, now_ms| Some((0, if now_ms == 2_000 { 200 } else { 400 }, WELL)));
        assert_eq!((far.sent.as_slice(), far.result.unwrap().best.delay_ms), ([3].as_slice(), 400));
        let thorough = ask(1, &|_, now_ms| Some((0, if now_ms == 2_000 { 5 } else { 9 }, WELL)), true, &mut || false);
        assert_eq!((thorough.sent.as_slice(), thorough.result.unwrap().best.delay_ms), ([3].as_slice(), 10));
    }

    /// Promise: clock-samples
    #[test]
    fn of_several_servers_two_that_agree_are_enough() {
        let one_lies = |server: usize, _: u64| Some((if server == 0 { 3_600_000 } else { 0 }, 5 + server as u64, WELL));
        let outcome = quiet(3, &one_lies);
        assert_eq!(outcome.now_ms, 1_014, "the third one's answer settles it");
        let chosen = outcome.result.unwrap();
        assert_eq!((chosen.best.server, chosen.contradicts), (1, None), "the faster one of those that agree");
        let first_only = quiet(3, &|server, _| (server == 1).then_some((0, 5, WELL)));
        assert_eq!((first_only.now_ms, first_only.result.unwrap().best.server), (1_010 + SECOND_MS, 1));
    }

    #[test]
    fn where_no_two_agree_the_one_that_is_named_first_counts() {
        let outcome = quiet(2, &|server, _| Some((server as i64 * 5_000, 40 - 10 * server as u64, WELL)));
        let chosen = outcome.result.unwrap();
        assert_eq!((chosen.best.server, chosen.contradicts.map(|other| other.server)), (0, Some(1)));
    }

    /// Promise: clock
    /// Input: ntp-answers
    #[test]
    fn servers_that_cannot_tell_are_asked_three_times_and_those_that_refuse_once() {
        let outcome = quiet(3, &|server, _| Some((-9_000_000, 5, [[0xe4, 2], [0x24, 0], [0x24, 2]][server])));
        assert_eq!(outcome.sent, [3, 1, 3]);
        assert_eq!(outcome.now_ms, 3_010);
        let reasons: Vec<String> = outcome.result.unwrap_err().into_iter().flatten().collect();
        let expected = [
            "the server's own clock is not set",
            "the server refuses to answer (DENY)",
            "its time is before this program was built",
        ];
        assert_eq!(reasons, expected);
        let beside = quiet(2, &|server, _| Some((0, 5, [[0x24, 0], WELL][server])));
        assert_eq!((beside.now_ms, beside.result.unwrap().best.server), (1_010, 1), "nobody else is waited for");
        let silent = quiet(1, &|_, _| None);
        assert_eq!((silent.now_ms, silent.sent.as_slice()), (1_000 + LIMIT_MS, [15].as_slice()));
        assert_eq!(silent.result, Err(vec![None]));
    }

    /// A server starts late: its first answers say that it has no time yet.
    #[test]
    fn a_server_that_is_set_meanwhile_is_believed() {
        let outcome = quiet(1, &|_, now_ms| Some((0, 5, if now_ms < 2_500 { [0xe4, 0] } else { WELL })));
        assert!(outcome.result.is_err(), "stratum 0 is a refusal");
        let outcome = quiet(1, &|_, now_ms| Some((0, 5, if now_ms < 2_500 { [0xe4, 3] } else { WELL })));
        assert_eq!(outcome.result.unwrap().best.server, 0);
    }

    /// 30 percent of the packets are lost each way: the name of a time server, then the time, and a registry's name.
    /// Promise: lossy-network
    #[test]
    fn names_and_time_come_through_a_network_that_loses_a_third() {
        const LOSS: u64 = 30;
        let mut longest_ms = 0;
        for seed in 0..300 {
            let script = |_: usize, query: &[u8], _: bool| vec![dns_answer(query, 0, 7)];
            let mut world = World::new(1 + seed % 2, &script);
            (world.loss_percent, world.state) = (LOSS, seed as u64 * 7_919 + 1);
            let start_ms = world.now_ms;
            // A boot tries a name again: the time server's does not have to be found, the registry's does.
            let name = |world: &mut World, name| {
                while world.look_up(name, seed % 3 == 0, 0).is_err() {
                    assert!(world.now_ms < 120_000, "seed {seed}: {name}");
                }
            };
            name(&mut world, "ntp.lab");
            let mut state = world.random();
            let mut loses = || {
                state = mixed(state.wrapping_add(1));
                state % 100 < LOSS
            };
            let time = ask(1 + seed % 4, &|_, _| Some((0, 20, WELL)), false, &mut loses);
            assert!(off_ms(&time).abs() <= 1, "seed {seed}");
            world.now_ms += time.now_ms - 1_000;
            name(&mut world, "registry.lab");
            longest_ms = longest_ms.max(world.now_ms - start_ms);
        }
        eprintln!("names and time: {longest_ms} ms at most");
        assert!(longest_ms < 60_000, "{longest_ms} ms");
    }
}
