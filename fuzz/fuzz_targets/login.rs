//! Oracle: challenges that were read, written back in quotes, are read as the
//! same; a file of credentials says the same when another writer has written it,
//! and nothing of what it says is left in a text that was scrubbed.
#![no_main]

#[path = "../common/json.rs"]
mod json;

use libfuzzer_sys::fuzz_target;
use ocinit::image::pure::auth::{challenges, Challenge};
use ocinit::image::pure::authfile::{lookup, Error};
use ocinit::pure::base64;
use ocinit::pure::scrub::scrub;

const HOST: &str = "r.example:5000";
const PATH: &str = "team/app";

// The header, and below it the file.
fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (header, file) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    if let Ok(header) = std::str::from_utf8(header) {
        let found = challenges(&[header]);
        let again: Vec<String> = found.iter().map(written).collect();
        assert_eq!(challenges(&[&again.join(", ")]), found, "{again:?}");
        assert_eq!(challenges(&again.iter().map(String::as_str).collect::<Vec<_>>()), found, "{again:?}");
        assert_eq!(base64::decode_lines(header), base64::decode(&header.replace(['\r', '\n'], "")));
        if let Some(bytes) = base64::decode(header) {
            assert_eq!(base64::encode(&bytes).trim_end_matches('='), header.trim_end_matches('='));
        }
    }
    assert_eq!(base64::decode(&base64::encode(file)).as_deref(), Some(file));
    let found = lookup(file, HOST, PATH);
    if matches!(found, Err(Error::Document(_) | Error::TooLarge)) {
        return;
    }
    let Some(value) = json::usual(file, &[]) else { return };
    for again in [value.to_string(), format!("{value:#}")] {
        assert_eq!(lookup(again.as_bytes(), HOST, PATH), found);
    }
    let Some(credentials) = found.ok().and_then(|found| found.credentials) else { return };
    let secrets = credentials.secrets();
    let said = [secrets.concat(), credentials.basic().unwrap_or_default(), value.to_string()].join(" http://u:p@h ");
    let scrubbed = scrub(&said, &secrets);
    // One that is in the mask itself would be found there.
    for secret in secrets.iter().filter(|secret| !secret.is_empty() && !secret.contains('*')) {
        assert!(!scrubbed.contains(secret.as_str()), "{secret:?} in {scrubbed:?}");
    }
});

fn written(challenge: &Challenge) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#));
    match challenge {
        Challenge::Basic { realm } => format!("Basic realm={}", quoted(realm)),
        Challenge::Other(scheme) => scheme.clone(),
        Challenge::Bearer(bearer) => {
            let mut text = format!("Bearer realm={}", quoted(&bearer.realm));
            for (name, value) in [("service", &bearer.service), ("scope", &bearer.scope)] {
                text.extend(value.iter().map(|value| format!(", {name}={}", quoted(value))));
            }
            text
        }
    }
}
