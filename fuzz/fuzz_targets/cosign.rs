//! Oracle: a key that was read has one of two encodings, in whatever dress it
//! came; a manifest and a claim say the same when another writer has written them;
//! and nobody without the private key signs anything.
#![no_main]

#[path = "../common/json.rs"]
mod json;

use libfuzzer_sys::fuzz_target;
use ocinit::image::pure::cosign::{keys, keys_of_option, signatures, signed_digest, Algorithm, Key, SIGNATURES_MAX};
use ocinit::image::verify::check;
use ocinit::pure::base64;
use ocinit::pure::digest::Digest;

/// Of RFC 8032, section 7.1: a fuzzer that finds the other half has read it.
const KEY: &str = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fuzz_target!(|input: &[u8]| {
    if let Ok(found) = keys(input) {
        assert!(!found.is_empty());
        assert_eq!(keys_of_option(&base64::encode(input)).as_ref(), Ok(&found));
        for key in &found {
            let der = der(key);
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64::encode(&der));
            let same = |again: Vec<Key>| again.len() == 1 && again[0] == *key;
            assert!(keys(&der).is_ok_and(same) && keys(pem.as_bytes()).is_ok_and(same), "{der:02x?}");
        }
    }
    let (found, claim) = (signatures(input), signed_digest(input));
    if let Ok(found) = &found {
        assert!(found.len() <= SIGNATURES_MAX, "{} signatures", found.len());
    }
    if let Some(value) = json::usual(input, &[]) {
        for again in [value.to_string(), format!("{value:#}")] {
            assert_eq!(signatures(again.as_bytes()), found);
            assert_eq!(signed_digest(again.as_bytes()), claim);
        }
    }
    let ours = keys_of_option(KEY).expect("a key");
    let (signature, payload) = input.split_at(input.len().min(64));
    let any: Vec<Digest> = signed_digest(payload).into_iter().collect();
    assert!(check(&ours, &any, payload, &base64::encode(signature)).is_err(), "a forgery");
});

/// RFC 5480 and RFC 8410, by hand.
fn der(key: &Key) -> Vec<u8> {
    let (algorithm, length): (&[u8], usize) = match key.algorithm {
        Algorithm::P256 => (&[6, 7, 42, 134, 72, 206, 61, 2, 1, 6, 8, 42, 134, 72, 206, 61, 3, 1, 7], 65),
        Algorithm::Ed25519 => (&[6, 3, 43, 101, 112], 32),
    };
    assert_eq!(key.bytes.len(), length);
    let sequence = [&[0x30, algorithm.len() as u8], algorithm].concat();
    let bits = [&[3, length as u8 + 1, 0], key.bytes.as_slice()].concat();
    [&[0x30, (sequence.len() + bits.len()) as u8], sequence.as_slice(), &bits].concat()
}
