//! A ring with the last bytes of a frame's output.

use super::error::Error;
use crate::bytes::{chunk, copy_match};
use alloc::vec;
use alloc::vec::Vec;

/// The largest block, compressed or not.
pub const BLOCK_MAX: usize = 128 << 10;
/// How much a wide copy may overwrite.
const SPARE: usize = 32;

/// The ring: room for the window and for a block, so that a block's output is taken
/// when it is complete.
#[derive(Default)]
pub struct Window {
    ring: Vec<u8>,
    /// Where the ring wraps in this frame.
    size: usize,
    at: usize,
    /// The size of the frame's output so far, and how far back a match may reach.
    made: u64,
    reach: usize,
    /// How many bytes of the output are not taken yet.
    pending: usize,
}

impl Window {
    /// The size of a ring for matches that reach back `reach` bytes, in a frame of `content` bytes.
    pub fn room(reach: usize, content: u64) -> usize {
        let room = reach + BLOCK_MAX;
        usize::try_from(content).map_or(room, |content| room.min(content)) + SPARE
    }

    /// Begins a frame whose matches reach back `reach` bytes. A ring that is large enough is kept.
    pub fn reset(&mut self, reach: usize, content: u64) {
        let room = Window::room(reach, content);
        if self.ring.len() < room {
            // The old ring is freed before the new one is allocated.
            self.ring = Vec::new();
            self.ring = vec![0; room];
        }
        (self.size, self.at, self.made, self.reach, self.pending) = (room, 0, 0, reach, 0);
    }

    pub fn made(&self) -> u64 {
        self.made
    }

    fn advance(&mut self, count: usize) {
        self.at += count;
        if self.at >= self.size {
            self.at -= self.size;
        }
        self.pending += count;
        self.made += count as u64;
    }

    /// Appends the literals at `from`.
    pub fn literals(&mut self, bytes: &[u8], from: usize, count: usize) {
        let mut bytes = bytes.get(from..from + count).unwrap_or_default();
        while !bytes.is_empty() {
            let room = self.ring.get_mut(self.at..self.size).unwrap_or_default();
            let (now, after) = bytes.split_at(bytes.len().min(room.len()));
            let Some(room) = room.get_mut(..now.len()) else { return };
            room.copy_from_slice(now);
            bytes = after;
            self.advance(now.len());
        }
    }

    /// Appends `byte` `count` times.
    pub fn fill(&mut self, byte: u8, mut count: usize) {
        while count > 0 {
            let end = self.size.min(self.at + count);
            let Some(room) = self.ring.get_mut(self.at..end) else { return };
            room.fill(byte);
            let done = room.len();
            count -= done;
            self.advance(done);
        }
    }

    /// Appends the `length` literals at `from`, then `count` bytes from `offset` back.
    #[inline(always)]
    pub fn sequence(
        &mut self,
        literals: &[u8],
        from: usize,
        length: usize,
        offset: usize,
        count: usize,
    ) -> Result<(), Error> {
        let end = self.at + length + count + SPARE;
        // What a wide copy overwrites must neither be pending nor within reach: the ring has `SPARE` bytes for it.
        if end > self.size || offset > self.at + length {
            self.literals(literals, from, length);
            return self.wrapped(offset, count);
        }
        if offset > self.reach {
            return Err(Error::Data);
        }
        let mut done = 0;
        while done < length {
            let step = chunk::<16>(literals, from + done).ok_or(Error::Data)?;
            self.ring.get_mut(self.at + done..self.at + done + 16).ok_or(Error::Data)?.copy_from_slice(step);
            done += 16;
        }
        copy_match(&mut self.ring, self.at + length, offset, count);
        self.advance(length + count);
        Ok(())
    }

    /// Copies a match byte by byte where the ring wraps.
    #[cold]
    fn wrapped(&mut self, offset: usize, count: usize) -> Result<(), Error> {
        if offset > self.reach || offset as u64 > self.made {
            return Err(Error::Data);
        }
        for _ in 0..count {
            let from = if offset <= self.at { self.at - offset } else { self.at + self.size - offset };
            let byte = *self.ring.get(from).ok_or(Error::Data)?;
            *self.ring.get_mut(self.at).ok_or(Error::Data)? = byte;
            self.advance(1);
        }
        Ok(())
    }

    /// The output that is not taken yet, in two pieces where the ring wraps.
    pub fn pending(&self) -> [&[u8]; 2] {
        let piece = |from: usize, to: usize| self.ring.get(from..to).unwrap_or_default();
        match self.at.checked_sub(self.pending) {
            Some(start) => [piece(start, self.at), &[]],
            None => [piece(self.at + self.size - self.pending, self.size), piece(0, self.at)],
        }
    }

    pub fn hand_out(&mut self, count: usize) {
        self.pending = self.pending.saturating_sub(count);
    }
}
