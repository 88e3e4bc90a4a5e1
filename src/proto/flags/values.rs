//! The values of flags.

use super::{PullPolicy, Volume};
use crate::proto::authfile::Credentials;
use crate::proto::volume::is_name;
use crate::proto::{oci, words};
use serde_json::Value;

/// Go's `strconv.ParseBool`, podman's reading of `--flag=value`.
pub(super) fn truth(value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some(other) => Err(["«", other, "» is not true or false"].concat()),
    }
}

/// A JSON array of strings is the list, as podman documents it; all else is one
/// word, and an empty one is none. (From bytes, as documents are: a second reader
/// of JSON, for text, would cost 3 KB.)
pub(super) fn entry_point(text: String) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let list = match serde_json::from_slice(text.as_bytes()) {
        Ok(Value::Array(items)) => items.iter().map(|item| item.as_str().map(String::from)).collect(),
        _ => None,
    };
    list.unwrap_or_else(|| vec![text])
}

/// `NAME=value`, or `NAME` alone: our own value of it, nothing where unset.
pub(super) fn environment(text: String, variable: words::Lookup) -> Result<Option<String>, String> {
    match text.split_once('=') {
        Some(("", _)) => Err(["«", &text, "» has no name"].concat()),
        Some(_) => Ok(Some(text)),
        None => Ok(variable(&text).map(|value| [&text, "=", &value].concat())),
    }
}

/// `HOST:CTR[:options]`.
pub(super) fn volume(text: &str) -> Result<Volume, String> {
    let mut parts = text.splitn(3, ':');
    let source = parts.next().unwrap_or_default();
    let Some(target) = parts.next() else {
        return Err(["«", text, "»: write HOST:CONTAINER; volumes without a source are not there yet"].concat());
    };
    if !source.starts_with(['/', '.']) && !is_name(source) {
        return Err(["«", source, "»: neither a path nor the name of a volume"].concat());
    }
    if !target.starts_with('/') {
        return Err(["«", target, "»: a path in the container begins with /"].concat());
    }
    if target.split('/').all(|part| matches!(part, "" | "." | "..")) {
        return Err(["«", target, "»: the container's own root cannot be a volume"].concat());
    }
    let mut read_only = false;
    for option in parts.next().unwrap_or_default().split(',') {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            // Labels of SELinux, and the propagation that is ours anyway.
            "" | "z" | "Z" | "rprivate" | "private" | "rslave" | "slave" | "exec" | "dev" | "suid" | "rbind" => {}
            _ => return Err(["«", option, "» is not an option that is there"].concat()),
        }
    }
    Ok(Volume { source: source.into(), target: target.into(), read_only })
}

/// Whether the container gets a network namespace of its own.
pub(super) fn network(text: &str) -> Result<bool, String> {
    match text {
        "host" => Ok(false),
        "none" => Ok(true),
        _ => Err(["«", text, "» is not one of host, none"].concat()),
    }
}

/// `USER:PASS`. What was given stays out of the error: half of it may be the secret.
pub(super) fn credentials(text: &str) -> Result<Credentials, String> {
    Credentials::parse(text).ok_or_else(|| "write USER:PASS, since nobody can be asked here".into())
}

/// podman's words, and the older `true` and `false`.
pub(super) fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "always" | "true" => Ok(PullPolicy::Always),
        "newer" => Ok(PullPolicy::Newer),
        "missing" | "false" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        _ => Err(["«", text, "» is not one of always, newer, missing, never"].concat()),
    }
}

/// The longest wait between two tries: an hour. A machine must not hang in silence.
const DURATION_MAX_MS: u64 = 3_600_000;

/// Go's `time.ParseDuration`: `1m30s`, `500ms`, `1.5s`; in milliseconds.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || ["«", text, "» is not a duration such as 500ms, 2s or 1m30s, up to 1h"].concat();
    let (mut rest, mut total_us) = (text, 0u64);
    if text.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() && text != "0" {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let unit_us = match unit {
            "us" | "µs" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return Err(wrong()),
        };
        let amount_us = scaled(number, unit_us).ok_or_else(wrong)?;
        total_us = total_us.checked_add(amount_us).ok_or_else(wrong)?;
        rest = after;
    }
    Some(total_us / 1000).filter(|ms| *ms <= DURATION_MAX_MS).ok_or_else(wrong)
}

/// A decimal number of units, of which fractions count to a millionth.
fn scaled(number: &str, unit_us: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let read = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u64>().ok() };
    let fraction = fraction.get(..6).unwrap_or(fraction);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let part_us = read(fraction)?.checked_mul(unit_us)? / 10u64.pow(fraction.len() as u32);
    read(whole)?.checked_mul(unit_us)?.checked_add(part_us)
}

/// `linux/ARCH[/VARIANT]`.
pub(super) fn platform(text: &str) -> Result<(String, Option<String>), String> {
    let wrong = || ["«", text, "» is not linux/ARCH or linux/ARCH/VARIANT"].concat();
    let (system, rest) = text.split_once('/').ok_or_else(wrong)?;
    let (arch, variant) = match rest.split_once('/') {
        Some((arch, variant)) => (arch, Some(plain(variant).map_err(|_| wrong())?)),
        None => (rest, None),
    };
    operating_system(system)?;
    Ok((architecture(arch).map_err(|_| wrong())?, variant))
}

/// Go's word for an architecture; the kernel's is understood as well.
pub(super) fn architecture(text: &str) -> Result<String, String> {
    plain(oci::platform(text).0)
}

/// A word of letters and digits: `arm64`, `v8`.
pub(super) fn plain(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => Ok(text.into()),
        false => Err(["«", text, "» is not a word such as amd64 or v8"].concat()),
    }
}

pub(super) fn operating_system(text: &str) -> Result<(), String> {
    match text {
        "linux" => Ok(()),
        _ => Err(["«", text, "»: only linux runs here"].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("1s", 1000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            (".5s", 500),
            ("2.s", 2000),
            ("1500us", 1),
            ("1µs999us", 1),
            ("1h", 3_600_000),
            ("0.000000001h", 0),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "1", "s", ".s", "1x", "-1s", "1s2", "1 s", "1.2.3s", "+1s", "1h1ms", "99999999999999999999s"] {
            let error = duration_ms(text).unwrap_err();
            assert_eq!(error, format!("«{text}» is not a duration such as 500ms, 2s or 1m30s, up to 1h"));
        }
        assert!(duration_ms("18446744073709551615h").is_err());
    }
}
