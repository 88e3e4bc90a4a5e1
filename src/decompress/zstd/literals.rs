//! The literals of a block (RFC 8878, 3.1.1.3.1), and their Huffman code.

use super::bits::Bits;
use super::error::Error;
use super::fse::{self, Table};
use super::window::BLOCK_MAX;
use alloc::boxed::Box;
use alloc::vec;

const CODE_BITS_MAX: u32 = 11;
/// How much a wide copy may read behind the last literal.
pub const SPARE: usize = 32;

/// The literals of a block, and the code, which a later block may use again.
pub struct Literals {
    bytes: Box<[u8]>,
    pub count: usize,
    /// Indexed by the next bits: the symbol, and above it the length of its code.
    codes: [u16; 1 << CODE_BITS_MAX],
    /// How many bits to look up; 0: no code.
    code_bits: u32,
    weights_table: Table,
}

impl Literals {
    pub fn new() -> Literals {
        Literals {
            bytes: vec![0; BLOCK_MAX + SPARE].into_boxed_slice(),
            count: 0,
            codes: [0; 1 << CODE_BITS_MAX],
            code_bits: 0,
            weights_table: Table::new(),
        }
    }

    /// For another frame.
    pub fn reset(&mut self) {
        self.code_bits = 0;
    }

    /// The literals, and behind them up to `SPARE` bytes without a meaning.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the section at the start of a block, and returns what follows it.
    pub fn read<'a>(&mut self, block: &'a [u8], block_max: usize) -> Result<&'a [u8], Error> {
        let head = block.iter().take(5).rev().fold(0u64, |head, byte| head << 8 | u64::from(*byte));
        let (kind, format) = (head & 3, head >> 2 & 3);
        let field = |from: u32, bits: u32| (head >> from) as usize & ((1 << bits) - 1);
        let (size, count, packed) = match (kind, format) {
            (0 | 1, 0 | 2) => (1, field(3, 5), 0),
            (0 | 1, 1) => (2, field(4, 12), 0),
            (0 | 1, _) => (3, field(4, 20), 0),
            (_, 0 | 1) => (3, field(4, 10), field(14, 10)),
            (_, 2) => (4, field(4, 14), field(18, 14)),
            _ => (5, field(4, 18), field(22, 18)),
        };
        let rest = block.get(size..).ok_or(Error::Data)?;
        let out = self.bytes.get_mut(..count).filter(|_| count <= block_max).ok_or(Error::Data)?;
        self.count = count;
        match kind {
            0 => {
                let (raw, rest) = rest.split_at_checked(count).ok_or(Error::Data)?;
                out.copy_from_slice(raw);
                Ok(rest)
            }
            1 => {
                let (byte, rest) = rest.split_first().ok_or(Error::Data)?;
                out.fill(*byte);
                Ok(rest)
            }
            _ => {
                let (mut section, rest) = rest.split_at_checked(packed).ok_or(Error::Data)?;
                if kind == 2 {
                    section = self.code(section)?;
                }
                self.decode(section, format > 0)?;
                Ok(rest)
            }
        }
    }

    /// The description of a code (4.2.1); returns what follows it.
    fn code<'a>(&mut self, section: &'a [u8]) -> Result<&'a [u8], Error> {
        let (head, rest) = section.split_first().ok_or(Error::Data)?;
        let mut weights = [0u8; 256];
        let (count, rest) = match usize::from(*head) {
            packed @ ..=127 => {
                let (packed, rest) = rest.split_at_checked(packed).ok_or(Error::Data)?;
                (self.packed_weights(packed, &mut weights)?, rest)
            }
            head => {
                let count = head - 127;
                let (bytes, rest) = rest.split_at_checked(count.div_ceil(2)).ok_or(Error::Data)?;
                for (pair, byte) in weights.chunks_mut(2).zip(bytes) {
                    pair.copy_from_slice(&[byte >> 4, byte & 15]);
                }
                (count, rest)
            }
        };
        self.build(&mut weights, count)?;
        Ok(rest)
    }

    fn packed_weights(&mut self, bytes: &[u8], weights: &mut [u8; 256]) -> Result<usize, Error> {
        let mut probabilities = [0; 16];
        let (symbols, log, used) = fse::probabilities(bytes, 6, &mut probabilities)?;
        let table = &mut self.weights_table;
        table.build(probabilities.get(..symbols).unwrap_or_default(), log, &|symbol| (symbol as u32, 0))?;
        let mut bits = Bits::new(bytes.get(used..).unwrap_or_default())?;
        let mut states = [bits.take(log) as usize, bits.take(log) as usize];
        if bits.left < 0 {
            return Err(Error::Data);
        }
        // Two states take turns until no bits are left for one; the symbol of the other is the last.
        for count in 0..254 {
            bits.refill();
            let entry = table.at(states[count % 2]);
            weights[count] = entry.base as u8;
            states[count % 2] = Table::next(entry, &mut bits);
            if bits.left < 0 {
                weights[count + 1] = table.at(states[(count + 1) % 2]).base as u8;
                return Ok(count + 2);
            }
        }
        Err(Error::Data)
    }

    /// The table of codes, given the weights of all symbols but the last.
    fn build(&mut self, weights: &mut [u8; 256], count: usize) -> Result<(), Error> {
        self.code_bits = 0;
        // An odd count leaves half a byte.
        weights.get_mut(count..).ok_or(Error::Data)?.fill(0);
        let sum = weights.iter().map(|weight| (1u32 << (weight & 15)) >> 1).sum::<u32>();
        let code_bits = sum.checked_ilog2().ok_or(Error::Data)? + 1;
        let left = (1u32 << code_bits.min(31)) - sum;
        if code_bits > CODE_BITS_MAX || !left.is_power_of_two() {
            return Err(Error::Data);
        }
        *weights.get_mut(count).ok_or(Error::Data)? = left.ilog2() as u8 + 1;
        // The longest codes are two at least: without them all might be shorter, and zstd itself refuses that.
        if weights.iter().filter(|weight| **weight == 1).count() < 2 {
            return Err(Error::Data);
        }
        let mut at = 0;
        for weight in 1..=code_bits as u8 {
            for (symbol, _) in weights.iter().enumerate().filter(|(_, w)| **w == weight) {
                let size = 1usize << (weight - 1);
                let code = symbol as u16 | ((code_bits as u16 + 1 - u16::from(weight)) << 8);
                self.codes.get_mut(at..at + size).ok_or(Error::Data)?.fill(code);
                at += size;
            }
        }
        self.code_bits = code_bits;
        Ok(())
    }

    /// One stream, or four whose symbols follow each other.
    fn decode(&mut self, section: &[u8], is_four: bool) -> Result<(), Error> {
        let (codes, code_bits) = (&self.codes, self.code_bits);
        let out = self.bytes.get_mut(..self.count).unwrap_or_default();
        if code_bits == 0 {
            return Err(Error::Data);
        }
        if !is_four {
            let mut bits = Bits::new(section)?;
            return finish(codes, code_bits, &mut bits, out);
        }
        let (jump, mut rest) = section.split_first_chunk::<6>().ok_or(Error::Data)?;
        let mut next = |at: usize| -> Result<Bits, Error> {
            let size = usize::from(u16::from_le_bytes([jump[at], jump[at + 1]]));
            let (stream, after) = rest.split_at_checked(size).ok_or(Error::Data)?;
            rest = after;
            Bits::new(stream)
        };
        let (a, b, c) = (next(0)?, next(2)?, next(4)?);
        let mut streams = [a, b, c, Bits::new(rest)?];
        let part = out.len().div_ceil(4);
        let (a, out) = out.split_at_mut_checked(part).ok_or(Error::Data)?;
        let (b, out) = out.split_at_mut_checked(part).ok_or(Error::Data)?;
        let (c, d) = out.split_at_mut_checked(part).ok_or(Error::Data)?;
        let mut done = 0;
        // Five codes have at most 55 bits; the last part may be the shortest.
        while done + 5 <= d.len() && streams.iter().all(Bits::is_deep) {
            let mut made = [[0; 5]; 4];
            streams.iter_mut().for_each(Bits::refill);
            for i in 0..5 {
                for (bits, made) in streams.iter_mut().zip(&mut made) {
                    made[i] = symbol(codes, code_bits, bits);
                }
            }
            for (out, made) in [&mut *a, &mut *b, &mut *c, &mut *d].into_iter().zip(&made) {
                out.get_mut(done..done + 5).ok_or(Error::Data)?.copy_from_slice(made);
            }
            done += 5;
        }
        for (out, bits) in [a, b, c, d].into_iter().zip(&mut streams) {
            finish(codes, code_bits, bits, out.get_mut(done..).ok_or(Error::Data)?)?;
        }
        Ok(())
    }
}

type Codes = [u16; 1 << CODE_BITS_MAX];

#[inline(always)]
fn symbol(codes: &Codes, code_bits: u32, bits: &mut Bits) -> u8 {
    let code = codes[(bits.word >> (64 - code_bits)) as usize & (codes.len() - 1)];
    bits.skip(u32::from(code >> 8));
    code as u8
}

/// Fills `out`, which must be the end of the stream.
fn finish(codes: &Codes, code_bits: u32, bits: &mut Bits, out: &mut [u8]) -> Result<(), Error> {
    for group in out.chunks_mut(5) {
        bits.refill();
        group.iter_mut().for_each(|byte| *byte = symbol(codes, code_bits, bits));
    }
    if bits.left == 0 {
        Ok(())
    } else {
        Err(Error::Data)
    }
}
