//! Amounts: sizes, rates, limits of processes and of control groups.

use crate::container::pure::spec::values::scaled;
use crate::container::pure::spec::{DeviceLimit, Limit, LimitKind, Process, Ulimit, ULIMITS};

/// `512m`, `1.5GiB`, `64 kb`, `1024`: binary units, as podman reads them.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || ["'", text, "' is not a size such as 512m or 1.5g (units: b, k, m, g, t, p)"].concat();
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_suffix('b').unwrap_or(&lower);
    let rest = rest.strip_suffix('i').filter(|rest| rest.ends_with(is_unit)).unwrap_or(rest);
    let (number, unit) = match rest.char_indices().next_back().filter(|(_, last)| is_unit(*last)) {
        Some((at, unit)) => (rest.get(..at).unwrap_or_default(), unit),
        None => (rest, 'b'),
    };
    let exponent = "bkmgtp".find(unit).unwrap_or_default() as u32;
    scaled(number.strip_suffix(' ').unwrap_or(number), 1 << (10 * exponent)).ok_or_else(wrong)
}

fn is_unit(c: char) -> bool {
    "kmgtp".contains(c)
}

/// -1, or a size.
pub(super) fn size_limit(text: &str) -> Result<Limit, String> {
    match text {
        "-1" => Ok(Limit::Unlimited),
        _ => size(text).map(Limit::At),
    }
}

/// A number from `min` to `max`.
pub(super) fn number(text: &str, min: i64, max: i64) -> Result<i64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| ["'", text, "' is not a number from ", &min.to_string(), " to ", &max.to_string()].concat())
}

/// Seconds, at most a year of them.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    number(text, 0, 31_536_000).map(|seconds| seconds as u32)
}

pub(super) fn oom_score(text: &str) -> Result<i32, String> {
    number(text, -1000, 1000).map(|score| score as i32)
}

/// In microseconds; the kernel's own bounds.
pub(super) fn cpu_period(text: &str) -> Result<u64, String> {
    number(text, 1000, 1_000_000).map(|period| period as u64)
}

/// 0 is podman's word for the default.
pub(super) fn cpu_shares(text: &str) -> Result<u64, String> {
    number(text, 0, 262_144).map(|shares| shares as u64)
}

/// -1 (0 too, where that is podman's word for it), or a number.
pub(super) fn count(text: &str) -> Result<Limit, String> {
    Ok(match number(text, -1, i64::MAX)? {
        ..=0 => Limit::Unlimited,
        number => Limit::At(number as u64),
    })
}

/// The period that `--cpus` counts in (podman's).
const PERIOD_US: u64 = 100_000;

/// `1.5`: so many microseconds of each period; 0 is no limit.
pub(super) fn cpus(text: &str) -> Result<Limit, String> {
    match scaled(text, PERIOD_US) {
        Some(0) if text.bytes().all(|b| matches!(b, b'0' | b'.')) => Ok(Limit::Unlimited),
        // The kernel's own minimum is a millisecond.
        Some(quota_us @ 1000..) => Ok(Limit::At(quota_us)),
        _ => Err(["'", text, "' is not a number of processors such as 2 or 0.5"].concat()),
    }
}

/// `0-3,7`.
pub(super) fn cpu_list(text: &str) -> Result<String, String> {
    let is_number = |text: &str| !text.is_empty() && text.len() < 5 && text.bytes().all(|b| b.is_ascii_digit());
    let is_part = |part: &str| match part.split_once('-') {
        Some((first, last)) => is_number(first) && is_number(last),
        None => is_number(part),
    };
    match text.split(',').all(is_part) {
        true => Ok(text.into()),
        false => Err(["'", text, "' is not a list such as 0-3,7"].concat()),
    }
}

/// `nofile=1024:2048`, `core=-1`, `host`.
pub(super) fn ulimit(process: &mut Process, text: &str) -> Result<(), String> {
    // podman's own limits, which are the defaults once it has raised them, whatever else is given.
    if text == "host" {
        process.ulimits_of_host = true;
        return Ok(());
    }
    let wrong = || ["'", text, "' is not NAME=SOFT[:HARD] (-1: no limit) or host"].concat();
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    let resource = ULIMITS.iter().position(|known| *known == bare);
    let resource = resource.ok_or_else(|| ["'", name, "' is not one of ", &ULIMITS.join(", ")].concat())? as u32;
    let limit = |text: &str| match text {
        "-1" => Some(u64::MAX),
        _ => text.parse::<u64>().ok().filter(|_| !text.starts_with('+')),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (limit(soft).ok_or_else(wrong)?, limit(hard).ok_or_else(wrong)?);
    if soft > hard {
        return Err(["'", text, "': the soft limit is above the hard one"].concat());
    }
    process.ulimits.retain(|other| other.resource != resource);
    process.ulimits.push(Ulimit { resource, soft, hard });
    Ok(())
}

/// `/dev/sda:1mb`; operations are a plain number.
pub(super) fn device_limit(text: &str, kind: LimitKind) -> Result<DeviceLimit, String> {
    let (path, rate) = device_value(text)?;
    let rate = match kind {
        LimitKind::ReadBps | LimitKind::WriteBps => size(rate)?,
        LimitKind::ReadIops | LimitKind::WriteIops => number(rate, 0, i64::MAX)? as u64,
    };
    Ok(DeviceLimit { path: path.into(), kind, rate })
}

/// `/dev/sda:100`.
pub(super) fn device_weight(text: &str) -> Result<(String, u16), String> {
    let (path, weight) = device_value(text)?;
    Ok((path.into(), blkio_weight(weight)?))
}

fn device_value(text: &str) -> Result<(&str, &str), String> {
    let parts = text.rsplit_once(':').filter(|(path, _)| path.starts_with("/dev/"));
    parts.ok_or_else(|| ["'", text, "' is not /dev/NAME:NUMBER"].concat())
}

pub(super) fn blkio_weight(text: &str) -> Result<u16, String> {
    number(text, 10, 1000).map(|weight| weight as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17b", 17),
            ("1k", 1 << 10),
            ("512m", 512 << 20),
            ("512MB", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("64 kb", 64 << 10),
            ("2t", 2 << 40),
            (".5k", 512),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "b", "ib", "1ib", "-1", "1x", "1mm", "1 m b", "1e3", "99999999p", "18446744073709551616"]
        {
            assert!(size(text).unwrap_err().starts_with(&format!("'{text}' is not a size")), "{text}");
        }
        assert_eq!(size_limit("-1"), Ok(Limit::Unlimited));
    }

    #[test]
    fn processors() {
        assert_eq!(cpus("1.5"), Ok(Limit::At(150_000)));
        assert_eq!(cpus("0.0"), Ok(Limit::Unlimited));
        for text in ["", "x", "-1", "0.00001", "."] {
            assert!(cpus(text).is_err(), "{text}");
        }
        assert!(cpu_list("0-3,7").is_ok());
        for text in ["", "0-", "a", "0,,1", "1-2-3", "0;1"] {
            assert!(cpu_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_of_processes() {
        let mut process = Process::default();
        for text in ["nofile=1:2", "core=-1", "RLIMIT_NOFILE=1024:2048", "host"] {
            ulimit(&mut process, text).unwrap();
        }
        let nofile = Ulimit { resource: 7, soft: 1024, hard: 2048 };
        assert_eq!(process.ulimits, [Ulimit { resource: 4, soft: u64::MAX, hard: u64::MAX }, nofile]);
        for text in ["nofile", "nofile=", "nofile=2:1", "nofile=-1:1", "files=1", "nofile=1:", "nofile=+1", "=1"] {
            assert!(ulimit(&mut process, text).unwrap_err().starts_with('\''), "{text}");
        }
    }
}
