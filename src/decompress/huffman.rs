//! Deflate's prefix codes as tables of entries: one look finds a symbol, and
//! how many bits it and its extra bits take.

use crate::deflate::Bad;

/// What an entry stands for; none of them: a length or a distance.
pub const LITERAL: u32 = 1 << 31;
pub const END: u32 = 1 << 30;
pub const INVALID: u32 = 1 << 29;
/// The rest of the code is to be looked up in a table of its own, which starts at the value.
const LINK: u32 = 1 << 28;

const CODE_BITS_MAX: usize = 15;

/// Bits of the code and the extra bits after it.
#[inline(always)]
pub fn bits(entry: u32) -> u32 {
    entry & 0xff
}

#[inline(always)]
fn code_bits(entry: u32) -> u32 {
    entry >> 8 & 15
}

/// The literal, or what the extra bits are added to.
#[inline(always)]
pub fn value(entry: u32) -> usize {
    (entry >> 12 & 0xffff) as usize
}

/// The extra bits, given the bits that start with the code.
#[inline(always)]
pub fn extra(entry: u32, bits: u64) -> usize {
    ((bits & !(!0u64).wrapping_shl(entry)) as u32 >> code_bits(entry)) as usize
}

/// A bit buffer and its count without the entry's bits.
#[inline(always)]
pub fn after(word: u64, count: u32, entry: u32) -> (u64, u32) {
    (word.wrapping_shr(entry), count.wrapping_sub(bits(entry)) & 63)
}

/// Writes an entry's literal.
#[inline(always)]
pub fn put(out: &mut [u8], at: &mut usize, literal: u32) {
    if let Some(to) = out.get_mut(*at) {
        *to = value(literal) as u8;
    }
    *at += 1;
}

/// An entry for `value` with extra bits, whose code is still to be added.
const fn entry(value: u32, extra: u32) -> u32 {
    value << 12 | extra
}

/// Of the code that code lengths are sent in (3.2.7).
pub fn code_length(symbol: u32) -> u32 {
    let extra = match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    };
    entry(symbol, extra)
}

/// Of literals and lengths (3.2.5).
pub fn symbol(symbol: u32) -> u32 {
    match symbol {
        0..=255 => LITERAL | entry(symbol, 0),
        256 => END,
        257..=264 => entry(symbol - 254, 0),
        265..=284 => {
            let extra = (symbol - 261) / 4;
            entry(3 + ((4 + (symbol - 261) % 4) << extra), extra)
        }
        285 => entry(258, 0),
        _ => INVALID,
    }
}

/// Of distances (3.2.5).
pub fn distance(symbol: u32) -> u32 {
    match symbol {
        0..=3 => entry(symbol + 1, 0),
        4..=29 => {
            let extra = symbol / 2 - 1;
            entry(1 + ((2 + symbol % 2) << extra), extra)
        }
        _ => INVALID,
    }
}

/// Of one code, looked up by its first `FIRST` bits. `N` is a power of two that its tables fit in (zlib's
/// `enough` counts them: 2342 for 286 symbols of 15 bits after a first 11, 402
/// for 30 after 8).
pub struct Table<const N: usize, const FIRST: u32> {
    entries: [u32; N],
}

impl<const N: usize, const FIRST: u32> Table<N, FIRST> {
    /// A table that has no code.
    pub fn new() -> Self {
        Table { entries: [INVALID; N] }
    }

    /// What `bits` start with.
    #[inline(always)]
    pub fn find(&self, bits: u64) -> u32 {
        let found = self.entries[bits as usize & ((1 << FIRST) - 1) & (N - 1)];
        if found & LINK == 0 {
            return found;
        }
        let rest = (bits >> FIRST) as usize & ((1 << code_bits(found)) - 1);
        self.entries[(value(found) + rest) & (N - 1)]
    }

    /// The code of these lengths. It must be complete, unless it `may_be_lone`:
    /// of one symbol or none.
    pub fn build(&mut self, lengths: &[u8], may_be_lone: bool, what: fn(u32) -> u32) -> Result<(), Bad> {
        build(&mut self.entries, FIRST, lengths, may_be_lone, what)
    }
}

fn build(
    entries: &mut [u32],
    first_bits: u32,
    lengths: &[u8],
    may_be_lone: bool,
    what: fn(u32) -> u32,
) -> Result<(), Bad> {
    let mut counts = [0usize; CODE_BITS_MAX + 1];
    for length in lengths {
        counts[usize::from(*length & 15)] += 1;
    }
    counts[0] = 0;
    let space: usize = counts.iter().enumerate().map(|(length, count)| count << (CODE_BITS_MAX - length)).sum();
    let whole = 1 << CODE_BITS_MAX;
    let lone = space == 0 || space == whole / 2 && counts[1] == 1;
    if space > whole || space < whole && !(lone && may_be_lone) {
        return Err(Bad);
    }
    let (first, links) = entries.split_at_mut(1 << first_bits);
    first.fill(INVALID);
    let (mut free, mut code, mut linked) = (0, 0usize, None);
    for length in 1..=CODE_BITS_MAX {
        code <<= 1;
        let of_length = lengths.iter().enumerate().filter(|(_, l)| usize::from(**l) == length);
        for (symbol, _) in of_length {
            let reversed = code.reverse_bits() >> (usize::BITS as usize - length);
            let entry = what(symbol as u32) + (length as u32 | (length as u32) << 8);
            let prefix = reversed & (first.len() - 1);
            let rest_bits = (length as u32).saturating_sub(first_bits);
            if rest_bits > 0 && linked != Some(prefix) {
                let bits = rest_bits + spare(&counts, length, 1 << rest_bits);
                first[prefix] = LINK | ((first.len() + free) as u32) << 12 | bits << 8;
                (linked, free) = (Some(prefix), free + (1 << bits));
            }
            let (table, at, step) = match rest_bits {
                0 => (&mut *first, reversed, 1 << length),
                _ => {
                    let size = 1 << code_bits(first[prefix]);
                    let table = links.get_mut(free - size..free).ok_or(Bad)?;
                    (table, reversed >> first_bits, 1 << rest_bits)
                }
            };
            table.iter_mut().skip(at).step_by(step).for_each(|to| *to = entry);
            code += 1;
            counts[length] -= 1;
        }
    }
    Ok(())
}

/// By how many bits a table that starts with a code of `length`, and would have
/// room for `left` of them, must be larger, given how many codes are to come.
fn spare(counts: &[usize; CODE_BITS_MAX + 1], length: usize, mut left: usize) -> u32 {
    let mut more = 0;
    for count in counts.get(length..).unwrap_or_default() {
        if left <= *count {
            return more;
        }
        left = (left - count) << 1;
        more += 1;
    }
    more
}
