//! Deflate's prefix codes as tables: one look-up finds a symbol, and the number of
//! bits of its code and of its extra bits.

use super::error::Error;

/// The kind of an entry; without one of these bits: a length or a distance.
pub const LITERAL: u32 = 1 << 31;
pub const END: u32 = 1 << 30;
pub const INVALID: u32 = 1 << 29;
/// The rest of the code has to be looked up in another table, which starts at the value.
pub const LINK: u32 = 1 << 28;

const CODE_BITS_MAX: usize = 15;
/// The number of literals and lengths of the fixed code.
const SYMBOLS_MAX: usize = 288;

/// The number of bits of the code and the extra bits.
#[inline(always)]
pub fn bits(entry: u32) -> u32 {
    entry & 0xff
}

#[inline(always)]
fn code_bits(entry: u32) -> u32 {
    entry >> 8 & 15
}

/// The literal, or the number to which the extra bits are added.
#[inline(always)]
pub fn value(entry: u32) -> usize {
    (entry >> 12 & 0xffff) as usize
}

/// The extra bits, given the bits that start with the code.
#[inline(always)]
pub fn extra(entry: u32, bits: u64) -> usize {
    ((bits & !(!0u64).wrapping_shl(entry)) as u32 >> code_bits(entry)) as usize
}

/// Writes an entry's literal.
#[inline(always)]
pub fn put(out: &mut [u8], at: &mut usize, literal: u32) {
    if let Some(to) = out.get_mut(*at) {
        *to = value(literal) as u8;
    }
    *at += 1;
}

/// An entry for `value` with extra bits; the code is added later.
const fn entry(value: u32, extra: u32) -> u32 {
    value << 12 | extra
}

/// The entry of a symbol of the code length code (3.2.7).
pub fn code_length(symbol: u32) -> u32 {
    let extra = match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    };
    entry(symbol, extra)
}

/// The entry of a literal or a length (3.2.5).
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

/// The entry of a distance (3.2.5).
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

/// The tables of one code; the main one is indexed by the first `FIRST` bits. `N` is a power of two into which all of
/// them fit (by zlib's `enough`: 2342 entries for 286 symbols of 15 bits with `FIRST` 11, 402 for 30 with 8).
pub struct Table<const N: usize, const FIRST: u32> {
    entries: [u32; N],
}

impl<const N: usize, const FIRST: u32> Table<N, FIRST> {
    /// A table without a code.
    pub fn new() -> Self {
        Table { entries: [INVALID; N] }
    }

    /// The entry of the code that `bits` start with.
    #[inline(always)]
    pub fn find(&self, bits: u64) -> u32 {
        self.follow(self.first(bits), bits)
    }

    /// The entry of the code that `bits` start with, or a link where the code is longer than `FIRST`.
    #[inline(always)]
    pub fn first(&self, bits: u64) -> u32 {
        self.entries[bits as usize & ((1 << FIRST) - 1) & (N - 1)]
    }

    /// The entry of the code that `bits` start with, given the result of `first`.
    #[inline(always)]
    pub fn follow(&self, first: u32, bits: u64) -> u32 {
        if first & LINK == 0 {
            return first;
        }
        let rest = (bits >> FIRST) as usize & ((1 << code_bits(first)) - 1);
        self.entries[(value(first) + rest) & (N - 1)]
    }

    /// Builds the code of these lengths. It must be complete, unless `may_be_lone`,
    /// which allows a code of one symbol or none.
    pub fn build(&mut self, lengths: &[u8], may_be_lone: bool, what: fn(u32) -> u32) -> Result<(), Error> {
        build(&mut self.entries, FIRST, lengths, may_be_lone, what)
    }
}

fn build(
    entries: &mut [u32],
    first_bits: u32,
    lengths: &[u8],
    may_be_lone: bool,
    what: fn(u32) -> u32,
) -> Result<(), Error> {
    let mut counts = [0usize; CODE_BITS_MAX + 1];
    for length in lengths {
        counts[usize::from(*length & 15)] += 1;
    }
    let (unused, used) = counts.split_at(1);
    let space: usize = (1..).zip(used).map(|(length, count)| count << (CODE_BITS_MAX - length)).sum();
    let whole = 1 << CODE_BITS_MAX;
    let lone = space == 0 || space == whole / 2 && counts[1] == 1;
    if space > whole || space < whole && !(lone && may_be_lone) {
        return Err(Error);
    }
    let sorted = sort(lengths, &counts);
    let mut symbols = sorted.iter().take(lengths.len()).skip(unused[0]);
    let (first, links) = entries.split_at_mut(1 << first_bits);
    first[0] = INVALID;
    let mut code = 0;
    for length in 1..=first_bits {
        // What shorter codes have filled so far is what follows either bit.
        let (known, more) = first.split_at_mut(1 << (length - 1));
        more.iter_mut().zip(known).for_each(|(to, from)| *to = *from);
        code <<= 1;
        for symbol in symbols.by_ref().take(counts[length as usize & 15]) {
            if let Some(to) = first.get_mut(reverse(code, length)) {
                *to = whole_entry(what(*symbol), length);
            }
            code += 1;
        }
    }
    let (mut free, mut linked) = (0, None);
    for length in first_bits + 1..=CODE_BITS_MAX as u32 {
        code <<= 1;
        for symbol in symbols.by_ref().take(counts[length as usize & 15]) {
            let reversed = reverse(code, length);
            let (prefix, rest_bits) = (reversed & (first.len() - 1), length - first_bits);
            if linked != Some(prefix) {
                let bits = rest_bits + spare(&counts, length as usize, 1 << rest_bits);
                first[prefix] = LINK | ((first.len() + free) as u32) << 12 | bits << 8;
                (linked, free) = (Some(prefix), free + (1 << bits));
            }
            let table = links.get_mut(free - (1 << code_bits(first[prefix]))..free).ok_or(Error)?;
            let entry = whole_entry(what(*symbol), length);
            table.iter_mut().skip(reversed >> first_bits).step_by(1 << rest_bits).for_each(|to| *to = entry);
            code += 1;
            counts[length as usize & 15] -= 1;
        }
    }
    Ok(())
}

/// With its code's length.
fn whole_entry(entry: u32, length: u32) -> u32 {
    entry + (length | length << 8)
}

/// As the stream has it: its first bit is the lowest.
fn reverse(code: u16, length: u32) -> usize {
    (code.reverse_bits() >> (16 - length)).into()
}

/// The symbols in the order of their codes (3.2.2), after those that have none.
fn sort(lengths: &[u8], counts: &[usize; CODE_BITS_MAX + 1]) -> [u32; SYMBOLS_MAX] {
    let (mut places, mut sum) = ([0; CODE_BITS_MAX + 1], 0);
    for (place, count) in places.iter_mut().zip(counts) {
        (*place, sum) = (sum, sum + count);
    }
    let mut sorted = [0; SYMBOLS_MAX];
    for (symbol, length) in (0..).zip(lengths) {
        let place = &mut places[usize::from(*length & 15)];
        if let Some(to) = sorted.get_mut(*place) {
            *to = symbol;
        }
        *place += 1;
    }
    sorted
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// Code lengths of a random complete code of so many symbols, some of which it does without.
    fn code(seed: &mut u32, symbols: usize) -> Vec<u8> {
        let mut random = |below: usize| {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*seed >> 8) as usize % below
        };
        let mut leaves = vec![1u8, 1];
        // A deep tree at times: what is split next is among the last.
        let among = 1 + random(40);
        while leaves.len() < symbols * 3 / 4 {
            let at = leaves.len() - 1 - random(among.min(leaves.len()));
            if leaves[at] < 15 {
                leaves[at] += 1;
                leaves.push(leaves[at]);
            } else {
                leaves.rotate_right(1);
            }
        }
        leaves.resize(symbols, 0);
        for i in 1..symbols {
            leaves.swap(i, random(i + 1));
        }
        leaves
    }

    /// Each symbol's code as 3.2.2 numbers them, first bit lowest.
    fn codes(lengths: &[u8]) -> Vec<(usize, u8, u64)> {
        let mut code = 0u32;
        let mut all = Vec::new();
        for length in 1..=15 {
            code <<= 1;
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| **l == length) {
                all.push((symbol, length, u64::from(code.reverse_bits() >> (32 - u32::from(length)))));
                code += 1;
            }
        }
        all
    }

    #[test]
    fn every_symbol_of_many_codes() {
        let (mut seed, mut linked) = (1, 0);
        let mut table = Table::<4096, 11>::new();
        for _ in 0..200 {
            let lengths = code(&mut seed, 286);
            assert_eq!(table.build(&lengths, false, symbol), Ok(()));
            for (number, length, code) in codes(&lengths) {
                linked += u32::from(length > 11);
                for behind in [0, 0x2aaa_aaaa, 0x5555_5555, !0] {
                    let found = table.find(code | behind << length);
                    let expected = symbol(number as u32);
                    assert_eq!(code_bits(found), length.into());
                    assert_eq!(found & !0xfff, expected & !0xfff);
                    assert_eq!(bits(found), bits(expected) + u32::from(length));
                }
            }
        }
        assert!(linked > 1000);
    }

    #[test]
    fn what_is_no_code() {
        let mut table = Table::<512, 8>::new();
        let build = |table: &mut Table<512, 8>, lengths: &[u8], lone| table.build(lengths, lone, distance);
        assert_eq!(build(&mut table, &[1, 1, 1], true), Err(Error));
        assert_eq!(build(&mut table, &[2, 2, 2], true), Err(Error));
        assert_eq!(build(&mut table, &[1, 0], false), Err(Error));
        assert_eq!(build(&mut table, &[0, 1], true), Ok(()));
        assert_eq!((value(table.find(0)), table.find(1)), (2, INVALID));
        assert_eq!(build(&mut table, &[0, 0], true), Ok(()));
        assert_eq!(table.find(0), INVALID);
    }
}
