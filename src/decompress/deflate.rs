//! Inflates (RFC 1951) in pieces. A symbol is decoded whole or not at all, so that
//! a call can end between any two symbols.

mod error;
mod fast;
mod huffman;

use crate::bytes::copy_match;
use huffman::{put, Table, END, INVALID, LITERAL};

pub use error::Error;

/// How far back a match may reach: as much output has to be kept.
pub const WINDOW_BYTES: usize = 32 << 10;

const MATCH_MAX: usize = 258;
/// The order in which lengths of the code length code are sent (3.2.7).
const ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Why a call came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Call again with what was not used and more behind it.
    NeedsInput,
    /// Call again with room for the longest match, 258 bytes.
    NeedsRoom,
    /// The stream has ended, just before the first byte that was not used.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Block,
    StoredLength,
    Stored(usize),
    /// Within the lengths of the code length code: how many are read, of how many.
    Order(usize, usize),
    /// Within the code lengths of both codes: how many are read.
    Lengths(usize),
    Symbols,
    End,
}

/// A stream between two calls.
pub struct Inflater {
    state: State,
    last_block: bool,
    /// The bits that follow, lowest first, and how many of them are real;
    /// fewer than eight between calls.
    bits: u64,
    count: u32,
    /// Code lengths as they are read: those of literals and lengths first.
    lengths: [u8; 320],
    /// How many code lengths are of literals and lengths, and how many there are.
    literals: usize,
    total: usize,
    symbols: Table<4096, 11>,
    /// The code of distances; before it is known, the code length code.
    distances: Table<512, 8>,
}

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater::new()
    }
}

/// Where a call stands in its buffers.
struct Io<'a> {
    input: &'a [u8],
    used: usize,
    out: &'a mut [u8],
    at: usize,
}

impl Inflater {
    pub fn new() -> Inflater {
        Inflater {
            state: State::Block,
            last_block: false,
            bits: 0,
            count: 0,
            lengths: [0; 320],
            literals: 0,
            total: 0,
            symbols: Table::new(),
            distances: Table::new(),
        }
    }

    /// For another stream.
    pub fn reset(&mut self) {
        (self.state, self.last_block, self.bits, self.count) = (State::Block, false, 0, 0);
    }

    /// Inflates into `out` from `*at` on, and moves `*at`. Before it stands the
    /// stream's last output: `WINDOW_BYTES`, or all of it. Also returns how many
    /// bytes of the input were used: the others must be given again. Eight bytes of
    /// input are always enough to continue.
    // Not inlined: its caller is compiled for size.
    #[inline(never)]
    pub fn inflate(&mut self, input: &[u8], out: &mut [u8], at: &mut usize) -> Result<(Status, usize), Error> {
        let mut io = Io { input, used: 0, out, at: *at };
        let status = self.run(&mut io);
        // Whole bytes in the bit buffer are of this input, and count as unused.
        io.used -= self.count as usize / 8;
        self.count %= 8;
        self.bits &= (1 << self.count) - 1;
        *at = io.at;
        Ok((status?, io.used))
    }

    fn run(&mut self, io: &mut Io) -> Result<Status, Error> {
        loop {
            let paused = match self.state {
                State::End => return Ok(Status::Done),
                State::Block => self.block(io)?,
                State::StoredLength => self.stored_length(io)?,
                State::Stored(left) => self.stored(io, left),
                State::Order(i, count) => self.order(io, i, count)?,
                State::Lengths(i) => self.code_lengths(io, i)?,
                State::Symbols => {
                    self.fast(io)?;
                    self.careful(io)?
                }
            };
            if let Some(status) = paused {
                return Ok(status);
            }
        }
    }

    /// Fills the bit buffer, also near the end of the input.
    fn refill(&mut self, io: &mut Io) {
        while self.count <= 56 {
            let Some(byte) = io.input.get(io.used) else { return };
            self.bits |= u64::from(*byte) << self.count;
            self.count += 8;
            io.used += 1;
        }
    }

    /// The next `count` bits, if there are as many.
    fn take(&mut self, io: &mut Io, count: u32) -> Option<u32> {
        if self.count < count {
            self.refill(io);
        }
        if self.count < count {
            return None;
        }
        let bits = self.bits as u32 & ((1 << count) - 1);
        self.skip(count);
        Some(bits)
    }

    fn skip(&mut self, count: u32) {
        self.bits >>= count;
        self.count -= count;
    }

    fn block(&mut self, io: &mut Io) -> Result<Option<Status>, Error> {
        if self.last_block {
            self.state = State::End;
            return Ok(None);
        }
        self.refill(io);
        let kind = self.bits >> 1 & 3;
        // The head of a dynamic block is read in one piece.
        let size = if kind == 2 { 3 + 14 } else { 3 };
        if self.count < size {
            return Ok(Some(Status::NeedsInput));
        }
        self.last_block = self.bits & 1 != 0;
        let head = self.bits as usize >> 3;
        self.skip(size);
        match kind {
            0 => {
                self.skip(self.count % 8);
                self.state = State::StoredLength;
            }
            1 => {
                for (symbol, length) in self.lengths.iter_mut().enumerate() {
                    *length = match symbol {
                        144..=255 => 9,
                        256..=279 => 7,
                        288..=319 => 5,
                        _ => 8,
                    };
                }
                (self.literals, self.total) = (288, 320);
                self.tables()?;
            }
            2 => {
                let (literals, distances) = ((head & 31) + 257, (head >> 5 & 31) + 1);
                if literals > 286 || distances > 30 {
                    return Err(Error);
                }
                (self.literals, self.total) = (literals, literals + distances);
                self.lengths = [0; 320];
                self.state = State::Order(0, (head >> 10 & 15) + 4);
            }
            _ => return Err(Error),
        }
        Ok(None)
    }

    fn stored_length(&mut self, io: &mut Io) -> Result<Option<Status>, Error> {
        self.refill(io);
        if self.count < 32 {
            return Ok(Some(Status::NeedsInput));
        }
        let (length, check) = (self.bits as u16, (self.bits >> 16) as u16);
        if length != !check {
            return Err(Error);
        }
        self.skip(32);
        // Bytes that were read ahead belong to the block.
        io.used -= self.count as usize / 8;
        (self.bits, self.count) = (0, 0);
        self.state = State::Stored(length.into());
        Ok(None)
    }

    fn stored(&mut self, io: &mut Io, left: usize) -> Option<Status> {
        let input = io.input.get(io.used..).unwrap_or_default();
        let out = io.out.get_mut(io.at..).unwrap_or_default();
        let count = left.min(input.len()).min(out.len());
        for (to, from) in out.iter_mut().zip(input).take(count) {
            *to = *from;
        }
        (io.used, io.at) = (io.used + count, io.at + count);
        if count == left {
            self.state = State::Block;
            return None;
        }
        self.state = State::Stored(left - count);
        Some(if count == input.len() { Status::NeedsInput } else { Status::NeedsRoom })
    }

    fn order(&mut self, io: &mut Io, mut i: usize, count: usize) -> Result<Option<Status>, Error> {
        for at in ORDER.iter().take(count).skip(i) {
            let Some(length) = self.take(io, 3) else {
                self.state = State::Order(i, count);
                return Ok(Some(Status::NeedsInput));
            };
            if let Some(to) = self.lengths.get_mut(usize::from(*at)) {
                *to = length as u8;
            }
            i += 1;
        }
        let (lengths, _) = self.lengths.split_at(ORDER.len());
        self.distances.build(lengths, false, huffman::code_length)?;
        self.lengths = [0; 320];
        self.state = State::Lengths(0);
        Ok(None)
    }

    fn code_lengths(&mut self, io: &mut Io, mut i: usize) -> Result<Option<Status>, Error> {
        while i < self.total {
            self.refill(io);
            let entry = self.distances.find(self.bits);
            if entry & INVALID != 0 {
                return if self.count < 7 { Ok(self.pause(i)) } else { Err(Error) };
            }
            // At most 7 + 7 bits: the count of a repeat is in its extra bits.
            if self.count < huffman::bits(entry) {
                return Ok(self.pause(i));
            }
            let symbol = huffman::value(entry) & 31;
            let repeat = huffman::extra(entry, self.bits);
            self.skip(huffman::bits(entry));
            let before = i.checked_sub(1).and_then(|at| self.lengths.get(at)).copied();
            let (length, count) = match symbol {
                16 => (before.ok_or(Error)?, 3 + repeat),
                17 => (0, 3 + repeat),
                18 => (0, 11 + repeat),
                length => (length as u8, 1),
            };
            let room = self.lengths.get_mut(i..self.total.min(320)).unwrap_or_default();
            room.get_mut(..count).ok_or(Error)?.fill(length);
            i += count;
        }
        // A block has to have a code for its end.
        if self.lengths.get(256) == Some(&0) {
            return Err(Error);
        }
        self.tables()?;
        Ok(None)
    }

    fn pause(&mut self, i: usize) -> Option<Status> {
        self.state = State::Lengths(i);
        Some(Status::NeedsInput)
    }

    fn tables(&mut self) -> Result<(), Error> {
        let (symbols, rest) = self.lengths.split_at(self.literals.min(288));
        let distances = rest.get(..self.total - self.literals).ok_or(Error)?;
        self.symbols.build(symbols, true, huffman::symbol)?;
        self.distances.build(distances, true, huffman::distance)?;
        self.state = State::Symbols;
        Ok(())
    }

    /// Decodes symbol by symbol, up to the end of the input or of the room.
    fn careful(&mut self, io: &mut Io) -> Result<Option<Status>, Error> {
        while self.state == State::Symbols {
            self.refill(io);
            let entry = self.symbols.find(self.bits);
            let size = huffman::bits(entry);
            // Missing bits are zeros here, so that an entry may be wrong.
            if self.count < size || entry & INVALID != 0 && self.count < 15 {
                return Ok(Some(Status::NeedsInput));
            }
            if entry & INVALID != 0 {
                return Err(Error);
            }
            if entry & END != 0 {
                self.skip(size);
                self.state = State::Block;
                break;
            }
            if io.out.len() - io.at < MATCH_MAX {
                return Ok(Some(Status::NeedsRoom));
            }
            if entry & LITERAL != 0 {
                self.skip(size);
                put(io.out, &mut io.at, entry);
                continue;
            }
            let length = huffman::value(entry) + huffman::extra(entry, self.bits);
            let ahead = self.bits >> size;
            let entry = self.distances.find(ahead);
            let size = size + huffman::bits(entry);
            if self.count < size || entry & INVALID != 0 && self.count < size + 15 {
                return Ok(Some(Status::NeedsInput));
            }
            let distance = huffman::value(entry) + huffman::extra(entry, ahead);
            if entry & INVALID != 0 || distance > io.at {
                return Err(Error);
            }
            self.skip(size);
            copy_match(io.out, io.at, distance, length);
            io.at += length;
        }
        Ok(None)
    }
}
