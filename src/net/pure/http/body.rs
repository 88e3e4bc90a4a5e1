//! Reads a body from its framing, in pieces of any size.

use crate::net::pure::http::error::Error;
use crate::net::pure::http::head::Framing;
use core::ops::Range;

/// The longest line of a chunk's size and its extensions, which are ignored.
const CHUNK_LINE_MAX: u32 = 4 << 10;
/// The length of all trailers, which are ignored.
const TRAILERS_MAX: u32 = 16 << 10;

/// Takes a body out of the bytes of a connection.
pub struct Body {
    state: State,
    /// Bytes that are left of the body, or of the chunk.
    left: u64,
    received: u64,
    total: Option<u64>,
    /// Bytes of the chunk's first line, or of the trailers.
    line: u32,
    digits: u32,
    /// Whether the trailer's line is empty so far, but for a CR.
    blank: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    UntilClose,
    Length,
    ChunkSize,
    ChunkExtension,
    ChunkData,
    ChunkCr,
    ChunkLf,
    Trailers,
}

/// What a piece of input held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How much of the input was consumed.
    pub consumed: usize,
    /// The part of the input that is the body's; the rest of the input may hold more.
    pub data: Range<usize>,
    /// The body is complete.
    pub done: bool,
}

impl Body {
    pub fn new(framing: Framing) -> Body {
        let (state, left, total) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0, None),
            Framing::Length(length) => (State::Length, length, Some(length)),
            Framing::Chunked => (State::ChunkSize, 0, None),
            Framing::UntilClose => (State::UntilClose, u64::MAX, None),
        };
        Body { state, left, received: 0, total, line: 0, digits: 0, blank: true }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How much may be read of the connection without reading beyond the body;
    /// `None` where only the body itself tells its end.
    pub fn wants(&self) -> Option<u64> {
        (self.state == State::Length).then_some(self.left)
    }

    /// Consumes at most one run of data, and the framing before and after it.
    pub fn feed(&mut self, input: &[u8]) -> Result<Step, Error> {
        let (mut at, mut data) = (0, 0..0);
        while at < input.len() && self.state != State::Done {
            if matches!(self.state, State::Length | State::UntilClose | State::ChunkData) {
                if !data.is_empty() {
                    break;
                }
                let count = self.left.min((input.len() - at) as u64);
                data = at..at + count as usize;
                at = data.end;
                self.take(count);
            } else {
                let byte = input.get(at).copied().unwrap_or_default();
                self.state = self.control(byte)?;
                at += 1;
            }
        }
        Ok(Step { consumed: at, data, done: self.is_done() })
    }

    fn take(&mut self, count: u64) {
        self.received = self.received.saturating_add(count);
        match self.state {
            State::UntilClose => return,
            _ => self.left -= count,
        }
        if self.left == 0 {
            self.state = if self.state == State::Length { State::Done } else { State::ChunkCr };
        }
    }

    /// One byte of the chunked coding (RFC 9112, section 7.1) that is no data.
    fn control(&mut self, byte: u8) -> Result<State, Error> {
        self.line += 1;
        match self.state {
            State::ChunkSize => {
                if let Some(digit) = char::from(byte).to_digit(16) {
                    // No size needs more digits than a u64 has; leading zeros count.
                    self.digits += 1;
                    self.left = (self.left << 4) | u64::from(digit);
                    return (self.digits <= 16).then_some(State::ChunkSize).ok_or(Error::Chunk);
                }
                match byte {
                    _ if self.digits == 0 => Err(Error::Chunk),
                    b'\n' => Ok(self.after_size()),
                    b'\r' | b';' | b' ' | b'\t' => Ok(State::ChunkExtension),
                    _ => Err(Error::Chunk),
                }
            }
            State::ChunkExtension if byte == b'\n' => Ok(self.after_size()),
            State::ChunkExtension if self.line > CHUNK_LINE_MAX => Err(Error::Chunk),
            State::ChunkExtension => Ok(State::ChunkExtension),
            State::ChunkCr if byte == b'\r' => Ok(State::ChunkLf),
            State::ChunkCr | State::ChunkLf if byte == b'\n' => {
                (self.line, self.digits) = (0, 0);
                Ok(State::ChunkSize)
            }
            State::Trailers if byte == b'\n' && self.blank => Ok(State::Done),
            State::Trailers if self.line <= TRAILERS_MAX => {
                self.blank = byte == b'\n' || (self.blank && byte == b'\r');
                Ok(State::Trailers)
            }
            _ => Err(Error::Chunk),
        }
    }

    fn after_size(&mut self) -> State {
        self.line = 0;
        if self.left == 0 {
            State::Trailers
        } else {
            State::ChunkData
        }
    }

    /// Call at the connection's end: an error where the body is not complete.
    pub fn end(&self) -> Result<(), Error> {
        match self.state {
            State::Done | State::UntilClose => Ok(()),
            _ => Err(Error::BodyEnded { received: self.received, total: self.total }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed in pieces of `size`: the data, how much was consumed, and whether it is complete.
    fn pieces(framing: Framing, input: &[u8], size: usize) -> Result<(Vec<u8>, usize, bool), Error> {
        let mut body = Body::new(framing);
        let (mut data, mut consumed) = (Vec::new(), 0);
        for piece in input.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() && !body.is_done() {
                let step = body.feed(rest)?;
                data.extend_from_slice(&rest[step.data]);
                consumed += step.consumed;
                rest = &rest[step.consumed..];
            }
        }
        Ok((data, consumed, body.is_done()))
    }

    fn decode(framing: Framing, input: &[u8]) -> Result<(Vec<u8>, usize, bool), Error> {
        let whole = pieces(framing, input, input.len().max(1));
        for size in [1, 2, 3, 7] {
            assert_eq!(pieces(framing, input, size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn a_length_and_what_is_behind_it() {
        assert_eq!(decode(Framing::Length(5), b"hello+"), Ok((b"hello".to_vec(), 5, true)));
        assert_eq!(decode(Framing::Length(5), b"hell"), Ok((b"hell".to_vec(), 4, false)));
        assert_eq!(decode(Framing::Length(0), b"x"), Ok((vec![], 0, true)));
        assert_eq!(decode(Framing::None, b"x"), Ok((vec![], 0, true)));
        assert_eq!(decode(Framing::UntilClose, b"all"), Ok((b"all".to_vec(), 3, false)));
    }

    /// Promise: answers-in-pieces
    #[test]
    fn chunks() {
        let input = b"5\r\nhello\r\n00A; x=\"y\"\r\n, world 10\r\n0\r\nSum: 1\r\n\r\n+";
        assert_eq!(decode(Framing::Chunked, input), Ok((b"hello, world 10".to_vec(), input.len() - 1, true)));
        assert_eq!(decode(Framing::Chunked, b"0\r\n\r\n"), Ok((vec![], 5, true)));
        assert_eq!(decode(Framing::Chunked, b"1\na\n0\n\n"), Ok((b"a".to_vec(), 7, true)));
    }

    #[test]
    fn the_last_chunk_comes_with_the_data_where_it_is_there() {
        let step = Body::new(Framing::Chunked).feed(b"3\r\nabc\r\n0\r\n\r\n").unwrap();
        assert_eq!(step, Step { consumed: 13, data: 3..6, done: true });
    }

    /// Input: http-heads
    #[test]
    fn malformed_chunks() {
        for bad in [
            &b"\r\n"[..],
            b";x\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"1\r\nab",
            b"1\r\na\rb",
            b"10000000000000000\r\n",
            b"00000000000000001\r\n",
        ] {
            assert_eq!(decode(Framing::Chunked, bad), Err(Error::Chunk), "{}", String::from_utf8_lossy(bad));
        }
        let long = |start: &[u8], count: usize| [start, &vec![b'x'; count]].concat();
        assert!(decode(Framing::Chunked, &long(b"1;", CHUNK_LINE_MAX as usize - 2)).is_ok());
        assert_eq!(decode(Framing::Chunked, &long(b"1;", CHUNK_LINE_MAX as usize)), Err(Error::Chunk));
        assert!(decode(Framing::Chunked, &long(b"0\r\n", TRAILERS_MAX as usize)).is_ok());
        assert_eq!(decode(Framing::Chunked, &long(b"0\r\n", TRAILERS_MAX as usize + 1)), Err(Error::Chunk));
        assert!(decode(Framing::Chunked, b"ffffffffffffffff\r\nx").is_ok());
    }

    #[test]
    fn an_end_in_the_middle_says_where() {
        let ended = |framing: Framing, input: &[u8]| {
            let mut body = Body::new(framing);
            body.feed(input).unwrap();
            body.end().map_err(Error::text)
        };
        assert_eq!(ended(Framing::Length(9), b"1234"), Err("the body ended after 4 of 9 bytes".into()));
        assert_eq!(
            ended(Framing::Chunked, b"2\r\n12\r\n"),
            Err("the body ended after 2 bytes, in the middle of it".into())
        );
        assert_eq!(
            ended(Framing::Chunked, b"0\r\n\r"),
            Err("the body ended after 0 bytes, in the middle of it".into())
        );
        assert_eq!(ended(Framing::UntilClose, b"1234"), Ok(()));
        assert_eq!(ended(Framing::Length(2), b"12"), Ok(()));
    }
}
