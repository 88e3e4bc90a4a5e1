//! gzip framing (RFC 1952): member headers and trailers. The caller reads the deflate stream between them.

use decompress::crc32::Crc32;

/// An extra field, a file name and a comment may together be this long. The
/// RFC has no limit; eStargz, the longest in use, stays under 100.
pub const MAX_HEADER_BYTES: u32 = 1 << 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Magic,
    Method,
    Flags,
    HeaderTooLong,
    HeaderChecksum,
    Checksum,
    Length,
    Garbage,
    Truncated,
}

impl Error {
    pub fn text(self) -> &'static str {
        match self {
            Error::Magic => "not a gzip stream",
            Error::Method => "gzip: unknown compression method",
            Error::Flags => "gzip: reserved flags are set",
            Error::HeaderTooLong => "gzip: the header is too long",
            Error::HeaderChecksum => "gzip: bad header checksum",
            Error::Checksum => "gzip: bad checksum",
            Error::Length => "gzip: bad length",
            Error::Garbage => "gzip: other bytes after the end",
            Error::Truncated => "gzip: truncated",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The ten fixed bytes; this many were read.
    Fixed(u8),
    /// The two bytes of the extra field's length.
    ExtraLength(u8),
    Extra(u16),
    Name,
    Comment,
    HeaderCrc(u8),
    Body,
    /// The eight bytes of the trailer; this many were read.
    Trailer(u8),
    /// Between members: another one, NULs (tape padding), or the end.
    Between,
    Nuls,
}

/// [`Crc32::update`], or a faster equivalent.
pub type Update = fn(&Crc32, u32, &[u8]) -> u32;

/// The framing of one stream of any number of members.
pub struct Framing {
    state: State,
    flags: u8,
    /// The last bytes of the number being read, little endian.
    held: u64,
    header_bytes: u32,
    crc: Crc32,
    update: Update,
    /// Of this member's header (FHCRC), then of its raw bytes.
    sum: u32,
    length: u32,
}

const TEXT_FLAG: u8 = 1;
const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const KNOWN_FLAGS: u8 = TEXT_FLAG | HEADER_CRC | EXTRA | NAME | COMMENT;

impl Framing {
    pub fn new(update: Update) -> Framing {
        let (state, crc) = (State::Fixed(0), Crc32::new());
        Framing { state, flags: 0, held: 0, header_bytes: 0, crc, update, sum: 0, length: 0 }
    }

    /// Whether the next bytes belong to a deflate stream. A new stream starts each time this becomes true.
    pub fn in_body(&self) -> bool {
        self.state == State::Body
    }

    /// Takes framing bytes off the front of `input`, up to a body or the end of it.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        while self.state != State::Body {
            let Some((byte, rest)) = input.split_first() else { return Ok(()) };
            *input = rest;
            self.byte(*byte)?;
        }
        Ok(())
    }

    /// Adds raw bytes of the body to checksum and length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.sum = (self.update)(&self.crc, self.sum, bytes);
        self.length = self.length.wrapping_add(bytes.len() as u32);
    }

    /// The deflate stream has ended: its trailer follows.
    pub fn end_body(&mut self) {
        self.state = State::Trailer(0);
        self.held = 0;
    }

    /// Call at the end of the input.
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::Between | State::Nuls => Ok(()),
            _ => Err(Error::Truncated),
        }
    }

    fn byte(&mut self, byte: u8) -> Result<(), Error> {
        match self.state {
            State::Between if byte == 0 => self.state = State::Nuls,
            State::Nuls if byte == 0 => {}
            State::Nuls => return Err(Error::Garbage),
            // Anything but a member's first byte is no member.
            State::Between if byte != 0x1f => return Err(Error::Garbage),
            State::Between => {
                (self.sum, self.length, self.header_bytes) = (0, 0, 0);
                self.state = State::Fixed(0);
                return self.header_byte(byte);
            }
            State::Trailer(n) => {
                self.held |= u64::from(byte) << (8 * n);
                self.state = State::Trailer(n + 1);
                if n == 7 {
                    if self.held as u32 != self.sum {
                        return Err(Error::Checksum);
                    }
                    if (self.held >> 32) as u32 != self.length {
                        return Err(Error::Length);
                    }
                    self.state = State::Between;
                }
            }
            _ => return self.header_byte(byte),
        }
        Ok(())
    }

    fn header_byte(&mut self, byte: u8) -> Result<(), Error> {
        self.header_bytes += 1;
        if self.header_bytes > MAX_HEADER_BYTES {
            return Err(Error::HeaderTooLong);
        }
        let sum_before = self.sum;
        self.sum = self.crc.update(self.sum, &[byte]);
        match self.state {
            State::Fixed(n) => {
                match n {
                    0 if byte != 0x1f => return Err(Error::Magic),
                    1 if byte != 0x8b => return Err(Error::Magic),
                    2 if byte != 8 => return Err(Error::Method),
                    3 if byte & !KNOWN_FLAGS != 0 => return Err(Error::Flags),
                    3 => self.flags = byte,
                    _ => {}
                }
                match n {
                    9 => self.after(0),
                    _ => self.state = State::Fixed(n + 1),
                }
            }
            State::ExtraLength(0) => {
                self.held = u64::from(byte);
                self.state = State::ExtraLength(1);
            }
            State::ExtraLength(_) => match self.held as u16 | u16::from(byte) << 8 {
                0 => self.after(EXTRA),
                length => self.state = State::Extra(length),
            },
            State::Extra(1) => self.after(EXTRA),
            State::Extra(left) => self.state = State::Extra(left - 1),
            State::Name if byte == 0 => self.after(NAME),
            State::Comment if byte == 0 => self.after(COMMENT),
            State::HeaderCrc(0) => {
                (self.held, self.sum) = (u64::from(byte), sum_before);
                self.state = State::HeaderCrc(1);
            }
            State::HeaderCrc(_) => {
                if self.held as u16 | u16::from(byte) << 8 != sum_before as u16 {
                    return Err(Error::HeaderChecksum);
                }
                self.after(HEADER_CRC);
            }
            _ => {}
        }
        Ok(())
    }

    /// The part of the header that follows the one named `flag` (0: the fixed bytes).
    fn after(&mut self, flag: u8) {
        let order = [EXTRA, NAME, COMMENT, HEADER_CRC];
        let done = order.iter().position(|f| *f == flag).map_or(0, |i| i + 1);
        let next = order.iter().skip(done).find(|f| self.flags & **f != 0);
        self.state = match next.copied().unwrap_or(0) {
            EXTRA => State::ExtraLength(0),
            NAME => State::Name,
            COMMENT => State::Comment,
            HEADER_CRC => State::HeaderCrc(0),
            _ => {
                self.sum = 0;
                State::Body
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header of the given flags and its optional parts, in the RFC's order.
    fn header(flags: u8, parts: &[u8]) -> Vec<u8> {
        [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255][..], parts].concat()
    }

    fn trailer(raw: &[u8]) -> Vec<u8> {
        [Crc32::new().update(0, raw).to_le_bytes(), (raw.len() as u32).to_le_bytes()].concat()
    }

    /// Reads a stream whose bodies are all empty but for what `raw` says.
    fn read(stream: &[u8], raw: &[u8], step: usize) -> Result<u32, Error> {
        let mut framing = Framing::new(Crc32::update);
        let mut members = 0;
        for mut chunk in stream.chunks(step) {
            while !chunk.is_empty() {
                framing.push(&mut chunk)?;
                if framing.in_body() {
                    framing.raw(raw);
                    framing.end_body();
                    members += 1;
                }
            }
        }
        framing.finish().map(|()| members)
    }

    #[test]
    fn every_optional_part() {
        let mut parts = b"\x03\0abcname\0comment\0".to_vec();
        let all = header(EXTRA | NAME | COMMENT | HEADER_CRC, &parts);
        let crc = Crc32::new().update(0, &all) as u16;
        parts.extend_from_slice(&crc.to_le_bytes());
        let good = [header(EXTRA | NAME | COMMENT | HEADER_CRC, &parts), trailer(b"hello")].concat();
        for step in [1, 2, 7, 100] {
            assert_eq!(read(&good, b"hello", step), Ok(1));
        }
        let mut bad = good.clone();
        bad[12] ^= 1;
        assert_eq!(read(&bad, b"hello", 3), Err(Error::HeaderChecksum));
        let empty_extra = [header(EXTRA, b"\0\0"), trailer(b"")].concat();
        assert_eq!(read(&empty_extra, b"", 1), Ok(1));
    }

    #[test]
    fn what_may_follow_a_member() {
        let member = [header(0, b""), trailer(b"x")].concat();
        for (tail, result) in [
            (&b""[..], Ok(1)),
            (b"\0\0\0", Ok(1)),
            (b"x", Err(Error::Garbage)),
            (b"\0x", Err(Error::Garbage)),
            (b"\x1f", Err(Error::Truncated)),
            (b"\x1fx", Err(Error::Magic)),
            (&member, Ok(2)),
        ] {
            assert_eq!(read(&[&member[..], tail].concat(), b"x", 4), result, "{tail:?}");
        }
        let after_nuls = [&member[..], b"\0", &member[..]].concat();
        assert_eq!(read(&after_nuls, b"x", 4), Err(Error::Garbage));
    }

    #[test]
    fn bad_members() {
        let good = [header(0, b""), trailer(b"x")].concat();
        for (at, error) in
            [(0, Error::Magic), (1, Error::Magic), (2, Error::Method), (10, Error::Checksum), (14, Error::Length)]
        {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(read(&bad, b"x", 5), Err(error), "byte {at}");
        }
        let mut reserved = good.clone();
        reserved[3] = 0x20;
        assert_eq!(read(&reserved, b"x", 5), Err(Error::Flags));
        for end in 0..good.len() {
            assert_eq!(read(&good[..end], b"x", 5), Err(Error::Truncated), "cut at {end}");
        }
        let endless = [header(NAME, b""), vec![b'a'; MAX_HEADER_BYTES as usize]].concat();
        assert_eq!(read(&endless, b"", 4096), Err(Error::HeaderTooLong));
    }
}
