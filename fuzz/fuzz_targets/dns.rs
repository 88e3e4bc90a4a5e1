//! Oracle: an answer has addresses of the family that was asked for and a bounded
//! number of them, an alias can be asked for, and another question's answer is refused.
//! A lookup that gets such answers ends in time, after a bounded number of queries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::net::pure::dns::lookup::{Action, Lookup, LIMIT_MS};
use ocinit::net::pure::dns::{parse, query, Answer, Error, Family};

const NAME: &str = "registry.example";
/// Both families, eight aliases each, and two failures of each of two servers for each of these names, by UDP and TCP.
const SENT_MAX: usize = 2 * 9 * 2 * 2 * 2;

fuzz_target!(|input: &[u8]| {
    // Header and question are ours, so that what follows is reached.
    let mut message = query(7, NAME, Family::V4).expect("a host name");
    answer(&mut message, input);
    assert_eq!(parse(&message, 8, NAME, Family::V4), Err(Error::Unrelated));
    assert_eq!(parse(&message, 7, "other.example", Family::V4), Err(Error::Unrelated));
    match parse(&message, 7, NAME, Family::V4) {
        Ok(Answer::Addresses(addresses, _)) => {
            assert!(!addresses.is_empty() && addresses.len() <= 16, "{addresses:?}");
            assert!(addresses.iter().all(|address| address.is_ipv4()), "{addresses:?}");
        }
        Ok(Answer::Alias(alias)) => assert!(query(1, &alias, Family::V4).is_ok(), "{alias:?}"),
        Ok(_) | Err(_) => {}
    }
    // What comes from anyone at all must not get us down either.
    let _ = parse(input, 7, NAME, Family::V6);
    look_up(input);
});

/// Turns a query into an answer with the counts and records of `input`.
fn answer(message: &mut Vec<u8>, input: &[u8]) {
    let (counts, records) = input.split_at(input.len().min(6));
    message[2] = 0x81;
    message[6..6 + counts.len()].copy_from_slice(counts);
    message.extend_from_slice(records);
}

/// Each query is answered by the next part of `input`: a byte of flags, one of how long it takes, and up to 48 bytes.
fn look_up(input: &[u8]) {
    let mut parts = input.chunks(50);
    let (mut now_ms, mut sent) = (0, 0);
    let Ok(mut lookup) = Lookup::new(NAME, input.len() % 2 == 0, (2, input.len() % 3), 7, now_ms) else { return };
    loop {
        match lookup.poll(now_ms) {
            Action::Done(Ok(found)) => {
                assert!(!found.addresses.is_empty() && found.addresses.len() <= 32, "{found:?}");
                assert!(found.server < 2);
                return;
            }
            Action::Done(Err(_)) => return,
            Action::Wait { until_ms } => {
                assert!(until_ms > now_ms && until_ms <= LIMIT_MS, "waits from {now_ms} until {until_ms}");
                now_ms = until_ms;
            }
            Action::Send { server, mut query, stream } => {
                sent += 1;
                assert!(sent <= SENT_MAX, "{sent} queries");
                match parts.next() {
                    Some([flags, late_ms, rest @ ..]) => {
                        answer(&mut query, rest);
                        query[2] |= flags & 3;
                        query[3] = flags >> 4;
                        now_ms += u64::from(*late_ms);
                        if !lookup.handle(now_ms, server, &query, stream) {
                            lookup.failed(now_ms, server, "nonsense");
                        }
                    }
                    _ => lookup.failed(now_ms, server, "silent"),
                }
            }
        }
    }
}
