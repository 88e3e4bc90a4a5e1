//! The fields of a tar header: names, numbers, times.

use crate::layer::pure::tar::entry::Time;
use crate::layer::pure::tar::limits::BLOCK_BYTES;

/// What follows a body of `size` bytes to the end of its block.
pub fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK_BYTES as u64
}

/// Takes `n` bytes off the front; `n` is at most the length.
pub fn take<'i>(input: &mut &'i [u8], n: usize) -> &'i [u8] {
    let (front, rest) = input.split_at_checked(n).unwrap_or((input, b""));
    *input = rest;
    front
}

/// A name field: up to its first NUL.
pub fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or(b"")
}

/// A number that may not be negative: octal digits among spaces and NULs, or
/// base-256 with the top bit set. An empty field is zero.
pub fn number(field: &[u8]) -> Option<u64> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        return u64::try_from(base_256(field)?).ok();
    }
    let start = field.iter().position(|b| !matches!(b, b' ' | 0)).unwrap_or(field.len());
    let mut value = 0u64;
    for byte in field.get(start..)? {
        match byte {
            b'0'..=b'7' => value = value.checked_mul(8)?.checked_add(u64::from(byte - b'0'))?,
            b' ' | 0 => break,
            _ => return None,
        }
    }
    Some(value)
}

/// A time field: as [`number`], but may be negative, and what does not fit is
/// clamped.
pub fn seconds(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        let limit = if field[0] & 0x40 == 0 { i64::MAX } else { i64::MIN };
        return Some(base_256(field).and_then(|n| i64::try_from(n).ok()).unwrap_or(limit));
    }
    Some(i64::try_from(number(field)?).unwrap_or(i64::MAX))
}

/// Two's complement, big endian, in all bits but the first; `None` where it
/// takes more than 127 bits or the field is empty.
fn base_256(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    // The marker bit goes; the sign is the bit below it.
    let mut value = i128::from((first << 1) as i8 >> 1);
    for byte in rest {
        value = value.checked_mul(256)? | i128::from(*byte);
    }
    Some(value)
}

/// Decimal digits and nothing else: the numbers of PAX records.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// A PAX time: `[-]SECONDS[.FRACTION]`. Seconds that do not fit are clamped,
/// digits below a nanosecond dropped.
pub fn decimal_time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |b| *b == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or(b""));
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = decimal(whole).and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX);
    let nanoseconds = (0..9).fold(0, |n, i| n * 10 + fraction.get(i).map_or(0, |digit: &u8| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: (-seconds).saturating_sub(1), nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input: header-numbers
    #[test]
    fn octal_fields() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"          2 ", Some(2)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o77777777)),
            (b"+42\0", None),
            (b"-1\0", None),
            (b"8\0", None),
            (b"12x\0", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    /// Input: header-numbers
    #[test]
    fn base_256_fields() {
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x04\0\0\0\0"), Some(1 << 34));
        assert_eq!(number(b"\x80\0\0\0\xff\xff\xff\xff"), Some(u64::from(u32::MAX)));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff"), None, "negative");
        assert_eq!(number(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), None, "2^64");
        assert_eq!(seconds(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(seconds(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
        assert_eq!(seconds(b"\xc0\0\0\0\0\0\0\0\0\0\0\0"), Some(i64::MIN));
    }

    /// Input: times
    #[test]
    fn times_are_clamped() {
        let time = |seconds, nanoseconds| Some(Time { seconds, nanoseconds });
        assert_eq!(decimal_time(b"1.5"), time(1, 500_000_000));
        assert_eq!(decimal_time(b"1.0000000019"), time(1, 1));
        assert_eq!(decimal_time(b"-1.5"), time(-2, 500_000_000));
        assert_eq!(decimal_time(b"-1"), time(-1, 0));
        assert_eq!(decimal_time(b"99999999999999999999999"), time(i64::MAX, 0));
        for bad in [&b""[..], b".5", b"+1", b"1e3", b"--1", b"1.2.3", b"1,5"] {
            assert_eq!(decimal_time(bad), None, "{bad:?}");
        }
    }
}
