//! The wall clock: at least the time of the build, and set by SNTP before anything is downloaded.

use crate::net::dns::Resolver;
use crate::net::pure::sntp::{self, Time};
use crate::net::random::random;
use crate::net::udp;
use crate::report::Report;
use crate::sys::machine::{realtime, set_realtime};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

const TRIES: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(5);
/// 2026-11-18, for builds without SOURCE_DATE_EPOCH.
const SOME_BUILD_S: i64 = 1_795_000_000;
/// A clock this near to the build's date was most likely never set.
const UNSET_S: i64 = 86_400;

/// Seconds since 1970 when this program was built; a clock that is earlier is wrong.
pub const BUILD_S: i64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => decimal(text.as_bytes()),
    None => SOME_BUILD_S,
};

/// A server's answer.
#[derive(Debug)]
pub struct Answer {
    pub time: Time,
    pub server: SocketAddr,
    /// When `time` was right.
    at: Instant,
}

impl Answer {
    pub fn now(&self) -> Time {
        self.time.plus_ms(self.at.elapsed().as_millis() as u64)
    }
}

/// Sets a clock that is before this program's build to the time of the build: a board without a battery starts in 1970,
/// when no certificate is valid yet.
pub fn raise_to_build_time(report: &Report) {
    if realtime().0 >= BUILD_S {
        return;
    }
    let was = date(now());
    if let Err(error) = set_realtime(BUILD_S, 0) {
        report.warn("clock", format_args!("the clock says {was}, before this program was built: {error}"));
    }
}

/// Sets the clock by `peer` (`HOST[:PORT]`). A failure is only a warning: not everything needs a clock.
pub fn set(peer: &str, resolver: &Resolver, report: &Report) {
    let failed = match ask(peer, resolver) {
        Ok(answer) => {
            let (before, time) = (now(), answer.now());
            match set_realtime(time.seconds, time.nanoseconds) {
                Ok(()) => {
                    let off = seconds(time.minus_ms(before));
                    report
                        .line("clock", format_args!("{} UTC by {}, was off by {off}", time.text(), answer.server.ip()));
                    return;
                }
                Err(error) => error.to_string(),
            }
        }
        Err(reason) => reason,
    };
    let now = now();
    let unset = if now.seconds - BUILD_S < UNSET_S { ", so TLS may fail" } else { "" };
    report.warn("clock", format_args!("{failed}; the clock says {}{unset}", date(now)));
}

/// Asks `peer` (`HOST[:PORT]`) for the time: three tries, over all of its addresses. Sets nothing.
pub fn ask(peer: &str, resolver: &Resolver) -> Result<Answer, String> {
    let (host, port) = split_port(peer)?;
    let addresses = resolver.resolve(host).map_err(|error| error.text)?;
    let mut last = String::new();
    for address in addresses.iter().cycle().take(TRIES) {
        match ask_once(SocketAddr::from((*address, port)), TIMEOUT) {
            Ok(answer) => return Ok(answer),
            Err(None) => last = ["no answer from ", host, " in "].concat(),
            Err(Some(reason)) => last = [host, ": ", &reason, ", "].concat(),
        }
    }
    Err([&last, &TRIES.to_string(), " tries"].concat())
}

/// One request to one address; the error is `None` where no answer came in time.
fn ask_once(server: SocketAddr, timeout: Duration) -> Result<Answer, Option<String>> {
    let cookie = random(u64::from(server.port())).max(1);
    let mut outcome = Err(None);
    let mut take = |packet: &[u8], elapsed: Duration| {
        let at = Instant::now();
        outcome = match sntp::parse(packet, cookie, elapsed.as_millis() as u64, BUILD_S) {
            Ok(time) => Ok(Answer { time, server, at }),
            Err(sntp::Error::Unrelated) => return false,
            Err(error) => Err(Some(error.text().into())),
        };
        true
    };
    udp::exchange(server, &sntp::query(cookie), timeout, &mut take).map_err(|error| Some(error.to_string()))?;
    outcome
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT`, `V6`.
fn split_port(peer: &str) -> Result<(&str, u16), String> {
    let numeric_v6 = peer.parse::<Ipv6Addr>().is_ok();
    match peer.rsplit_once(':') {
        Some((host, port)) if !numeric_v6 && !port.ends_with(']') => match port.parse() {
            Ok(port) => Ok((host, port)),
            Err(_) => Err([peer, ": not a port number"].concat()),
        },
        _ => Ok((peer, sntp::PORT)),
    }
}

fn now() -> Time {
    let (seconds, nanoseconds) = realtime();
    Time { seconds, nanoseconds }
}

fn date(time: Time) -> String {
    let mut text = time.text();
    text.truncate(text.find(' ').unwrap_or(text.len()));
    text
}

/// `3.2 s`, `-86400.0 s`.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let tenths = ms.unsigned_abs() / 100;
    format!("{sign}{}.{} s", tenths / 10, tenths % 10)
}

/// Digits only, so that a wrong SOURCE_DATE_EPOCH fails the build.
const fn decimal(digits: &[u8]) -> i64 {
    let (mut value, mut at) = (0, 0);
    while at < digits.len() {
        assert!(digits[at].is_ascii_digit(), "SOURCE_DATE_EPOCH is not a number");
        value = value * 10 + (digits[at] - b'0') as i64;
        at += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::udp::tests::serve;

    fn reply(query: &[u8], stratum: u8, unix_s: i64) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[..2].copy_from_slice(&[0x24, stratum]);
        bytes[24..32].copy_from_slice(&query[40..48]);
        let timestamp = ((unix_s + 2_208_988_800) as u64) << 32;
        bytes[32..40].copy_from_slice(&timestamp.to_be_bytes());
        bytes[40..].copy_from_slice(&timestamp.to_be_bytes());
        bytes
    }

    /// Promise: clock
    #[test]
    fn a_forged_answer_is_waited_past() {
        let server = serve(|query| {
            let mut forged = reply(query, 1, BUILD_S + 999_999);
            forged[24] ^= 1;
            vec![forged, reply(query, 2, BUILD_S + 5)]
        });
        let answer = ask(&server.to_string(), &Resolver::default()).unwrap();
        assert_eq!(answer.time.seconds, BUILD_S + 5);
        assert!(answer.now().minus_ms(answer.time) < 5_000);
    }

    #[test]
    fn failures_name_the_peer_and_the_reason() {
        let unready = serve(|query| vec![reply(query, 0, BUILD_S)]);
        let error = ask(&unready.to_string(), &Resolver::default()).unwrap_err();
        assert_eq!(error, "127.0.0.1: the server refuses to answer, 3 tries");
        let past = serve(|query| vec![reply(query, 2, BUILD_S - 10)]);
        let error = ask(&past.to_string(), &Resolver::default()).unwrap_err();
        assert_eq!(error, "127.0.0.1: its time is before this program was built, 3 tries");
        let silent = serve(|_| vec![]);
        assert_eq!(ask_once(silent, Duration::from_millis(50)).unwrap_err(), None);
        assert_eq!(ask("x.org", &Resolver::default()).unwrap_err(), "x.org: no nameserver is known");
    }

    #[test]
    fn peers_with_and_without_ports() {
        assert_eq!(split_port("ntp.lab"), Ok(("ntp.lab", 123)));
        assert_eq!(split_port("ntp.lab:1123"), Ok(("ntp.lab", 1123)));
        assert_eq!(split_port("[::1]:1123"), Ok(("[::1]", 1123)));
        assert_eq!(split_port("[::1]"), Ok(("[::1]", 123)));
        assert_eq!(split_port("::1"), Ok(("::1", 123)));
        assert_eq!(split_port("ntp.lab:x"), Err("ntp.lab:x: not a port number".into()));
    }

    #[test]
    fn lines_say_how_far_off() {
        assert_eq!(seconds(3_249), "3.2 s");
        assert_eq!(seconds(-86_400_000), "-86400.0 s");
        assert_eq!(seconds(-150), "-0.1 s");
        assert_eq!(date(Time { seconds: 0, nanoseconds: 0 }), "1970-01-01");
    }
}
