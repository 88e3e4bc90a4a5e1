//! Oracle: a time that is accepted is the answer to our request, by a server that has one, and not before the build;
//! another request's answer is refused. A client that gets such answers ends in time, after a bounded number of
//! requests, and its time is one that a server has said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::net::pure::sntp::client::{Action, Client, LIMIT_MS};
use ocinit::net::pure::sntp::{parse, Error, PACKET_BYTES};

const COOKIE: u64 = 0x0123_4567_89ab_cdef;
const FLOOR: i64 = 1_795_000_000;
/// NTP's 64 bits of the two eras end in 2104.
const CEILING: i64 = FLOOR + 100 * 31_556_952;
const SERVERS: usize = 3;

fuzz_target!(|input: &[u8]| {
    let mut packet = input.to_vec();
    if let Some(origin) = packet.get_mut(24..32) {
        origin.copy_from_slice(&COOKIE.to_be_bytes());
    }
    assert_eq!(parse(&packet, COOKIE ^ 1, 0, FLOOR), Err(Error::Unrelated));
    assert_eq!(parse(&packet, 0, 0, FLOOR), Err(Error::Unrelated));
    let elapsed_ms = u64::from(input.len() as u32 % 20_000);
    if let Ok((time, delay_ms)) = parse(&packet, COOKIE, elapsed_ms, FLOOR) {
        assert!((FLOOR..CEILING).contains(&time.seconds) && time.nanoseconds < 1_000_000_000, "{time:?}");
        assert!(delay_ms <= elapsed_ms, "{delay_ms} of {elapsed_ms} ms");
        assert!(packet[0] & 7 == 4 && packet[0] >> 6 != 3 && (1..16).contains(&packet[1]));
        assert_eq!(time.text().len(), 19);
    }
    ask(input);
});

/// Each request is answered by the next part of `input`: a byte of how long it takes, and a packet without its origin.
fn ask(input: &[u8]) {
    let mut parts = input.chunks(PACKET_BYTES + 1);
    let (mut now_ms, mut sent) = (0, 0);
    let mut client = Client::new(SERVERS, (0, LIMIT_MS), FLOOR, 7, input.len() % 2 == 0);
    loop {
        match client.poll(now_ms) {
            Action::Done(Ok(chosen)) => {
                assert!(chosen.best.time.seconds >= FLOOR && chosen.best.server < SERVERS, "{chosen:?}");
                return;
            }
            Action::Done(Err(reasons)) => {
                assert_eq!(reasons.len(), SERVERS);
                return;
            }
            Action::Wait { until_ms } => {
                assert!(until_ms > now_ms && until_ms <= LIMIT_MS, "waits from {now_ms} until {until_ms}");
                now_ms = until_ms;
            }
            Action::Send { server, packet } => {
                sent += 1;
                assert!(sent <= SERVERS * 15, "{sent} requests");
                if let Some([late, rest @ ..]) = parts.next() {
                    let mut answer = rest.to_vec();
                    answer.resize(PACKET_BYTES, 0);
                    answer[24..32].copy_from_slice(&packet[40..]);
                    now_ms += u64::from(*late) * 4;
                    client.handle(now_ms, server, &answer);
                    assert!(!client.handle(now_ms, server, &answer), "taken twice");
                }
            }
        }
    }
}
