//! The wall clock: at least the time of the build, and set by SNTP before anything is downloaded.

use crate::net::dns::Resolver;
use crate::net::pure::sntp::client::{Action, Client, LIMIT_MS};
use crate::net::pure::sntp::{self, Time};
use crate::net::random::random;
use crate::net::scope::socket_addr;
use crate::net::udp::{told, Sockets};
use crate::report::Report;
use crate::sys::fs as sysfs;
use crate::sys::machine::{realtime, set_realtime, set_rtc, uptime_ms};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

/// `b2c.ntp_peer=auto`: the time servers of the lease; without one that answers, the pool.
const AUTO: &str = "auto";
const POOL: &str = "pool.ntp.org";
/// For the lease's servers, since the pool comes after them.
const LEASE_LIMIT_MS: u64 = 5_000;
/// As many as are asked at once.
const SERVERS_MAX: usize = 8;
/// 2026-11-18, for builds without SOURCE_DATE_EPOCH.
const SOME_BUILD_S: i64 = 1_795_000_000;
/// A clock this near to the build's date was most likely never set.
const UNSET_S: i64 = 86_400;

/// Seconds since 1970 when this program was built; a clock that is earlier is wrong.
pub const BUILD_S: i64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => decimal(text.as_bytes()),
    None => SOME_BUILD_S,
};

/// The time by a server.
#[derive(Debug)]
pub struct Answer {
    pub time: Time,
    pub server: IpAddr,
    /// Of the round trip.
    pub delay_ms: u64,
    /// Where the servers do not agree: what another one says.
    pub warning: Option<String>,
    /// The machine's uptime when `time` was right.
    at_ms: u64,
}

impl Answer {
    pub fn now(&self) -> Time {
        self.time.plus_ms(uptime_ms().saturating_sub(self.at_ms))
    }
}

/// Sets a clock that is before this program's build to the time of the build: a board without a battery starts in 1970,
/// when no certificate is valid yet.
pub fn raise_to_build_time(report: &Report) {
    raise(BUILD_S, "before this program was built", report);
}

/// Sets a clock that is before `floor_s` to it, since it is `wrong`. True where it did.
pub fn raise(floor_s: i64, wrong: &str, report: &Report) -> bool {
    if realtime().0 >= floor_s {
        return false;
    }
    let was = date(now());
    let raised = set_realtime(floor_s, 0);
    if let Err(error) = &raised {
        report.warn("clock", format_args!("the clock says {was}, {wrong}: {error}"));
    }
    raised.is_ok()
}

/// Sets the clock by `peer` (`HOST[:PORT]`, or `auto`: the time servers `of_lease`, else the pool). A failure is only a
/// warning: not everything needs a clock. True where it is set.
pub fn set(peer: &str, of_lease: &[IpAddr], resolver: &Resolver, report: &Report) -> bool {
    let failed = match ask_peer(peer, of_lease, resolver, false) {
        Ok(answer) => {
            if let Some(warning) = &answer.warning {
                report.warn("clock", warning);
            }
            let (before, time) = (now(), answer.now());
            match step(time) {
                Ok(()) => {
                    let off = seconds(time.minus_ms(before));
                    let (time, server) = (time.text(), answer.server);
                    report.line("clock", format_args!("{time} UTC by {server}, was off by {off}"));
                    return true;
                }
                Err(error) => error.to_string(),
            }
        }
        Err(reason) => reason,
    };
    let now = now();
    let unset = if now.seconds - BUILD_S < UNSET_S { ", so TLS may fail" } else { "" };
    report.warn("clock", format_args!("{failed}; the clock says {}{unset}", date(now)));
    false
}

/// Sets the clock, and the one that runs without power.
pub fn step(time: Time) -> crate::sys::Result<()> {
    set_realtime(time.seconds, time.nanoseconds)?;
    // A machine without one is as good as any other: nobody needs to hear of it.
    let rounded = time.plus_ms(500);
    let rtc = sysfs::openat(sysfs::CWD, c"/dev/rtc0", sysfs::O_RDONLY, 0);
    let _ = rtc.and_then(|rtc| set_rtc(rtc.as_fd(), rounded.fields()));
    Ok(())
}

/// Asks `peer` (`HOST[:PORT]`) for the time, at all of its addresses. Sets nothing.
pub fn ask(peer: &str, resolver: &Resolver) -> Result<Answer, String> {
    ask_peer(peer, &[], resolver, false)
}

/// As [`ask`]; `auto` is the time servers `of_lease`, else the pool. `thorough`: with several samples of each.
pub fn ask_peer(peer: &str, of_lease: &[IpAddr], resolver: &Resolver, thorough: bool) -> Result<Answer, String> {
    if peer != AUTO {
        return ask_host(peer, resolver, thorough);
    }
    if of_lease.is_empty() {
        return ask_host(POOL, resolver, thorough);
    }
    ask_all(&at_port(of_lease, sntp::PORT), LEASE_LIMIT_MS, thorough)
        .or_else(|failed| ask_host(POOL, resolver, thorough).map_err(|reason| format!("{failed}; {reason}")))
}

fn at_port(servers: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for server in servers {
        addresses.push(socket_addr(*server, port));
    }
    addresses
}

fn ask_host(peer: &str, resolver: &Resolver, thorough: bool) -> Result<Answer, String> {
    let (host, port) = split_port(peer)?;
    let addresses = resolver.resolve(host).map_err(|error| error.text)?;
    ask_all(&at_port(&addresses, port), LIMIT_MS, thorough).map_err(|reasons| {
        // The name as it was written, unless it is the address.
        if reasons.starts_with(host) {
            reasons
        } else {
            format!("{host}: {reasons}")
        }
    })
}

/// Asks all of these servers at once; the error is what each did instead of telling the time.
fn ask_all(servers: &[SocketAddr], limit_ms: u64, thorough: bool) -> Result<Answer, String> {
    let servers = servers.get(..SERVERS_MAX).unwrap_or(servers);
    let start_ms = uptime_ms();
    let times = (start_ms, start_ms + limit_ms);
    let mut client = Client::new(servers.len(), times, BUILD_S, random(servers.len() as u64), thorough);
    let mut sockets = Sockets::new(servers);
    let outcome = loop {
        match client.poll(uptime_ms()) {
            Action::Done(outcome) => break outcome,
            Action::Send { server, packet } => {
                if let Err(error) = sockets.send(server, &packet) {
                    client.failed(server, &error);
                }
            }
            Action::Wait { until_ms } => sockets.receive(until_ms, &mut |server, packet| match packet {
                Ok(packet) => drop(client.handle(uptime_ms(), server, packet)),
                Err(error) => client.failed(server, &error),
            }),
        }
    };
    let address = |server: usize| servers.get(server).map_or(Ipv6Addr::UNSPECIFIED.into(), SocketAddr::ip);
    match outcome {
        Ok(chosen) => {
            let best = chosen.best;
            let warning = chosen.contradicts.map(|other| {
                let off = seconds(other.time.minus_ms(best.time.plus_ms(other.at_ms.saturating_sub(best.at_ms))));
                let (best, other) = (address(best.server), address(other.server));
                format!("{other} says {off} more than {best}, which is believed, as it is named first")
            });
            let server = address(best.server);
            Ok(Answer { time: best.time, server, delay_ms: best.delay_ms, warning, at_ms: best.at_ms })
        }
        Err(reasons) => Err(told(servers, &reasons, limit_ms)),
    }
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT`, `V6`.
fn split_port(peer: &str) -> Result<(&str, u16), String> {
    let numeric_v6 = peer.parse::<Ipv6Addr>().is_ok();
    match peer.rsplit_once(':') {
        Some((host, port)) if !numeric_v6 && !port.ends_with(']') => match port.parse() {
            Ok(port) => Ok((host, port)),
            Err(_) => Err(format!("{peer}: not a port number")),
        },
        _ => Ok((peer, sntp::PORT)),
    }
}

/// What the clock says.
pub fn now() -> Time {
    let (seconds, nanoseconds) = realtime();
    Time { seconds, nanoseconds }
}

/// `2026-11-25`
pub fn date(time: Time) -> String {
    let mut text = time.text();
    text.truncate(text.find(' ').unwrap_or(text.len()));
    text
}

/// `3.2 s`, `-86400.0 s`.
pub fn seconds(ms: i64) -> String {
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

    /// The server's answer: first byte, stratum, time in seconds since 1970.
    fn reply(query: &[u8], first: u8, stratum: u8, unix_s: i64) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[..2].copy_from_slice(&[first, stratum]);
        bytes[12..16].copy_from_slice(b"RATE");
        bytes[24..32].copy_from_slice(&query[40..48]);
        let timestamp = ((unix_s + 2_208_988_800) as u64) << 32;
        bytes[32..40].copy_from_slice(&timestamp.to_be_bytes());
        bytes[40..].copy_from_slice(&timestamp.to_be_bytes());
        bytes
    }

    fn by(server: SocketAddr) -> Result<Answer, String> {
        ask(&server.to_string(), &Resolver::default())
    }

    /// A server that sends a forged answer, and then its own.
    fn forged_first(forge: fn(&mut Vec<u8>)) -> Answer {
        let server = serve(move |query| {
            let mut forged = reply(query, 0x24, 1, BUILD_S + 999_999);
            forge(&mut forged);
            vec![forged, reply(query, 0x24, 2, BUILD_S + 5)]
        });
        by(server).unwrap()
    }

    /// Promise: clock
    /// Input: ntp-answers
    #[test]
    fn a_wrong_or_zero_origin_is_waited_past() {
        for forge in [|packet: &mut Vec<u8>| packet[24] ^= 1, |packet: &mut Vec<u8>| packet[24..32].fill(0)] {
            let answer = forged_first(forge);
            assert_eq!(answer.time.seconds, BUILD_S + 5);
            assert!(answer.now().minus_ms(answer.time) < 5_000);
        }
    }

    /// Promise: clock
    /// Input: ntp-answers
    #[test]
    fn other_modes_and_short_packets_are_waited_past() {
        assert_eq!(forged_first(|packet| packet[0] = 0x25).time.seconds, BUILD_S + 5, "a broadcast");
        assert_eq!(forged_first(|packet| packet[0] = 0x23).time.seconds, BUILD_S + 5, "a request");
        assert_eq!(forged_first(|packet| packet.truncate(47)).time.seconds, BUILD_S + 5);
    }

    /// Input: ntp-answers
    #[test]
    fn stratum_0_is_a_refusal_with_its_code() {
        let server = serve(|query| vec![reply(query, 0xe4, 0, BUILD_S)]);
        assert_eq!(by(server).unwrap_err(), "127.0.0.1: the server refuses to answer (RATE)");
    }

    /// Input: ntp-answers
    #[test]
    fn leap_3_is_a_server_without_a_time() {
        let server = serve(|query| vec![reply(query, 0xe4, 3, BUILD_S + 5)]);
        assert_eq!(by(server).unwrap_err(), "127.0.0.1: the server's own clock is not set");
    }

    /// Input: ntp-answers
    #[test]
    fn a_time_before_the_build_is_not_taken() {
        let server = serve(|query| vec![reply(query, 0x24, 2, BUILD_S - 10)]);
        assert_eq!(by(server).unwrap_err(), "127.0.0.1: its time is before this program was built");
    }

    /// Input: ntp-answers
    #[test]
    fn a_time_after_2036_is_right() {
        let server = serve(|query| vec![reply(query, 0x24, 2, 2_100_000_000)]);
        assert_eq!(by(server).unwrap().time.text(), "2036-07-18 13:20:00");
    }

    #[test]
    fn a_name_that_leads_nowhere_and_a_port_where_nobody_listens() {
        assert_eq!(ask("x.org", &Resolver::default()).unwrap_err(), "x.org: no nameserver is known");
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(by(closed).unwrap_err(), "127.0.0.1: connection refused");
    }

    /// Promise: clock-samples
    #[test]
    fn of_several_servers_those_that_agree_are_believed() {
        let server = |off_s| serve(move |query| vec![reply(query, 0x24, 2, BUILD_S + 100 + off_s)]);
        let servers = [server(5_000), server(0), server(0)];
        let answer = ask_all(&servers, LIMIT_MS, false).unwrap();
        assert_eq!((answer.time.seconds, answer.warning), (BUILD_S + 100, None));
        let apart = ask_all(&servers[..2], LIMIT_MS, false).unwrap();
        assert_eq!(apart.time.seconds, BUILD_S + 5_100);
        let warning = apart.warning.unwrap();
        assert!(warning.starts_with("127.0.0.1 says -"), "{warning}");
        assert!(warning.ends_with(" more than 127.0.0.1, which is believed, as it is named first"), "{warning}");
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
