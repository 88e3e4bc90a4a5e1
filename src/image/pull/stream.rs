//! One layer from its blob to its folder or file, in one pass:
//! socket → SHA-256 → inflate | SHA-256 → tar → files, a thread each side of the bar.

use crate::image::pull::pipe::{Chunk, Pipe};
use crate::image::source::{BlobReader, Error};
use crate::layer::inflate::{Inflate, Reserve};
use crate::layer::unpack::{self, LayerQueue, PendingLayer};
use crate::pure::digest::{hash_of, Digest};
use crate::sys::{io_text, thread, EDQUOT, EIO, ENOSPC, EROFS};
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Told of every few compressed bytes that have come; false: give up.
pub type Tick<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// Reads the blob, which begins with `start`, to its end and unpacks it into the
/// empty `folder`. An image says what the raw bytes' digest is.
pub fn unpack(
    blob: &mut Blob<'_>,
    start: &[u8],
    diff_id: Option<&Digest>,
    folder: OwnedFd,
    reserve: Reserve<'_>,
    queue: &mut dyn LayerQueue,
    warn: &mut dyn FnMut(&str),
) -> Result<PendingLayer, Error> {
    let pipe = Pipe::new();
    // The rest of the download would say nothing about a store that is full, or a window that is too large.
    let enough = AtomicBool::new(false);
    let mut reserve = |bytes| {
        let reserved = reserve(bytes);
        enough.fetch_or(reserved.is_err(), Ordering::Relaxed);
        reserved
    };
    let (mut arrived, mut unpacked) = (Ok(()), Err(unpack::Error::Source(io::ErrorKind::Other.into())));
    let mut raw = Raw { pipe: &pipe, chunk: Chunk::default(), at: 0, context: Context::new(&SHA256) };
    let mut folder = Some(folder);
    let mut arrive = || {
        inflate(&mut start.chain(&mut *blob), &mut reserve, &pipe);
        if !enough.load(Ordering::Relaxed) {
            arrived = blob.arrived();
        }
    };
    let started = thread::beside(&mut [&mut arrive], &mut || {
        let Some(folder) = folder.take() else { return };
        unpacked = unpack::read(&mut raw, folder, queue, warn).and_then(|unpacked| Ok((unpacked, raw.finish()?)));
        enough.fetch_or(
            unpacked.as_ref().is_err_and(|error| error.errno().is_some_and(is_of_the_store)),
            Ordering::Relaxed,
        );
        pipe.leave();
    });
    started.map_err(|error| Error::refused(&error.to_string()))?;
    // Whatever went wrong here: a damaged or cut download explains it best.
    arrived?;
    let (unpacked, raw_digest) = unpacked?;
    if diff_id.is_some_and(|diff_id| raw_digest != *diff_id) {
        return Err(Error::refused(&["unpacks to ", &raw_digest.text(), ", which is not its diff ID"].concat()));
    }
    Ok(unpacked)
}

/// Reads the blob, which begins with `start`, to its end into `file` as it is.
pub fn keep(blob: &mut Blob<'_>, start: &[u8], file: &mut File) -> Result<(), Error> {
    let written = file.write_all(start).and_then(|()| io::copy(blob, file));
    match written.err().filter(|_| blob.error.is_none()) {
        Some(error) => {
            let text = ["write: ", &io_text(&error)].concat();
            Err(Error { text, ..Error::local(error) })
        }
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

/// A layer's blob as it comes, hashed and counted.
pub struct Blob<'a> {
    inner: BlobReader,
    /// What it has to be, where that is known.
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

    /// Reads on to the end, and checks that it is what was asked for.
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

/// The layer's raw bytes, hashed as they are taken.
struct Raw<'a> {
    pipe: &'a Pipe,
    chunk: Chunk,
    at: usize,
    context: Context,
}

impl Raw<'_> {
    /// The digest of all, read to the end.
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

/// Whether unpacking failed where files are kept, whatever the layer holds.
fn is_of_the_store(errno: i32) -> bool {
    [ENOSPC, EDQUOT, EROFS, EIO].contains(&errno)
}
