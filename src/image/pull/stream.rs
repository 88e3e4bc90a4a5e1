//! Unpacks one layer from its blob to its directory or file, in one pass:
//! socket -> SHA-256 -> inflate | SHA-256 -> tar -> files, with a thread on each side of the bar.

use crate::files;
use crate::image::pull::pipe::{Chunk, Pipe};
use crate::image::source::{BlobReader, Error};
use crate::inflate::{Inflate, Reserve};
use crate::layer::unpack::{self, LayerQueue, PendingLayer};
use crate::pure::digest::{hash_of, Digest};
use crate::sys::{io_text, thread, EDQUOT, EIO, ENOSPC, EROFS};
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Called with the number of compressed bytes that each read received; false cancels the download.
pub type Tick<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// Where a layer is unpacked, and what it needs for that.
pub struct Target<'a> {
    /// Empty at first.
    pub directory: OwnedFd,
    /// The digest that the raw bytes must have; an image names one, `--layer` does not.
    pub diff_id: Option<&'a Digest>,
    pub reserve: Reserve<'a>,
    pub queue: &'a mut dyn LayerQueue,
    pub warn: &'a mut dyn FnMut(&str),
}

/// Reads the blob, which begins with `start`, to its end and unpacks it into `target`.
pub fn unpack(blob: &mut Blob<'_>, start: &[u8], target: Target<'_>) -> Result<PendingLayer, Error> {
    let Target { directory, diff_id, reserve, queue, warn } = target;
    let pipe = Pipe::new();
    // Set when the store is full or a window is too large: the rest of the download is then not needed for the error.
    let enough = AtomicBool::new(false);
    let mut reserve = |bytes| {
        let reserved = reserve(bytes);
        enough.fetch_or(reserved.is_err(), Ordering::Relaxed);
        reserved
    };
    let (mut arrived, mut unpacked) = (Ok(()), Err(unpack::Error::Source(io::ErrorKind::Other.into())));
    let mut raw = Raw { pipe: &pipe, chunk: Chunk::default(), at: 0, context: Context::new(&SHA256) };
    let mut directory = Some(directory);
    let mut arrive = || {
        inflate(&mut start.chain(&mut *blob), &mut reserve, &pipe);
        if !enough.load(Ordering::Relaxed) {
            arrived = blob.arrived();
        }
    };
    let started = thread::beside(&mut [&mut arrive], &mut || {
        let Some(directory) = directory.take() else { return };
        unpacked = unpack::read(&mut raw, directory, queue, warn).and_then(|unpacked| Ok((unpacked, raw.finish()?)));
        enough.fetch_or(
            unpacked.as_ref().is_err_and(|error| error.errno().is_some_and(is_of_the_store)),
            Ordering::Relaxed,
        );
        pipe.leave();
    });
    started.map_err(|error| Error::refused(&error.to_string()))?;
    // A damaged or cut download is the cause of any error of unpacking, so it is reported first.
    arrived?;
    let (unpacked, raw_digest) = unpacked?;
    if diff_id.is_some_and(|diff_id| raw_digest != *diff_id) {
        return Err(Error::refused(&["unpacks to ", &raw_digest.text(), ", which is not its diff ID"].concat()));
    }
    Ok(unpacked)
}

/// Writes the blob, which begins with `start`, to `file` without unpacking it.
pub fn keep(blob: &mut Blob<'_>, start: &[u8], file: &mut File) -> Result<(), Error> {
    let written = file.write_all(start).and_then(|()| files::copy(blob, file));
    match written.err().filter(|_| blob.error.is_none()) {
        Some(error) => Err(Error::local(error).context(&["write"])),
        None => blob.arrived(),
    }
}

fn inflate(compressed: &mut dyn Read, reserve: Reserve<'_>, pipe: &Pipe) {
    let mut raw = Inflate::new(compressed, reserve);
    while let Some(mut chunk) = pipe.empty() {
        chunk.len = 0;
        while let Some(room) = chunk.room.get_mut(chunk.len..).filter(|room| !room.is_empty()) {
            match raw.read(room) {
                Ok(0) if chunk.len == 0 => return pipe.end(Ok(())),
                Ok(0) => break,
                Ok(count) => chunk.len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return pipe.end(Err(error)),
            }
        }
        pipe.push(chunk);
    }
}

/// A reader of a layer's blob that hashes and counts its bytes.
pub struct Blob<'a> {
    inner: BlobReader,
    /// The expected size and digest, if they are known.
    size: Option<u64>,
    digest: Option<Digest>,
    tick: &'a Tick<'a>,
    context: Context,
    count: u64,
    /// The first error of the source itself.
    error: Option<Error>,
}

impl<'a> Blob<'a> {
    pub fn new(inner: BlobReader, size: Option<u64>, digest: Option<Digest>, tick: &'a Tick<'a>) -> Blob<'a> {
        Blob { inner, size, digest, tick, context: Context::new(&SHA256), count: 0, error: None }
    }

    /// Reads to the end, and checks size and digest.
    pub fn arrived(&mut self) -> Result<(), Error> {
        let mut buffer = vec![0; 1 << 16];
        let end = loop {
            match self.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        end.map_err(|error| Error::temporary(&io_text(&error)))?;
        let count = self.count;
        if let Some(size) = self.size.filter(|size| count != *size) {
            let text = ["ends after ", &count.to_string(), " of ", &size.to_string(), " bytes"].concat();
            return Err(Error::temporary(&text));
        }
        match (hash_of(self.context.clone()), self.digest) {
            (got, Some(wanted)) if got != wanted => Err(Error::damaged(&["has the digest ", &got.text()].concat())),
            _ => Ok(()),
        }
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.error.get_or_insert_with(|| Error::in_body(&error));
        error
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|error| self.fail(error))?;
        self.count += count as u64;
        if self.size.is_some_and(|size| self.count > size) {
            return Err(self.fail(io::Error::new(io::ErrorKind::InvalidData, "is longer than its descriptor says")));
        }
        if !(self.tick)(count as u64) {
            return Err(self.fail(io::Error::other("cancelled")));
        }
        self.context.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// A reader of the layer's raw bytes that hashes them.
struct Raw<'a> {
    pipe: &'a Pipe,
    chunk: Chunk,
    at: usize,
    context: Context,
}

impl Raw<'_> {
    /// Reads to the end, and returns the digest of all bytes.
    fn finish(&mut self) -> Result<Digest, unpack::Error> {
        loop {
            match self.fill_buf().map_err(unpack::Error::Source)?.len() {
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

/// Whether unpacking failed because of the store, and not because of the layer's content.
fn is_of_the_store(errno: i32) -> bool {
    [ENOSPC, EDQUOT, EROFS, EIO].contains(&errno)
}
