//! A layer's bytes, decompressed as they come: gzip or plain, told by their
//! magic, since media types lie.

use crate::proto::gzip::{self, Framing};
use miniz_oxide::inflate::core::{decompress, inflate_flags, DecompressorOxide};
use miniz_oxide::inflate::TINFLStatus;
use std::io::{self, ErrorKind, Read};

/// Compressed bytes that are read at a time.
const INPUT_BYTES: usize = 64 << 10;
/// Deflate looks back 32 KiB; the rest is room to run in. A power of two.
const WINDOW_BYTES: usize = 128 << 10;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A zstd skippable frame: 0x184d2a5?, little endian.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Unknown,
    Plain,
    Gzip,
}

/// The raw bytes of `source`. The end is only reported once the framing was
/// found whole: checksum, length, nothing after it but NULs.
pub struct Inflate<'a> {
    source: &'a mut dyn Read,
    format: Format,
    input: Box<[u8]>,
    /// What of `input` is still to be used.
    at: usize,
    end: usize,
    framing: Framing,
    core: Box<DecompressorOxide>,
    window: Box<[u8]>,
    /// Where in `window` the next raw bytes go, and which are not yet handed out.
    write_at: usize,
    ready: std::ops::Range<usize>,
}

impl<'a> Inflate<'a> {
    pub fn new(source: &'a mut dyn Read) -> Inflate<'a> {
        Inflate {
            source,
            format: Format::Unknown,
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            at: 0,
            end: 0,
            framing: Framing::new(),
            core: Box::default(),
            window: Box::default(),
            write_at: 0,
            ready: 0..0,
        }
    }

    /// Tops the input up; false at the source's end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.at > 0 {
            self.input.copy_within(self.at..self.end, 0);
            (self.at, self.end) = (0, self.end - self.at);
        }
        loop {
            let Some(room) = self.input.get_mut(self.end..) else { return Ok(false) };
            match self.source.read(room) {
                Ok(n) => {
                    self.end += n.min(room.len());
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.at..self.end).unwrap_or(b"")
    }

    fn sniff(&mut self) -> io::Result<()> {
        while self.input().len() < ZSTD_MAGIC.len() && self.fill()? {}
        let input = self.input();
        let skippable = input.first().is_some_and(|b| b & 0xf0 == 0x50) && input.get(1..4) == Some(&ZSTD_SKIPPABLE);
        if input.starts_with(&ZSTD_MAGIC) || skippable {
            return Err(bad("zstd layers are not supported yet"));
        }
        self.format = if input.starts_with(&GZIP_MAGIC) { Format::Gzip } else { Format::Plain };
        if self.format == Format::Gzip {
            self.window = vec![0; WINDOW_BYTES].into_boxed_slice();
        }
        Ok(())
    }

    /// Makes `ready` hold something; false at the end of the stream.
    fn gzip(&mut self) -> io::Result<bool> {
        loop {
            if self.at == self.end && !self.fill()? {
                return self.framing.finish().map(|()| false).map_err(|e| bad(e.text()));
            }
            if !self.framing.in_body() {
                let mut input = self.input.get(self.at..self.end).unwrap_or(b"");
                let result = self.framing.push(&mut input);
                self.at = self.end - input.len();
                result.map_err(|e| bad(e.text()))?;
                self.core.init();
                self.write_at = 0;
                continue;
            }
            if self.inflate()? {
                return Ok(true);
            }
        }
    }

    /// One step of the body; true if it made raw bytes.
    fn inflate(&mut self) -> io::Result<bool> {
        let input = self.input.get(self.at..self.end).unwrap_or(b"");
        let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
        let (status, used, made) = decompress(&mut self.core, input, &mut self.window, self.write_at, flags);
        self.at += used;
        self.ready = self.write_at..self.write_at + made;
        self.framing.raw(self.window.get(self.ready.clone()).unwrap_or(b""));
        self.write_at = (self.write_at + made) % WINDOW_BYTES;
        match status {
            TINFLStatus::Done => self.framing.end_body(),
            TINFLStatus::HasMoreOutput => {}
            TINFLStatus::NeedsMoreInput if self.at < self.end || self.fill()? => {}
            TINFLStatus::NeedsMoreInput => return Err(bad(gzip::Error::Truncated.text())),
            _ => return Err(bad("gzip: bad compressed data")),
        }
        Ok(made > 0)
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.format == Format::Unknown {
            self.sniff()?;
        }
        if self.format == Format::Plain {
            if self.at == self.end {
                return self.source.read(buffer);
            }
            let n = copy(self.input(), buffer);
            self.at += n;
            return Ok(n);
        }
        if self.ready.is_empty() && !self.gzip()? {
            return Ok(0);
        }
        let n = copy(self.window.get(self.ready.clone()).unwrap_or(b""), buffer);
        self.ready.start += n;
        Ok(n)
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
        match Inflate::new(&mut Short(stream, step)).read_to_end(&mut out) {
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

    #[test]
    fn members_and_what_follows() {
        let two = [member(b"one, "), member(b"two")].concat();
        assert_eq!(inflate(&two, 5).as_deref(), Ok(&b"one, two"[..]));
        let padded = [&two[..], &[0; 512]].concat();
        assert_eq!(inflate(&padded, 7).as_deref(), Ok(&b"one, two"[..]));
        let garbage = [&two[..], b"x"].concat();
        assert_eq!(inflate(&garbage, 7), Err("gzip: other bytes after the end".into()));
    }

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

    #[test]
    fn zstd_is_named() {
        for magic in [&b"\x28\xb5\x2f\xfdxxxx"[..], b"\x50\x2a\x4d\x18xxxx", b"\x5f\x2a\x4d\x18"] {
            assert_eq!(inflate(magic, 1), Err("zstd layers are not supported yet".into()));
        }
    }
}
