//! SNTP (RFC 4330): a request for the time, and its answer.

pub mod client;
pub mod correct;

pub const PORT: u16 = 123;
pub const PACKET_BYTES: usize = 48;

/// From 1900 (NTP) to 1970 (Unix).
const EPOCH_S: i64 = 2_208_988_800;
const ERA_S: i64 = 1 << 32;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
const VERSION: u8 = 4;
const MAX_STRATUM: u8 = 15;

/// A moment: seconds and nanoseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not the answer to this request, or a forged one: wait for another.
    Unrelated,
    /// Leap indicator 3: the server's clock is not synchronized.
    Unsynchronised,
    /// Stratum 0: the server refuses requests, for the reason of this code (RFC 5905, section 7.4), or of none.
    KissOfDeath([u8; 4]),
    /// Stratum over 15, or a time of zero.
    Malformed,
    /// Before this program was built.
    Past,
}

impl Error {
    pub fn text(self) -> String {
        let text = match self {
            Error::Unrelated => "answer to another question",
            Error::Unsynchronised => "the server's own clock is not set",
            Error::KissOfDeath(code) if code.iter().all(u8::is_ascii_uppercase) => {
                return format!("the server refuses to answer ({})", String::from_utf8_lossy(&code));
            }
            Error::KissOfDeath(_) => "the server refuses to answer",
            Error::Malformed => "malformed answer",
            Error::Past => "its time is before this program was built",
        };
        text.into()
    }
}

/// The request. In place of the client's time it has the random `cookie`, which the server sends back as the origin:
/// only who has seen the request can answer it, and the client's clock, which may be wrong, is not told.
pub fn query(cookie: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    packet[0] = VERSION << 3 | CLIENT;
    packet[40..].copy_from_slice(&cookie.to_be_bytes());
    packet
}

/// The time when the answer came, `elapsed_ms` after the request: the server's time and half of the round trip; and
/// the round trip, in milliseconds.
pub fn parse(packet: &[u8], cookie: u64, elapsed_ms: u64, floor_s: i64) -> Result<(Time, u64), Error> {
    let header = packet.get(..PACKET_BYTES).ok_or(Error::Unrelated)?;
    let (first, stratum) = (header[0], header[1]);
    if first & 7 != SERVER || u64_at(header, 24) != cookie || cookie == 0 {
        return Err(Error::Unrelated);
    }
    if stratum == 0 {
        return Err(Error::KissOfDeath([header[12], header[13], header[14], header[15]]));
    }
    if first >> 6 == 3 {
        return Err(Error::Unsynchronised);
    }
    let (received, sent) = (u64_at(header, 32), u64_at(header, 40));
    if stratum > MAX_STRATUM || sent == 0 {
        return Err(Error::Malformed);
    }
    // The server's own processing time, from 2^-32 s; where it is longer than the round trip, it is ignored.
    let inside_ms = ((sent.wrapping_sub(received) >> 22) * 1000) >> 10;
    let way_ms = elapsed_ms.checked_sub(inside_ms).unwrap_or(elapsed_ms);
    let time = unix(sent).plus_ms(way_ms / 2);
    if time.seconds < floor_s {
        return Err(Error::Past);
    }
    Ok((time, way_ms))
}

/// A timestamp with the highest bit clear is of the era that begins in 2036 (RFC 4330 section 3); right until 2104.
fn unix(timestamp: u64) -> Time {
    let seconds = (timestamp >> 32) as i64;
    let era_s = if seconds & 1 << 31 == 0 { ERA_S } else { 0 };
    let nanoseconds = ((timestamp & 0xffff_ffff) * 1_000_000_000) >> 32;
    Time { seconds: seconds + era_s - EPOCH_S, nanoseconds: nanoseconds as u32 }
}

impl Time {
    pub fn plus_ms(self, ms: u64) -> Time {
        let nanoseconds = u64::from(self.nanoseconds) + ms % 1000 * 1_000_000;
        let seconds = self.seconds + (ms / 1000) as i64 + (nanoseconds / 1_000_000_000) as i64;
        Time { seconds, nanoseconds: (nanoseconds % 1_000_000_000) as u32 }
    }

    pub fn minus_ms(self, earlier: Time) -> i64 {
        let nanoseconds = i64::from(self.nanoseconds) - i64::from(earlier.nanoseconds);
        (self.seconds - earlier.seconds).saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
    }

    /// Year, month, day, hour, minute and second, in UTC.
    pub fn fields(self) -> [i64; 6] {
        let (year, month, day) = civil(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        [year, month, day, second / 3600, second / 60 % 60, second % 60]
    }

    /// `2026-11-25 01:13:21`, in UTC.
    pub fn text(self) -> String {
        let [year, month, day, hour, minute, second] = self.fields();
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// Year, month and day of a day since 1970. A year starts in March here, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| <[u8; 8]>::try_from(b).ok()).map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: u64 = 0x0123_4567_89ab_cdef;
    const FLOOR: i64 = 1_795_000_000;
    /// FLOOR + 1 in NTP's seconds, still before 2036.
    const NOW: u64 = (FLOOR + 1 + EPOCH_S) as u64;

    fn answer(first: u8, stratum: u8, received: u64, sent: u64) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[..2].copy_from_slice(&[first, stratum]);
        packet[24..32].copy_from_slice(&COOKIE.to_be_bytes());
        packet[32..40].copy_from_slice(&received.to_be_bytes());
        packet[40..].copy_from_slice(&sent.to_be_bytes());
        packet
    }

    fn read(packet: &[u8]) -> Result<Time, Error> {
        parse(packet, COOKIE, 0, FLOOR).map(|(time, _)| time)
    }

    #[test]
    fn half_of_the_way_is_added_without_the_servers_own_time() {
        let half = 1u64 << 31;
        let packet = answer(0x24, 2, NOW << 32, NOW << 32 | half);
        assert_eq!(read(&packet), Ok(Time { seconds: FLOOR + 1, nanoseconds: 500_000_000 }), "0 < 500 ms: nonsense");
        let time = parse(&packet, COOKIE, 700, FLOOR);
        assert_eq!(time, Ok((Time { seconds: FLOOR + 1, nanoseconds: 600_000_000 }, 200)));
        let time = parse(&packet, COOKIE, 2_500, FLOOR);
        assert_eq!(time, Ok((Time { seconds: FLOOR + 2, nanoseconds: 500_000_000 }, 2_000)), "over the second's end");
    }

    /// Input: ntp-answers
    #[test]
    fn what_is_not_the_answer_is_waited_past() {
        let good = answer(0x24, 2, NOW << 32, NOW << 32);
        assert!(read(&good).is_ok());
        assert_eq!(parse(&good, COOKIE + 1, 0, FLOOR), Err(Error::Unrelated));
        for mode in [0, 1, 2, 3, 5, 6, 7] {
            assert_eq!(read(&answer(0x20 | mode, 2, NOW << 32, NOW << 32)), Err(Error::Unrelated), "mode {mode}");
        }
        assert_eq!(read(&good[..47]), Err(Error::Unrelated));
        let mut zero_origin = good;
        zero_origin[24..32].fill(0);
        assert_eq!(read(&zero_origin), Err(Error::Unrelated));
        assert_eq!(parse(&zero_origin, 0, 0, FLOOR), Err(Error::Unrelated));
    }

    /// Promise: clock
    /// Input: ntp-answers
    #[test]
    fn servers_without_a_time_are_told_apart() {
        let now = NOW << 32;
        assert_eq!(read(&answer(0x24, 0, now, now)), Err(Error::KissOfDeath([0; 4])));
        let mut kiss = answer(0xe4, 0, now, now);
        kiss[12..16].copy_from_slice(b"RATE");
        let error = read(&kiss).unwrap_err();
        assert_eq!(
            (error, error.text().as_str()),
            (Error::KissOfDeath(*b"RATE"), "the server refuses to answer (RATE)")
        );
        kiss[12..16].copy_from_slice(b"\x1b[1m");
        assert_eq!(read(&kiss).unwrap_err().text(), "the server refuses to answer");
        assert_eq!(read(&answer(0xe4, 2, now, now)), Err(Error::Unsynchronised));
        assert_eq!(read(&answer(0xe4, 0, now, now)), Err(Error::KissOfDeath([0; 4])), "kisses come with leap 3");
        assert_eq!(read(&answer(0x24, 16, now, now)), Err(Error::Malformed));
        assert_eq!(read(&answer(0x24, 2, now, 0)), Err(Error::Malformed));
        assert_eq!(read(&answer(0x24, 2, now, (NOW - 2) << 32)), Err(Error::Past));
        assert!(read(&answer(0x64, 15, now, now)).is_ok(), "a leap second announced is no error");
    }

    /// Promise: clock
    /// Input: ntp-answers
    #[test]
    fn after_2036_the_era_is_the_next() {
        // 2036-02-07 06:28:16 is the new era's second 0; a day later:
        let time = read(&answer(0x24, 2, 86_400 << 32, 86_400 << 32)).unwrap();
        assert_eq!(time.text(), "2036-02-08 06:28:16");
    }

    #[test]
    fn dates_are_the_calendars() {
        let date = |seconds| Time { seconds, nanoseconds: 0 }.text();
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(date(951_868_800), "2000-03-01 00:00:00");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(date(-1), "1969-12-31 23:59:59");
        assert_eq!(date(1_795_569_201), "2026-11-25 01:13:21");
    }
}
