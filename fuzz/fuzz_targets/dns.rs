//! Oracle: an answer has addresses of the family that was asked for and a bounded
//! number of them, an alias can be asked for, and another question's answer is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::net::pure::dns::{parse, query, Answer, Error, Family};

const NAME: &str = "registry.example";

fuzz_target!(|input: &[u8]| {
    // Header and question are ours, so that what follows is reached.
    let mut message = query(7, NAME, Family::V4).expect("a host name");
    let (counts, records) = input.split_at(input.len().min(6));
    message[2] = 0x81;
    message[6..6 + counts.len()].copy_from_slice(counts);
    message.extend_from_slice(records);
    assert_eq!(parse(&message, 8, NAME, Family::V4), Err(Error::Unrelated));
    assert_eq!(parse(&message, 7, "other.example", Family::V4), Err(Error::Unrelated));
    match parse(&message, 7, NAME, Family::V4) {
        Ok(Answer::Addresses(addresses)) => {
            assert!(!addresses.is_empty() && addresses.len() <= 16, "{addresses:?}");
            assert!(addresses.iter().all(|address| address.is_ipv4()), "{addresses:?}");
        }
        Ok(Answer::Alias(alias)) => assert!(query(1, &alias, Family::V4).is_ok(), "{alias:?}"),
        Ok(_) | Err(_) => {}
    }
    // What comes from anyone at all must not get us down either.
    let _ = parse(input, 7, NAME, Family::V6);
});
