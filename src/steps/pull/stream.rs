//! One layer from its blob to its folder, in one pass:
//! socket → SHA-256 → inflate | SHA-256 → tar → files, a thread each side of the bar.

use super::pipe::{Chunk, Pipe};
use super::{hash_of, is_of_the_store};
use crate::proto::digest::Digest;
use crate::proto::oci::Descriptor;
use crate::steps::inflate::Inflate;
use crate::steps::source::{Error, Fetched};
use crate::steps::unpack::{self, Below, Unsettled};
use crate::sys::{io_text, thread};
use ring::digest::{Context, SHA256};
use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a layer has to be.
pub struct Expected<'a> {
    pub layer: &'a Descriptor,
    pub diff_id: &'a Digest,
}

/// Told of every few compressed bytes that have come; false: give up.
pub type Tick<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// Reads `blob` to its end and unpacks it into the empty `folder`. What
/// [`unpack::read`] says of `below` holds here.
pub fn layer(
    blob: Fetched,
    expected: &Expected<'_>,
    folder: OwnedFd,
    below: &mut Below<'_>,
    tick: &Tick<'_>,
    warn: &mut dyn FnMut(&str),
) -> Result<Unsettled, Error> {
    let pipe = Pipe::new();
    // The rest of the download would say nothing about a store that is full.
    let enough = AtomicBool::new(false);
    let tick = |bytes| tick(bytes) && !enough.load(Ordering::Relaxed);
    let (mut blob, mut arrived, mut unpacked) = (blob, Ok(()), Err(String::new()));
    let mut raw = Raw { pipe: &pipe, chunk: Chunk::default(), at: 0, context: Context::new(&SHA256) };
    let mut folder = Some(folder);
    let started =
        thread::beside(&mut [&mut || arrived = arrive(&mut *blob, expected.layer, &pipe, &tick)], &mut || {
            let Some(folder) = folder.take() else { return };
            unpacked = unpack::read(&mut raw, folder, below, warn).and_then(|unpacked| Ok((unpacked, raw.finish()?)));
            enough.store(unpacked.as_ref().is_err_and(|why| is_of_the_store(why)), Ordering::Relaxed);
            pipe.leave();
        });
    started.map_err(|error| Error::refused(&error.to_string()))?;
    // Whatever went wrong here: a damaged or cut download explains it best.
    if !enough.into_inner() {
        arrived?;
    }
    let (unpacked, raw_digest) = unpacked.map_err(|error| Error::refused(&error))?;
    if raw_digest != *expected.diff_id {
        return Err(Error::refused(&["unpacks to ", &raw_digest.text(), ", not to its diff ID"].concat()));
    }
    Ok(unpacked)
}

/// Fills the pipe as long as somebody reads it, and checks the blob to its end.
fn arrive(blob: &mut dyn Read, layer: &Descriptor, pipe: &Pipe, tick: &Tick<'_>) -> Result<(), Error> {
    let mut compressed = Compressed::new(blob, layer.size, tick);
    inflate(&mut compressed, pipe);
    let arrived = compressed.finish();
    if let Some(error) = compressed.error.take() {
        return Err(Error::temporary(&error));
    }
    arrived.map_err(|error| Error::temporary(&error))?;
    match hash_of(compressed.context) {
        got if got == layer.digest => Ok(()),
        got => Err(Error::damaged(&["has the digest ", &got.text()].concat())),
    }
}

fn inflate(compressed: &mut dyn Read, pipe: &Pipe) {
    let mut raw = Inflate::new(compressed);
    while let Some(mut chunk) = pipe.empty() {
        chunk.len = 0;
        while let Some(room) = chunk.room.get_mut(chunk.len..).filter(|room| !room.is_empty()) {
            match raw.read(room) {
                Ok(0) if chunk.len == 0 => return pipe.end(Ok(())),
                Ok(0) => break,
                Ok(count) => chunk.len += count,
                Err(error) => return pipe.end(Err(error)),
            }
        }
        pipe.push(chunk);
    }
}

/// The blob's bytes, hashed and counted; more than `max` are an error.
struct Compressed<'a> {
    inner: &'a mut dyn Read,
    context: Context,
    count: u64,
    max: u64,
    tick: &'a Tick<'a>,
    /// The first error of the source itself.
    error: Option<String>,
}

impl<'a> Compressed<'a> {
    fn new(inner: &'a mut dyn Read, max: u64, tick: &'a Tick<'a>) -> Compressed<'a> {
        Compressed { inner, context: Context::new(&SHA256), count: 0, max, tick, error: None }
    }

    /// Reads on to the end.
    fn finish(&mut self) -> Result<(), String> {
        let mut buffer = vec![0; 1 << 16];
        while self.read(&mut buffer).map_err(|error| io_text(&error))? > 0 {}
        if self.count != self.max {
            return Err(["ends after ", &self.count.to_string(), " of ", &self.max.to_string(), " bytes"].concat());
        }
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.error.get_or_insert_with(|| io_text(&error));
        error
    }
}

impl Read for Compressed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|error| self.fail(error))?;
        self.count += count as u64;
        if self.count > self.max {
            return Err(self.fail(io::Error::new(io::ErrorKind::InvalidData, "is longer than its descriptor says")));
        }
        if !(self.tick)(count as u64) {
            return Err(self.fail(io::Error::other("given up")));
        }
        self.context.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The layer's raw bytes, hashed as they are taken.
struct Raw<'a> {
    pipe: &'a Pipe,
    chunk: Chunk,
    at: usize,
    context: Context,
}

impl Raw<'_> {
    /// The digest of all, read to the end.
    fn finish(&mut self) -> Result<Digest, String> {
        loop {
            match self.fill_buf().map_err(|error| io_text(&error))?.len() {
                0 => return Ok(hash_of(self.context.clone())),
                count => self.consume(count),
            }
        }
    }
}

impl BufRead for Raw<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len {
            self.chunk = self.pipe.next(std::mem::take(&mut self.chunk))?;
            self.at = 0;
            self.context.update(self.chunk.bytes());
        }
        Ok(self.chunk.bytes().get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
