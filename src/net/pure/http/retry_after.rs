//! The header `Retry-After`: how long to wait before the next request (RFC 9110, section 10.2.3).

/// Seconds to wait, by the header's number or date. `now_s` is in seconds since
/// 1970 (UTC); a date that has passed means 0.
pub fn retry_after_s(header: &str, now_s: i64) -> Option<u64> {
    let header = header.trim();
    if header.bytes().all(|byte| byte.is_ascii_digit()) {
        return header.parse().ok();
    }
    u64::try_from(imf_fixdate(header)?.checked_sub(now_s)?.max(0)).ok()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970 (RFC 9110, section
/// 5.6.7). The two obsolete formats are not supported: no server sends them.
fn imf_fixdate(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let bytes = text.as_bytes();
    if bytes.len() != 29 || !text.is_ascii() || !text.ends_with(" GMT") {
        return None;
    }
    let number = |at: usize, length: usize| {
        let digits = text.get(at..at + length)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let (day, year) = (number(5, 2)?, number(12, 4)?);
    let (hour, minute, second) = (number(17, 2)?, number(20, 2)?, number(23, 2)?);
    let month = MONTHS.find(text.get(8..11)?).filter(|at| at % 3 == 0)? as i64 / 3;
    let right = year >= 1970 && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    right.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970-01-01; `month` from 0. A year starts in March here, so that
/// 29 February is its last day.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input: busy-registry
    #[test]
    fn seconds_and_dates() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (header, now_s, wait_s) in [
            ("120", 0, Some(120)),
            (" 0 ", 7, Some(0)),
            (date, 784_111_777 - 9, Some(9)),
            (date, 784_111_777 + 9, Some(0)),
            ("Thu, 01 Jan 1970 00:00:10 GMT", 0, Some(10)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800, Some(0)),
            ("Fri, 01 Mar 2024 00:00:01 GMT", 1_709_164_800, Some(86_401)),
        ] {
            assert_eq!(retry_after_s(header, now_s), wait_s, "{header}");
        }
        for header in
            ["soon", "-1", "99999999999999999999", "Sun, 06 ovD 1994 08:49:37 GMT", "Sun, +6 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(retry_after_s(header, 0), None, "{header}");
        }
    }
}
