//! Decodes symbols while there is enough input and room for a round, which is most of the time.

use super::error::Error;
use super::huffman::{self, put, END, INVALID, LINK, LITERAL};
use super::{Inflater, Io, State, MATCH_MAX};
use crate::bytes::{chunk, copy_match};

/// The most that a round may write: two literals, then a match and what a wide copy writes behind it.
const ROOM: usize = 2 + MATCH_MAX + COPY_BYTES;
const COPY_BYTES: usize = 32;
/// The most that a round may read: two words.
const AHEAD: usize = 16;

impl Inflater {
    /// Each round looks up the next symbol before it writes the bytes of this one, so
    /// that the processor can do both at once.
    pub(super) fn fast(&mut self, io: &mut Io) -> Result<(), Error> {
        let mut word = Word { bits: self.bits, count: self.count, input: io.input, used: io.used };
        let (mut at, mut result) = (io.at, Ok(()));
        let out = &mut *io.out;
        if word.has_ahead() {
            word.top_up();
        }
        let mut entry = self.symbols.first(word.bits);
        while word.has_ahead() {
            let Some([one, two, three, ..]) = room(out, at) else { break };
            // Three literals without a link have at most 33 of the 56 bits, and two with a length 42.
            if entry & LITERAL != 0 {
                entry = self.literal(&mut word, entry, one);
                at += 1;
                if entry & LITERAL != 0 {
                    entry = self.literal(&mut word, entry, two);
                    at += 1;
                    if entry & LITERAL != 0 {
                        entry = self.literal(&mut word, entry, three);
                        at += 1;
                        word.top_up();
                        continue;
                    }
                }
            }
            if entry & (LINK | END | INVALID) != 0 {
                entry = self.symbols.follow(entry, word.bits);
                if entry & LITERAL != 0 {
                    put(out, &mut at, entry);
                    word.skip(entry);
                    word.top_up();
                    entry = self.symbols.first(word.bits);
                    continue;
                }
                if entry & (END | INVALID) != 0 {
                    word.skip(entry);
                    match entry & END {
                        0 => result = Err(Error),
                        _ => self.state = State::Block,
                    }
                    break;
                }
            }
            let length = word.value(entry);
            if word.count & 63 < 28 {
                word.top_up();
            }
            let found = self.distances.find(word.bits);
            let distance = word.value(found);
            if found & INVALID != 0 || distance > at {
                result = Err(Error);
                break;
            }
            word.top_up();
            entry = self.symbols.first(word.bits);
            copy(out, at, distance, length);
            at += length;
        }
        self.count = word.count & 63;
        self.bits = word.bits & ((1 << self.count) - 1);
        (io.used, io.at) = (word.used, at);
        result
    }

    /// Writes a literal; the entry after it.
    #[inline(always)]
    fn literal(&self, word: &mut Word, entry: u32, to: &mut u8) -> u32 {
        word.skip(entry);
        let next = self.symbols.first(word.bits);
        *to = huffman::value(entry) as u8;
        next
    }
}

/// The bits that follow.
struct Word<'a> {
    bits: u64,
    /// The number of bits, in the lower six bits; the others are not used and may overflow.
    count: u32,
    input: &'a [u8],
    used: usize,
}

impl Word<'_> {
    #[inline(always)]
    fn has_ahead(&self) -> bool {
        self.used + AHEAD <= self.input.len()
    }

    /// Fills the word to at least 56 bits, from eight bytes; those that fit count as used.
    #[inline(always)]
    fn top_up(&mut self) {
        let Some(bytes) = chunk::<8>(self.input, self.used) else { return };
        self.bits |= u64::from_le_bytes(*bytes).wrapping_shl(self.count);
        self.used += 7 - (self.count >> 3 & 7) as usize;
        self.count |= 56;
    }

    #[inline(always)]
    fn skip(&mut self, entry: u32) {
        self.bits = self.bits.wrapping_shr(entry);
        self.count = self.count.wrapping_sub(entry);
    }

    /// The length or distance of an entry with its extra bits; consumes both.
    #[inline(always)]
    fn value(&mut self, entry: u32) -> usize {
        let value = huffman::value(entry) + huffman::extra(entry, self.bits);
        self.skip(entry);
        value
    }
}

/// The room of a round.
#[inline(always)]
fn room(out: &mut [u8], at: usize) -> Option<&mut [u8; ROOM]> {
    out.get_mut(at..)?.first_chunk_mut()
}

/// As `copy_match`. A short match that does not overlap its copy, as most are, takes
/// one copy of 32 bytes.
#[inline(always)]
fn copy(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let Some(from) = at.checked_sub(distance) else { return };
    if length > distance.min(COPY_BYTES) {
        return copy_match(out, at, distance, length);
    }
    let Some(bytes) = chunk::<COPY_BYTES>(out, from).copied() else { return };
    if let Some(to) = out.get_mut(at..).and_then(|to| to.first_chunk_mut()) {
        *to = bytes;
    }
}
