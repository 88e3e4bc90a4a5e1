//! Finite state entropy (RFC 8878, 4.1): reads the descriptions of tables, and builds the tables.

use super::bits::Bits;
use super::error::Error;

/// A state of a table: its symbol, and the way to the next state.
#[derive(Clone, Copy, Default)]
pub struct Entry {
    /// The symbol, or the number to which the extra bits are added.
    pub base: u32,
    next: u16,
    next_bits: u8,
    /// The number of extra bits.
    pub extra: u8,
}

/// A table of at most 512 states.
pub struct Table {
    entries: [Entry; 512],
    pub log: u32,
}

impl Table {
    pub fn new() -> Table {
        Table { entries: [Entry::default(); 512], log: 0 }
    }

    #[inline(always)]
    pub fn at(&self, state: usize) -> Entry {
        self.entries[state & 511]
    }

    /// The state that follows `entry`.
    #[inline(always)]
    pub fn next(entry: Entry, bits: &mut Bits) -> usize {
        usize::from(entry.next) + bits.take(entry.next_bits.into()) as usize
    }

    /// Makes it a table of one state.
    pub fn single(&mut self, base: u32, extra: u8) {
        (self.entries[0], self.log) = (Entry { base, extra, ..Entry::default() }, 0);
    }

    /// Builds the table from the symbols' probabilities, which add up to 1 << `log`
    /// (-1: less than one); `what` returns a symbol's base and extra bits.
    pub fn build(&mut self, probabilities: &[i16], log: u32, what: &dyn Fn(usize) -> (u32, u8)) -> Result<(), Error> {
        let size = 1usize << log;
        let entries = self.entries.get_mut(..size).ok_or(Error::Data)?;
        let mut counts = [0u16; 256];
        let mut symbols = [0u8; 512];
        let mut high = size;
        for (symbol, probability) in probabilities.iter().enumerate().take(256) {
            counts[symbol] = probability.unsigned_abs();
            if *probability < 0 {
                high = high.checked_sub(1).ok_or(Error::Data)?;
                symbols[high] = symbol as u8;
            }
        }
        let mut at = 0;
        for (symbol, probability) in probabilities.iter().enumerate().take(256) {
            for _ in 0..(*probability).max(0) {
                symbols[at] = symbol as u8;
                at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1);
                while at >= high && high > 0 {
                    at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1);
                }
            }
        }
        for (entry, symbol) in entries.iter_mut().zip(symbols) {
            let count = &mut counts[usize::from(symbol)];
            let next_bits = log - count.max(&mut 1).ilog2();
            let (base, extra) = what(symbol.into());
            let next = (u32::from(*count) << next_bits).wrapping_sub(size as u32) as u16;
            *entry = Entry { base, next, next_bits: next_bits as u8, extra };
            *count += 1;
        }
        self.log = log;
        Ok(())
    }
}

/// Reads probabilities of at most `probabilities.len()` symbols and a log of at
/// most `log_max`. Returns how many symbols, the log, and bytes taken.
pub fn probabilities(bytes: &[u8], log_max: u32, probabilities: &mut [i16]) -> Result<(usize, u32, usize), Error> {
    let mut at = 0usize;
    let look = |at: usize| {
        let from = bytes.get(at / 8..).unwrap_or_default();
        let word = from.iter().take(4).enumerate().fold(0u32, |word, (i, byte)| word | u32::from(*byte) << (8 * i));
        word >> (at % 8)
    };
    let log = (look(0) & 15) + 5;
    if log > log_max {
        return Err(Error::Data);
    }
    at += 4;
    let mut left = 1i32 << log;
    let mut symbol = 0;
    while left > 0 {
        // A value of 0..=left + 1; the low ones are a bit shorter.
        let bits = (left + 1).ilog2() + 1;
        let short = (1 << bits) - 1 - (left + 1);
        let low = (look(at) & ((1 << (bits - 1)) - 1)) as i32;
        let mut value = (look(at) & ((1 << bits) - 1)) as i32;
        if low < short {
            (value, at) = (low, at + bits as usize - 1);
        } else {
            if value >= 1 << (bits - 1) {
                value -= short;
            }
            at += bits as usize;
        }
        let probability = value - 1;
        *probabilities.get_mut(symbol).ok_or(Error::Data)? = probability as i16;
        symbol += 1;
        left -= probability.abs();
        if probability == 0 {
            loop {
                let repeat = (look(at) & 3) as usize;
                at += 2;
                probabilities.get_mut(symbol..symbol + repeat).ok_or(Error::Data)?.fill(0);
                symbol += repeat;
                if repeat < 3 {
                    break;
                }
            }
        }
    }
    let used = at.div_ceil(8);
    if left < 0 || used > bytes.len() {
        return Err(Error::Data);
    }
    Ok((symbol, log, used))
}
