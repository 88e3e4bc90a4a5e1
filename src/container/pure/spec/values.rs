//! The values of flags.

use crate::container::pure::signal_name;
use crate::container::pure::spec::{Dns, Namespace};
use crate::disk::pure::filesystem::is_name;
use crate::image::pure::authfile::Credentials;
use crate::image::pure::oci;
use crate::image::pure::pull_options::PullPolicy;
use crate::net::pure::dns;
use crate::pure::json::{self, Value};
use std::net::IpAddr;

/// Go's `strconv.ParseBool`, podman's reading of `--flag=value`.
pub(super) fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        other => Err(["'", other, "' is not true or false"].concat()),
    }
}

/// A JSON array of strings is the list, as podman documents it; all else is one
/// word.
pub(super) fn entry_point(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(Value::Array(items)) = json::parse(text.as_bytes()) {
        for item in items {
            match item {
                Value::String(word) => words.push(word),
                _ => return vec![text.into()],
            }
        }
        return words;
    }
    vec![text.into()]
}

/// `NAME=value`, `NAME`, `NAME*`.
pub(super) fn environment(text: &str) -> Result<String, String> {
    match text.split('=').next() {
        None | Some("") => Err(["'", text, "' has no name"].concat()),
        Some(_) => Ok(text.into()),
    }
}

pub(super) fn working_dir(text: &str) -> Result<String, String> {
    match text.is_empty() {
        false => Ok(text.into()),
        true => Err("the name of the working directory is missing".into()),
    }
}

/// A group's name or number; podman's `keep-groups` is for those who are not root.
pub(super) fn group(text: &str) -> Result<String, String> {
    match text {
        "keep-groups" | "" => Err(["'", text, "' is no group"].concat()),
        _ => Ok(text.into()),
    }
}

/// Octal: `22`, `0022`, `1777`.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777 && !text.starts_with('+'));
    mode.ok_or_else(|| ["'", text, "' is not an octal number up to 7777"].concat())
}

pub(super) fn umask(text: &str) -> Result<u32, String> {
    mode(text)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| ["'", text, "' is not an octal number up to 777"].concat())
}

pub(super) fn signal(text: &str) -> Result<i32, String> {
    signal_name::parse(text).ok_or_else(|| ["'", text, "' is no signal"].concat())
}

/// A path below `/usr/share/zoneinfo` that does not lead out of it.
pub(super) fn time_zone(text: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"/_+-".contains(&b);
    match !text.is_empty() && !text.starts_with('/') && text.bytes().all(good) {
        true => Ok(text.into()),
        false => Err(["'", text, "' is no time zone such as Europe/Berlin or local"].concat()),
    }
}

pub(super) fn restart(text: &str) -> Result<(), String> {
    match text {
        "no" => Ok(()),
        _ => Err("only 'no' is supported: a container runs once".into()),
    }
}

pub(super) fn tries(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| ["'", text, "' is not a number of tries"].concat())
}

/// An address of a name server, or `none`.
pub(super) fn dns(dns: &mut Dns, text: &str) -> Result<(), String> {
    match text.parse::<IpAddr>() {
        Ok(_) => dns.servers.push(text.into()),
        Err(_) if text == "none" => dns.none = true,
        Err(_) => return Err(["'", text, "' is neither an address nor none"].concat()),
    }
    Ok(())
}

/// The longest name of DNS.
const HOST_MAX: usize = 253;

/// A word that can stand in a line of `/etc/resolv.conf` or `/etc/hosts`.
pub(super) fn word(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        true => Ok(text.into()),
        false => Err(["'", text, "' is not one word"].concat()),
    }
}

pub(super) fn domain(text: &str) -> Result<String, String> {
    dns::hostname(text).map_err(|_| ["'", text, "' is no domain"].concat())
}

/// `NAME[;NAME…]:ADDRESS`; an address of IPv6 has colons, too, and no brackets. The names are separated by blanks, as
/// in `/etc/hosts`. `host-gateway` is the host's own address.
pub(super) fn host(text: &str) -> Result<(String, String), String> {
    let wrong = |what: &str| ["'", text, "' is not NAME:ADDRESS", what].concat();
    let (names, address) = text.split_once(':').ok_or_else(|| wrong(""))?;
    if !matches!(address, "host-gateway") && address.parse::<IpAddr>().is_err() {
        let is_bracketed = address.starts_with('[');
        return Err(wrong(if is_bracketed { ": write the address without brackets" } else { "" }));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = |name: &str| (1..=HOST_MAX).contains(&name.len()) && name.bytes().all(is_allowed);
    match names.split(';').all(is_name) {
        true => Ok((names.replace(';', " "), address.into())),
        false => Err(wrong(": a host's name has letters, digits and - . _")),
    }
}

/// `KEY=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(["'", text, "' is not KEY=value"].concat()),
    }
}

/// A container's or volume's name: letters, digits, and inside it `_`, `.` and `-`.
pub(super) fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.into()),
        false => Err(["'", text, "' is not a name: letters, digits and _ . -, a letter or digit first"].concat()),
    }
}

fn one_of(text: &str, all: &str) -> String {
    ["'", text, "' is not one of ", all].concat()
}

pub(super) fn namespace(text: &str) -> Result<Namespace, String> {
    match text.split_once(':') {
        None if matches!(text, "private" | "") => Ok(Namespace::Private),
        None if text == "host" => Ok(Namespace::Host),
        Some(("container", container)) => name(container).map(Namespace::Container),
        Some(("ns", path)) if path.starts_with('/') => Ok(Namespace::Path(path.into())),
        _ => Err(one_of(text, "private, host, container:NAME, ns:PATH")),
    }
}

pub(super) fn ipc(text: &str) -> Result<Namespace, String> {
    match text {
        "none" => Ok(Namespace::Empty),
        "shareable" => Ok(Namespace::Private),
        _ => namespace(text),
    }
}

/// There is no bridge here, and so no network that is private and of use.
pub(super) fn network(text: &str) -> Result<Namespace, String> {
    match (text, namespace(text)) {
        ("none", _) => Ok(Namespace::Empty),
        (_, Ok(found)) if found != Namespace::Private => Ok(found),
        _ => Err(one_of(text, "host, none, container:NAME, ns:PATH")),
    }
}

pub(super) fn user_namespace(text: &str) -> Result<(), String> {
    match text {
        "host" | "" => Ok(()),
        _ => Err(["'", text, "': only host is supported"].concat()),
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
        _ => Err(["'", text, "' is not one of always, newer, missing, never"].concat()),
    }
}

/// The longest wait between two tries: an hour. A boot must not hang in silence.
const DURATION_MAX_MS: u64 = 3_600_000;

/// Go's `time.ParseDuration`: `1m30s`, `500ms`, `1.5s`; in milliseconds.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || ["'", text, "' is not a duration such as 500ms, 2s or 1m30s, up to 1h"].concat();
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
pub(super) fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let read = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u64>().ok() };
    let fraction = fraction.get(..6).unwrap_or(fraction);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let part = read(fraction)?.checked_mul(unit)? / 10u64.pow(fraction.len() as u32);
    read(whole)?.checked_mul(unit)?.checked_add(part)
}

/// `linux/ARCH[/VARIANT]`.
pub(super) fn platform(text: &str) -> Result<(String, Option<String>), String> {
    let wrong = || ["'", text, "' is not linux/ARCH or linux/ARCH/VARIANT"].concat();
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
        false => Err(["'", text, "' is not a word such as amd64 or v8"].concat()),
    }
}

pub(super) fn operating_system(text: &str) -> Result<(), String> {
    match text {
        "linux" => Ok(()),
        _ => Err(["'", text, "': only linux runs here"].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input: added-hosts
    #[test]
    fn hosts_of_several_names() {
        let read = |text: &str| host(text).ok();
        let some = |names: &str, address: &str| Some((names.to_string(), address.to_string()));
        assert_eq!(read("db:192.0.2.7"), some("db", "192.0.2.7"));
        assert_eq!(read("a;b.lab;c_1:2001:db8::1"), some("a b.lab c_1", "2001:db8::1"));
        assert_eq!(read("up:host-gateway"), some("up", "host-gateway"));
        let long = "x".repeat(HOST_MAX);
        assert_eq!(read(&format!("{long}:::1")), some(&long, "::1"));
        for text in ["", "a", ":::1", "a:", ";:::1", "a;:::1", "a;;b:::1", "a b:::1", "a\tb:::1", "a,b:::1", "a#:::1"] {
            assert_eq!(read(text), None, "{text}");
        }
        for text in ["a\n:::1", "\u{e4}:::1", "a:::1 b", "a:192.0.2", "a=::1", "a:host", &format!("{long}x:::1")] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(host("a:[::1]").is_err_and(|why| why.ends_with("write the address without brackets")));
    }

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
            assert_eq!(error, format!("'{text}' is not a duration such as 500ms, 2s or 1m30s, up to 1h"));
        }
        assert!(duration_ms("18446744073709551615h").is_err());
    }
}
