//! The sequences of a block (RFC 8878, 3.1.1.3.2), each a number of literals and a match.

use super::bits::Bits;
use super::error::Error;
use super::fse::{self, Table};
use super::literals::Literals;
use super::window::Window;

/// One of the three kinds of codes: its tables' limits, and the values of its codes.
struct Kind {
    /// The highest log of its table, and the log of the predefined one.
    log_max: u32,
    log: u32,
    predefined: &'static [i16],
    what: fn(usize) -> (u32, u8),
}

const LITERALS: Kind = Kind {
    log_max: 9,
    log: 6,
    predefined: &[
        4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1,
    ],
    what: |code| match code {
        0..=15 => (code as u32, 0),
        16..=19 => (16 + 2 * (code as u32 - 16), 1),
        20..=21 => (24 + 4 * (code as u32 - 20), 2),
        22..=23 => (32 + 8 * (code as u32 - 22), 3),
        24 => (48, 4),
        _ => (64 << (code as u32 - 25), code as u8 - 19),
    },
};

const OFFSETS: Kind = Kind {
    log_max: 8,
    log: 5,
    predefined: &[1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
    what: |code| (1 << code, code as u8),
};

const MATCHES: Kind = Kind {
    log_max: 9,
    log: 6,
    predefined: &[
        1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
    what: |code| match code {
        0..=31 => (code as u32 + 3, 0),
        32..=35 => (35 + 2 * (code as u32 - 32), 1),
        36..=37 => (43 + 4 * (code as u32 - 36), 2),
        38..=39 => (51 + 8 * (code as u32 - 38), 3),
        40..=41 => (67 + 16 * (code as u32 - 40), 4),
        42 => (99, 5),
        _ => (3 + (128 << (code as u32 - 43)), code as u8 - 36),
    },
};

/// The highest codes of literals' lengths and of matches; an offset has at most 31 bits.
const CODES: [(Kind, usize); 3] = [(LITERALS, 35), (OFFSETS, 31), (MATCHES, 52)];

/// The tables, and the last offsets, which later blocks may use again.
pub struct Sequences {
    tables: [Table; 3],
    has_table: [bool; 3],
    offsets: [usize; 3],
}

impl Sequences {
    pub fn new() -> Sequences {
        Sequences { tables: [Table::new(), Table::new(), Table::new()], has_table: [false; 3], offsets: [1, 4, 8] }
    }

    /// For another frame.
    pub fn reset(&mut self) {
        (self.has_table, self.offsets) = ([false; 3], [1, 4, 8]);
    }

    /// Makes a block of at most `block_max` bytes from its sequences and literals.
    pub fn run(
        &mut self,
        section: &[u8],
        literals: &Literals,
        window: &mut Window,
        block_max: usize,
    ) -> Result<(), Error> {
        let (count, mut rest) = match *section {
            [] => return Err(Error::Data),
            [255, a, b, ref rest @ ..] => (usize::from(a) + (usize::from(b) << 8) + 0x7f00, rest),
            [a @ 128..=254, b, ref rest @ ..] => ((usize::from(a) - 128) << 8 | usize::from(b), rest),
            [a @ ..=127, ref rest @ ..] => (a.into(), rest),
            _ => return Err(Error::Data),
        };
        let mut left = block_max;
        let mut used = 0;
        if count > 0 {
            let (modes, after) = rest.split_first().ok_or(Error::Data)?;
            if modes & 3 != 0 {
                return Err(Error::Data);
            }
            rest = after;
            for (which, shift) in [6, 4, 2].into_iter().enumerate() {
                rest = self.table(which, modes >> shift & 3, rest)?;
            }
            used = self.sequences(count, Bits::new(rest)?, literals, window, &mut left)?;
        } else if !rest.is_empty() {
            return Err(Error::Data);
        }
        let last = literals.count.checked_sub(used).filter(|last| *last <= left).ok_or(Error::Data)?;
        window.literals(literals.bytes(), used, last);
        Ok(())
    }

    /// One table, as its mode says; returns what follows it.
    fn table<'a>(&mut self, which: usize, mode: u8, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        let (kind, code_max) = &CODES[which];
        let table = &mut self.tables[which];
        match mode {
            0 => table.build(kind.predefined, kind.log, &kind.what)?,
            1 => {
                let (code, rest) = bytes.split_first().ok_or(Error::Data)?;
                if usize::from(*code) > *code_max {
                    return Err(Error::Data);
                }
                let (base, extra) = (kind.what)((*code).into());
                table.single(base, extra);
                self.has_table[which] = true;
                return Ok(rest);
            }
            2 => {
                let mut all = [0; 64];
                let all = all.get_mut(..=*code_max).ok_or(Error::Data)?;
                let (count, log, size) = fse::probabilities(bytes, kind.log_max, all)?;
                table.build(all.get(..count).unwrap_or_default(), log, &kind.what)?;
                self.has_table[which] = true;
                return bytes.get(size..).ok_or(Error::Data);
            }
            _ if !self.has_table[which] => return Err(Error::Data),
            _ => {}
        }
        self.has_table[which] = true;
        Ok(bytes)
    }

    /// Returns how many literals were used; `left` is the room that is left in the block.
    fn sequences(
        &mut self,
        count: usize,
        mut bits: Bits,
        literals: &Literals,
        window: &mut Window,
        left: &mut usize,
    ) -> Result<usize, Error> {
        let [lengths, offsets, matches] = &self.tables;
        let mut used = 0;
        let mut length_state = bits.take(lengths.log) as usize;
        let mut offset_state = bits.take(offsets.log) as usize;
        let mut match_state = bits.take(matches.log) as usize;
        for i in 1..=count {
            let (l, o, m) = (lengths.at(length_state), offsets.at(offset_state), matches.at(match_state));
            bits.refill();
            let value = o.base as usize + bits.take(o.extra.into()) as usize;
            // 47 bits at most; 42 more may follow, of the 57 of a word.
            let match_length = m.base as usize + bits.take(m.extra.into()) as usize;
            if o.extra + m.extra + l.extra > 30 {
                bits.refill();
            }
            let length = l.base as usize + bits.take(l.extra.into()) as usize;
            if i < count {
                length_state = Table::next(l, &mut bits);
                match_state = Table::next(m, &mut bits);
                offset_state = Table::next(o, &mut bits);
            }
            let offset = offset(&mut self.offsets, value, length)?;
            let made = length + match_length;
            if bits.left < 0 || made > *left || used + length > literals.count {
                return Err(Error::Data);
            }
            *left -= made;
            window.sequence(literals.bytes(), used, length, offset, match_length)?;
            used += length;
        }
        if bits.left != 0 {
            return Err(Error::Data);
        }
        Ok(used)
    }
}

/// The offset that a value stands for, given the last three offsets (3.1.1.5).
#[inline(always)]
fn offset(last: &mut [usize; 3], value: usize, length: usize) -> Result<usize, Error> {
    let [a, b, c] = *last;
    *last = match value + usize::from(length == 0) {
        _ if value > 3 => [value - 3, a, b],
        1 => [a, b, c],
        2 => [b, a, c],
        3 => [c, a, b],
        _ => [a - 1, a, b],
    };
    if last[0] == 0 {
        Err(Error::Data)
    } else {
        Ok(last[0])
    }
}
