//! Decompresses bytes as they are read: gzip, zstd or plain, by their magic, since a layer's media type or a module's
//! name may be wrong.

#![forbid(unsafe_code)]

use crate::pure::gzip::{self, Framing};
use crate::sys::crc32;
use decompress::deflate::{Inflater, Status, WINDOW_BYTES};
use decompress::zstd::{self, Step};
use std::io::{self, ErrorKind, Read};

/// Compressed bytes that are read at a time.
const INPUT_BYTES: usize = 64 << 10;
/// Twice a zstd block, so that the rest of a block is seldom moved.
const ZSTD_INPUT_BYTES: usize = 256 << 10;
/// For inflated bytes: deflate's window, and room for the next ones.
const OUTPUT_BYTES: usize = 256 << 10;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How many bytes tell a compression.
pub const START_BYTES: usize = 10;
/// Formats that are not read here: what they begin with, and their names. No tar begins so, which would be with a
/// member's name.
const FOREIGN: [(&[u8], &str); 8] = [
    // As xz writes it, with a window of 8 MiB and no length; less would be a name.
    (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff", "lzma"),
    (b"\x1f\x9d", "compress"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"LZIP\x01", "lzip"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];
/// What follows bzip2's `BZh` and a digit: the mark of a block, or that of the end.
const BZIP2_MARKS: [&[u8]; 2] = [b"1AY&SY", b"\x17rE8P\x90"];

/// Called with the bytes of a zstd frame's window before they are allocated; an error refuses the layer. It is not
/// called again for a smaller window.
pub type Reserve<'a> = &'a mut (dyn FnMut(u64) -> io::Result<()> + Send);

/// Whether bytes that begin with `start` are compressed.
pub fn is_compressed(start: &[u8]) -> bool {
    start.starts_with(&GZIP_MAGIC) || start.len() >= 4 && zstd::is_magic(start) || foreign(start).is_some()
}

/// The compression of bytes that begin with `start`, if it is known and not supported.
fn foreign(start: &[u8]) -> Option<&'static str> {
    let marked = |rest: &[u8]| BZIP2_MARKS.iter().any(|mark| rest.starts_with(mark));
    if start.starts_with(b"BZh") && start.get(4..).is_some_and(marked) {
        return Some("bzip2");
    }
    FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name)
}

enum Format {
    Unknown,
    Plain,
    Gzip(Box<Gzip>),
    Zstd(Box<zstd::Decoder>),
}

/// The raw bytes of `source`. The end is reported only after the framing was checked: checksum, length, and nothing
/// behind it but NULs after gzip. Besides a zstd frame's window it takes less than 1 MiB of memory.
pub struct Inflate<'a> {
    source: &'a mut dyn Read,
    reserve: Reserve<'a>,
    /// The largest window so far.
    reserved: u64,
    format: Format,
    input: Input,
}

/// Bytes that were read of the source.
struct Input {
    bytes: Vec<u8>,
    /// The part of `bytes` that is still to be used.
    at: usize,
    end: usize,
}

impl Input {
    /// Reads more bytes; false at the source's end.
    fn fill(&mut self, source: &mut dyn Read) -> io::Result<bool> {
        if self.at == self.end {
            (self.at, self.end) = (0, 0);
        } else if self.end == self.bytes.len() {
            self.bytes.copy_within(self.at.., 0);
            (self.at, self.end) = (0, self.end - self.at);
        }
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        loop {
            match source.read(room) {
                Ok(n) => {
                    self.end += n.min(room.len());
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }
}

impl<'a> Inflate<'a> {
    /// `reserve` limits the memory of zstd frames.
    pub fn new(source: &'a mut dyn Read, reserve: Reserve<'a>) -> Inflate<'a> {
        let input = Input { bytes: vec![0; INPUT_BYTES], at: 0, end: 0 };
        Inflate { source, reserve, reserved: 0, format: Format::Unknown, input }
    }

    fn sniff(&mut self) -> io::Result<()> {
        while self.input.end < START_BYTES && self.input.fill(self.source)? {}
        let input = self.input.get();
        if let Some(name) = foreign(input) {
            let text = ["packed with ", name, ": pack it again with gzip, with zstd or not at all"].concat();
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        self.format = if input.starts_with(&GZIP_MAGIC) {
            Format::Gzip(Box::new(Gzip::new()))
        } else if input.len() >= 4 && zstd::is_magic(input) {
            self.input.bytes.resize(ZSTD_INPUT_BYTES, 0);
            Format::Zstd(Box::default())
        } else {
            Format::Plain
        };
        Ok(())
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if matches!(self.format, Format::Unknown) {
            self.sniff()?;
        }
        match &mut self.format {
            Format::Gzip(gzip) => gzip.read(&mut self.input, self.source, buffer),
            Format::Zstd(decoder) => {
                while decoder.pending()[0].is_empty() {
                    let step = decoder.step(self.input.get()).map_err(|e| bad(e.text()))?;
                    match step {
                        Step::Used(count) => self.input.at += count,
                        Step::Window(count, bytes) => {
                            self.input.at += count;
                            if bytes > self.reserved {
                                (self.reserve)(bytes)?;
                                self.reserved = bytes;
                            }
                        }
                        Step::NeedsInput => {
                            if !self.input.fill(self.source)? {
                                return decoder.finish(self.input.get()).map(|()| 0).map_err(|e| bad(e.text()));
                            }
                        }
                    }
                }
                let n = copy(decoder.pending()[0], buffer);
                decoder.hand_out(n);
                Ok(n)
            }
            _ if self.input.at == self.input.end => self.source.read(buffer),
            _ => {
                let n = copy(self.input.get(), buffer);
                self.input.at += n;
                Ok(n)
            }
        }
    }
}

/// A gzip stream between two reads.
struct Gzip {
    framing: Framing,
    core: Inflater,
    output: Box<[u8]>,
    /// Where in `output` the next raw bytes are written, and which were not yet returned.
    write_at: usize,
    ready: std::ops::Range<usize>,
}

impl Gzip {
    fn new() -> Gzip {
        Gzip {
            framing: Framing::new(crc32::update),
            core: Inflater::new(),
            output: vec![0; OUTPUT_BYTES].into_boxed_slice(),
            write_at: 0,
            ready: 0..0,
        }
    }

    fn read(&mut self, input: &mut Input, source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            if input.at == input.end && !input.fill(source)? {
                return self.framing.finish().map(|()| 0).map_err(|e| bad(e.text()));
            }
            if self.framing.in_body() {
                self.inflate(input, source)?;
                continue;
            }
            let mut rest = input.get();
            let result = self.framing.push(&mut rest);
            input.at = input.end - rest.len();
            result.map_err(|e| bad(e.text()))?;
            self.core.reset();
            self.write_at = 0;
        }
        let n = copy(self.output.get(self.ready.clone()).unwrap_or_default(), buffer);
        self.ready.start += n;
        Ok(n)
    }

    /// One step of the body, which may fill `ready`.
    fn inflate(&mut self, input: &mut Input, source: &mut dyn Read) -> io::Result<()> {
        let start = self.write_at;
        let result = self.core.inflate(input.get(), &mut self.output, &mut self.write_at);
        let (status, used) = result.map_err(|_| bad("gzip: bad compressed data"))?;
        input.at += used;
        self.ready = start..self.write_at;
        self.framing.raw(self.output.get(self.ready.clone()).unwrap_or_default());
        match status {
            Status::Done => self.framing.end_body(),
            // What was inflated is returned first.
            _ if !self.ready.is_empty() => {}
            Status::NeedsRoom => {
                let history = self.write_at.saturating_sub(WINDOW_BYTES)..self.write_at;
                self.write_at = history.len();
                self.output.copy_within(history, 0);
            }
            Status::NeedsInput if input.fill(source)? => {}
            Status::NeedsInput => return Err(bad(gzip::Error::Truncated.text())),
        }
        Ok(())
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    to[..n].copy_from_slice(&from[..n]);
    n
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gzip member of stored blocks, made by hand.
    fn member(raw: &[u8]) -> Vec<u8> {
        let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let mut chunks = raw.chunks(65535).peekable();
        if raw.is_empty() {
            out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
        }
        while let Some(chunk) = chunks.next() {
            out.push(chunks.peek().is_none().into());
            out.extend_from_slice(&(chunk.len() as u16).to_le_bytes());
            out.extend_from_slice(&(!(chunk.len() as u16)).to_le_bytes());
            out.extend_from_slice(chunk);
        }
        let crc = raw.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 != 0 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
        });
        out.extend_from_slice(&(!crc).to_le_bytes());
        out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        out
    }

    /// Reads of at most `step` bytes.
    struct Short<'a>(&'a [u8], usize);

    impl Read for Short<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = buffer.len().min(self.1);
            self.0.read(&mut buffer[..n])
        }
    }

    fn inflate(stream: &[u8], step: usize) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match Inflate::new(&mut Short(stream, step), &mut |_| Ok(())).read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(e) => Err(e.to_string()),
        }
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn plain_and_gzip() {
        let raw = noise(300_000);
        for step in [1, 3, 4096, 1 << 20] {
            assert_eq!(inflate(&raw[..70_000], step).as_deref(), Ok(&raw[..70_000]), "plain, {step}");
            assert_eq!(inflate(&member(&raw), step).as_deref(), Ok(&raw[..]), "gzip, {step}");
        }
        assert_eq!(inflate(b"", 1), Ok(Vec::new()));
        assert_eq!(inflate(&member(b""), 1), Ok(Vec::new()));
    }

    /// Promise: foreign-compressions
    /// Input: foreign-compressions
    #[test]
    fn formats_that_are_told_by_name() {
        for (start, name) in [
            (&b"\xfd7zXZ\0\0\x04"[..], "xz"),
            (b"BZh91AY&SY\x01\x02", "bzip2"),
            (b"BZh1\x17rE8P\x90\0\0\0\0", "bzip2"),
            (b"\x04\x22\x4d\x18\x64\x40", "lz4"),
            (b"\x02\x21\x4c\x18", "lz4"),
            (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff", "lzma"),
            (b"\x1f\x9d\x90", "compress"),
            (b"LZIP\x01\x0c", "lzip"),
            (b"PK\x03\x04\x14\0", "zip"),
            (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
        ] {
            let text = ["packed with ", name, ": pack it again with gzip, with zstd or not at all"].concat();
            for stream in [start.to_vec(), [start, &[7; 3000]].concat()] {
                for step in [1, 3, 4096] {
                    assert_eq!(inflate(&stream, step), Err(text.clone()), "{name}, {step}");
                }
                assert!(is_compressed(&stream[..stream.len().min(START_BYTES)]), "{name}");
            }
        }
        // What only looks so: members of a tar may have such names.
        for start in ["BZh", "BZh9", "BZh9 notes", "LZIP", "LZIP/x", "PK", "PK\x03x", "7z", "xz", "7zXZ\0", "]"] {
            let tar = [start.as_bytes(), &[0; 512]].concat();
            assert_eq!(inflate(&tar, 3).as_deref(), Ok(&tar[..]), "{start}");
            assert!(!is_compressed(&tar[..START_BYTES]), "{start}");
        }
    }

    /// Input: gzip-members
    #[test]
    fn members_and_what_follows() {
        let two = [member(b"one, "), member(b"two")].concat();
        assert_eq!(inflate(&two, 5).as_deref(), Ok(&b"one, two"[..]));
        let padded = [&two[..], &[0; 512]].concat();
        assert_eq!(inflate(&padded, 7).as_deref(), Ok(&b"one, two"[..]));
        let garbage = [&two[..], b"x"].concat();
        assert_eq!(inflate(&garbage, 7), Err("gzip: other bytes after the end".into()));
    }

    /// Promise: gzip, damaged-streams
    #[test]
    fn broken_streams() {
        let good = member(&noise(1000));
        for end in 2..good.len() {
            let expected = "gzip: truncated".to_string();
            assert_eq!(inflate(&good[..end], 64), Err(expected), "cut at {end}");
        }
        for (at, text) in [(good.len() - 1, "gzip: bad length"), (good.len() - 8, "gzip: bad checksum")] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(inflate(&bad, 64), Err(text.into()));
        }
        let mut bad = good;
        bad[10] = 7;
        assert_eq!(inflate(&bad, 64), Err("gzip: bad compressed data".into()));
    }
}
