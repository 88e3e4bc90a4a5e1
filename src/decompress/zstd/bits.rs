//! A bit stream that is read from its end (RFC 8878, 4.1).

use super::error::Error;
use crate::bytes::chunk;

/// The unread part of the stream, and its next word.
#[derive(Clone, Copy)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// The number of unread bits; below zero after reading more than there were.
    pub left: isize,
    /// The next bits, highest first: at least 57 after `refill`, with zeros behind the last.
    pub word: u64,
}

impl<'a> Bits<'a> {
    /// Begins behind the padding of the last byte, which ends with a 1.
    pub fn new(bytes: &'a [u8]) -> Result<Bits<'a>, Error> {
        let last = bytes.last().filter(|last| **last != 0).ok_or(Error::Data)?;
        let left = bytes.len() as isize * 8 - 1 - last.leading_zeros() as isize;
        let mut bits = Bits { bytes, left, word: 0 };
        bits.refill();
        Ok(bits)
    }

    /// Whether the next `refill` finds a whole word before the next bits.
    #[inline(always)]
    pub fn is_deep(&self) -> bool {
        self.left >= 64
    }

    #[inline(always)]
    pub fn refill(&mut self) {
        let end = (self.left.max(0) as usize).div_ceil(8);
        let word = match end.checked_sub(8).and_then(|start| chunk::<8>(self.bytes, start)) {
            Some(word) => u64::from_le_bytes(*word),
            None => self.first_bytes(end),
        };
        self.word = word << (end as isize * 8 - self.left.max(0));
    }

    #[cold]
    fn first_bytes(&self, end: usize) -> u64 {
        let bytes = self.bytes.get(..end).unwrap_or_default();
        bytes.iter().rev().take(8).enumerate().fold(0, |word, (i, byte)| word | u64::from(*byte) << (56 - 8 * i))
    }

    /// Takes up to 56 bits of the word.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> u64 {
        // In two steps: a shift by 64, for a count of 0, would overflow.
        let bits = self.word >> 1 >> (63 - count);
        self.skip(count);
        bits
    }

    #[inline(always)]
    pub fn skip(&mut self, count: u32) {
        self.word <<= count;
        self.left -= count as isize;
    }
}
