//! The head of an answer: status line and headers, in pieces of any size.

use crate::net::pure::http::error::Error;
use crate::net::pure::http::field::{is_field, is_token};
use crate::net::pure::http::request::Method;
use crate::pure::percent;

/// The longest head, with interim answers.
const HEAD_MAX: usize = 256 << 10;
/// How every answer starts: what starts otherwise is not HTTP/1.
const MAGIC: &[u8] = b"HTTP/1.";
/// RFC 8446, section 5.1: how TLS refuses what is no handshake of it.
const TLS_ALERT: u8 = 21;

/// Collects a head. Interim answers (1xx) are skipped.
#[derive(Default)]
pub struct HeadReader {
    bytes: Vec<u8>,
    line_start: usize,
    skipped: usize,
}

/// The headers of an answer, in the order of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The lines, checked.
    text: String,
}

/// A complete head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub headers: Headers,
    /// HTTP/1.1 rather than 1.0.
    modern: bool,
    /// A line was skipped.
    odd: bool,
}

/// How the end of the body is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl HeadReader {
    /// How much of `input` belongs to the head, and the head once it is complete.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Head>), Error> {
        for (index, byte) in input.iter().enumerate() {
            let at = self.bytes.len();
            if MAGIC.get(at).is_some_and(|wanted| wanted != byte) {
                return Err(if at == 0 && *byte == TLS_ALERT { Error::Tls } else { Error::NotHttp });
            }
            if self.skipped + at == HEAD_MAX {
                return Err(Error::HeadTooLong);
            }
            self.bytes.push(*byte);
            if *byte != b'\n' {
                continue;
            }
            let is_empty = matches!(self.bytes.get(self.line_start..at), Some([] | [b'\r']));
            self.line_start = at + 1;
            if is_empty {
                let head = Head::parse(&self.bytes)?;
                if !(100..200).contains(&head.status) {
                    return Ok((index + 1, Some(head)));
                }
                if head.status == 101 {
                    return Err(Error::Upgrade);
                }
                *self = HeadReader { skipped: self.skipped + self.bytes.len(), ..HeadReader::default() };
            }
        }
        Ok((input.len(), None))
    }

    /// Whether nothing of an answer has come yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.skipped == 0
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Head, Error> {
        // RFC 9112, section 2.2: a line may end without CR; one elsewhere is a control character.
        let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let (status, modern) = status_line(lines.next().unwrap_or_default()).ok_or(Error::NotHttp)?;
        let (mut text, mut odd) = (String::with_capacity(bytes.len()), false);
        for line in lines.take_while(|line| !line.is_empty()) {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
            let (name, value) = line.split_at(colon);
            // A folded line starts with white space, which no name has. One that is no header is not worth an image.
            if name.is_empty() || !name.iter().copied().all(is_token) || !value.iter().copied().all(is_field) {
                odd = true;
                continue;
            }
            match core::str::from_utf8(line) {
                Ok(line) => text.push_str(line),
                // Bytes of another encoding stay what they are in a `Location`, where no URL may hold them.
                Err(_) => line.iter().for_each(|byte| match byte {
                    0x80.. => percent::escape(*byte, &mut text),
                    _ => text.push(char::from(*byte)),
                }),
            }
            text.push('\n');
        }
        Ok(Head { status, headers: Headers { text }, modern, odd })
    }

    /// How the body of the answer to `method` ends.
    pub fn framing(&self, method: Method) -> Result<Framing, Error> {
        if method == Method::Head || matches!(self.status, 204 | 304) {
            return Ok(Framing::None);
        }
        let mut codings = self.headers.get_all("transfer-encoding");
        let length = self.headers.length()?;
        match (codings.next(), length) {
            (None, Some(length)) => Ok(Framing::Length(length)),
            (None, None) => Ok(Framing::UntilClose),
            // The length does not count beside it.
            (Some(coding), _) => {
                let ours = self.modern && coding.eq_ignore_ascii_case("chunked") && codings.next().is_none();
                ours.then_some(Framing::Chunked).ok_or(Error::Coding)
            }
        }
    }

    /// Whether the connection may be used again after the body (RFC 9112, section 9.3). Where a line was skipped, or
    /// there are two framings (section 6.3), others may see the body's end elsewhere.
    pub fn keeps_alive(&self) -> bool {
        let is_doubtful = self.odd
            || ["transfer-encoding", "content-length"].map(|name| self.headers.get(name)).iter().all(Option::is_some);
        let options = || self.headers.get_all("connection").flat_map(|value| value.split(',')).map(str::trim);
        let has = |wanted: &str| options().any(|option| option.eq_ignore_ascii_case(wanted));
        !is_doubtful && !has("close") && (self.modern || has("keep-alive"))
    }
}

impl Headers {
    /// The first header of that name, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    pub fn get_all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let pairs = self.text.lines().filter_map(|line| line.split_once(':'));
        pairs.filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_matches([' ', '\t']))
    }

    /// Content-Length, which may have the same number more than once (RFC 9110, section 8.6).
    pub fn length(&self) -> Result<Option<u64>, Error> {
        let mut length = None;
        for text in self.get_all("content-length").flat_map(|value| value.split(',')) {
            let digits = text.trim_matches([' ', '\t']);
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| is_number).ok_or(Error::Length)?;
            if length.replace(number).is_some_and(|earlier| earlier != number) {
                return Err(Error::Length);
            }
        }
        Ok(length)
    }
}

/// `HTTP/1.1 200 OK`: the status, and whether the version is 1.1. The reason may be missing.
fn status_line(line: &[u8]) -> Option<(u16, bool)> {
    let (version, rest) = line.strip_prefix(MAGIC)?.split_first()?;
    let (digits, reason) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    if !matches!(reason.first(), None | Some(b' ')) || !reason.iter().copied().all(is_field) {
        return None;
    }
    let modern = match version {
        b'0' => false,
        b'1' => true,
        _ => return None,
    };
    let is_number = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0')));
    is_number.then_some((status, modern))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(usize, Option<Head>), Error> {
        let whole = HeadReader::default().feed(bytes);
        let mut reader = HeadReader::default();
        let mut consumed = 0;
        let mut each = || {
            for byte in bytes {
                let (count, head) = reader.feed(&[*byte])?;
                consumed += count;
                if head.is_some() {
                    return Ok((consumed, head));
                }
            }
            Ok((consumed, None))
        };
        assert_eq!(each(), whole, "a byte at a time");
        whole
    }

    fn head(text: &str) -> Result<Head, Error> {
        let (consumed, head) = read(text.as_bytes())?;
        assert_eq!(consumed, text.len());
        Ok(head.expect("complete"))
    }

    #[test]
    fn a_head_and_where_the_body_starts() {
        let text = "HTTP/1.1 200 OK\r\nContent-Type:  a/b \r\nX:\r\nwww-authenticate: 1\r\nWWW-Authenticate: 2\r\n\r\n";
        let (consumed, head) = read(&[text.as_bytes(), b"body\r\n\r\n"].concat()).unwrap();
        let head = head.unwrap();
        assert_eq!((consumed, head.status), (text.len(), 200));
        assert_eq!(head.headers.get("content-type"), Some("a/b"));
        assert_eq!(head.headers.get("x"), Some(""));
        assert_eq!(head.headers.get("y"), None);
        assert_eq!(head.headers.get_all("Www-Authenticate").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nA: b\r\n"), Ok((23, None)));
    }

    /// Input: http-heads
    #[test]
    fn status_lines() {
        assert_eq!(head("HTTP/1.0 307\n\n").unwrap().status, 307);
        assert_eq!(head("HTTP/1.1 404 Not é Found\r\n\r\n").unwrap().status, 404);
        for line in
            ["HTTP/1.2 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000", "HTTP/1.1  200", "HTTP/1.1 099", "HTTP/1.1 2x0"]
        {
            assert_eq!(head(&[line, "\r\n\r\n"].concat()), Err(Error::NotHttp), "{line}");
        }
        // Told at once, not after 256 KiB: a server of HTTP/2, of anything, of TLS.
        for start in [&b"HTTP/2"[..], b"SSH-2.0", b"\r\nHTTP/1.1", b"HTTP\x15"] {
            assert_eq!(read(start), Err(Error::NotHttp));
        }
        assert_eq!(read(b"\x15\x03\x01\x00\x02\x02\x46"), Err(Error::Tls));
    }

    /// Input: http-heads
    #[test]
    fn malformed_headers_are_skipped() {
        for line in ["a b: c", "a : b", ": c", "nocolon", " a: folded", "\tb", "a: \rb", "a: \0", "a: \x7f"] {
            let text = ["HTTP/1.1 200 OK\r\nx: y\r\n", line, "\r\nz: 1\r\n\r\n"].concat();
            let head = head(&text).unwrap();
            assert_eq!(head.headers.text, "x: y\nz: 1\n", "{line:?}");
            assert!(!head.keeps_alive(), "{line:?}");
        }
    }

    /// Promise: redirects
    /// Input: redirects
    #[test]
    fn bytes_beyond_ascii_that_are_no_utf_8_are_encoded() {
        let of =
            |bytes: &[u8]| read(&[b"HTTP/1.1 302 -\r\nlocation: ", bytes, b"\r\n\r\n"].concat()).unwrap().1.unwrap();
        assert_eq!(of(b"/\xe9\xff ?a=%41").headers.get("location"), Some("/%E9%FF ?a=%41"));
        assert_eq!(of("/\u{e9}".as_bytes()).headers.get("location"), Some("/\u{e9}"));
    }

    #[test]
    fn interim_answers_are_skipped_and_switches_are_not() {
        let early = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        let head_ = head(&[early, "HTTP/1.1 200 OK\r\n\r\n"].concat()).unwrap();
        assert_eq!((head_.status, head_.headers.get("link")), (200, None));
        assert_eq!(head("HTTP/1.1 101 Switching\r\n\r\n"), Err(Error::Upgrade));
    }

    /// Input: http-heads
    #[test]
    fn a_head_without_end_has_a_limit() {
        let fill = |count: usize| ["HTTP/1.1 200 OK\r\na: ", &"x".repeat(count), "\r\n\r\n"].concat();
        assert!(head(&fill(HEAD_MAX - 24)).is_ok());
        assert_eq!(head(&fill(HEAD_MAX - 23)), Err(Error::HeadTooLong));
        // Interim answers count too.
        assert_eq!(head(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000)), Err(Error::HeadTooLong));
    }

    #[test]
    fn framings() {
        let of =
            |headers: &str, method: Method| head(&["HTTP/1.1 200 OK\r\n", headers, "\r\n"].concat())?.framing(method);
        let get = |headers: &str| of(headers, Method::Get);
        assert_eq!(get(""), Ok(Framing::UntilClose));
        assert_eq!(get("content-length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(get("content-length: 5, 5\r\nContent-Length: 5\r\n"), Ok(Framing::Length(5)));
        for bad in ["5, 6", "5\r\ncontent-length: 6", "-1", "+5", "", "0x5", "5 5", "18446744073709551616", "5,"] {
            assert_eq!(get(&["content-length: ", bad, "\r\n"].concat()), Err(Error::Length), "{bad}");
        }
        assert_eq!(get("transfer-encoding: Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(get("transfer-encoding: chunked\r\ncontent-length: 5\r\n"), Ok(Framing::Chunked));
        assert_eq!(get("content-length: 5\r\ntransfer-encoding: gzip\r\n"), Err(Error::Coding));
        let two = "content-length: 5\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n";
        assert_eq!(get(two), Err(Error::Length));
        for bad in
            ["gzip", "gzip, chunked", "chunked, chunked", "chunked\r\ntransfer-encoding: chunked", "identity", ""]
        {
            assert_eq!(get(&["transfer-encoding: ", bad, "\r\n"].concat()), Err(Error::Coding), "{bad}");
        }
        let old = head("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        assert_eq!(old.framing(Method::Get), Err(Error::Coding));
        assert_eq!(of("content-length: 5\r\n", Method::Head), Ok(Framing::None));
        for status in ["204", "304"] {
            let head = head(&["HTTP/1.1 ", status, "\r\ncontent-length: 5\r\n\r\n"].concat()).unwrap();
            assert_eq!(head.framing(Method::Get), Ok(Framing::None));
        }
    }

    #[test]
    fn which_connections_stay() {
        let keeps = |version: &str, header: &str| {
            head(&["HTTP/1.", version, " 200 OK\r\n", header, "\r\n"].concat()).unwrap().keeps_alive()
        };
        assert!(keeps("1", "") && keeps("0", "connection: Keep-Alive\r\n"));
        assert!(!keeps("0", "") && !keeps("1", "connection: x, Close\r\n"));
        assert!(!keeps("1", "connection: x\r\nconnection: close\r\n"));
        assert!(!keeps("1", "content-length: 5\r\ntransfer-encoding: chunked\r\n"));
        assert!(keeps("1", "content-length: 5\r\n") && keeps("1", "transfer-encoding: chunked\r\n"));
    }
}
