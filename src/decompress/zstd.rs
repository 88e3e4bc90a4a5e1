//! zstd (RFC 8878): frames and their blocks. A block is decoded whole, directly into
//! the window; the window and room for one block (128 KiB) are all that a frame takes.

mod bits;
mod error;
mod fse;
mod literals;
mod sequences;
mod window;
mod xxh64;

use crate::bytes::chunk;
use literals::Literals;
use sequences::Sequences;
use window::{Window, BLOCK_MAX};
use xxh64::Xxh64;

pub use error::Error;

/// As much input is always enough to continue.
pub const INPUT_BYTES: usize = BLOCK_MAX + 3;

const MAGIC: u32 = 0xfd2f_b528;
/// The magic number of a skippable frame; its lowest four bits may have any value.
const SKIPPABLE: u32 = 0x184d_2a50;

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again with what was not used and more behind it.
    NeedsInput,
    /// The number of bytes that were used.
    Used(usize),
    /// The number of bytes that were used, and the size of the window that the next step allocates.
    Window(usize, u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a frame, or at the end.
    Between,
    Skip(u32),
    Allocate,
    Block,
    Checksum,
}

/// The header of a frame.
#[derive(Clone, Copy, Default)]
struct Header {
    window: u64,
    content: Option<u64>,
    has_checksum: bool,
}

/// A stream of frames.
pub struct Decoder {
    state: State,
    header: Header,
    window: Window,
    literals: Literals,
    sequences: Sequences,
    sum: Xxh64,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

/// Whether a stream with that start is zstd's. Of fewer than four bytes: whether it may be.
pub fn is_magic(start: &[u8]) -> bool {
    let [_, skippable @ ..] = SKIPPABLE.to_le_bytes();
    let same = |rest: &[u8], magic: &[u8]| rest.iter().zip(magic).all(|(a, b)| a == b);
    match start {
        [first, rest @ ..] if first & 0xf0 == SKIPPABLE as u8 => same(rest, &skippable),
        _ => same(start, &MAGIC.to_le_bytes()),
    }
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder {
            state: State::Between,
            header: Header::default(),
            window: Window::default(),
            literals: Literals::new(),
            sequences: Sequences::new(),
            sum: Xxh64::new(),
        }
    }

    /// The output of the last step, in two pieces of which the second may be empty.
    /// It must be taken before the next step.
    pub fn pending(&self) -> [&[u8]; 2] {
        self.window.pending()
    }

    /// Marks `count` bytes of the output as taken.
    pub fn hand_out(&mut self, count: usize) {
        self.window.hand_out(count);
    }

    /// Call at the end of the input, with what is left of it.
    pub fn finish(&self, rest: &[u8]) -> Result<(), Error> {
        match self.state {
            State::Between if rest.is_empty() => Ok(()),
            _ => Err(Error::Truncated),
        }
    }

    /// Consumes a header, a block, a checksum or bytes of a skippable frame at the start of `input`.
    // Not inlined: its caller is compiled for size.
    #[inline(never)]
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Error> {
        match self.state {
            State::Between => self.frame(input),
            State::Skip(left) => {
                let count = (left as usize).min(input.len());
                let left = left - count as u32;
                self.state = if left > 0 { State::Skip(left) } else { State::Between };
                Ok(if count == 0 && left > 0 { Step::NeedsInput } else { Step::Used(count) })
            }
            State::Allocate => {
                let reach = usize::try_from(self.header.window).map_err(|_| Error::Window)?;
                self.window.reset(reach, self.header.content.unwrap_or(u64::MAX));
                self.literals.reset();
                self.sequences.reset();
                self.sum = Xxh64::new();
                self.state = State::Block;
                Ok(Step::Used(0))
            }
            State::Block => self.block(input),
            State::Checksum => {
                let Some(sum) = chunk(input, 0) else { return Ok(Step::NeedsInput) };
                if self.sum.finish() as u32 != u32::from_le_bytes(*sum) {
                    return Err(Error::Checksum);
                }
                self.state = State::Between;
                Ok(Step::Used(4))
            }
        }
    }

    fn frame(&mut self, input: &[u8]) -> Result<Step, Error> {
        if !is_magic(input) {
            return Err(Error::Garbage);
        }
        let Some((magic, rest)) = input.split_first_chunk::<4>() else { return Ok(Step::NeedsInput) };
        if u32::from_le_bytes(*magic) != MAGIC {
            let Some(size) = chunk(rest, 0) else { return Ok(Step::NeedsInput) };
            self.state = State::Skip(u32::from_le_bytes(*size));
            return Ok(Step::Used(8));
        }
        let Some((header, size)) = header(rest)? else { return Ok(Step::NeedsInput) };
        (self.header, self.state) = (header, State::Allocate);
        Ok(Step::Window(4 + size, header.window.min(header.content.unwrap_or(u64::MAX))))
    }

    fn block(&mut self, input: &[u8]) -> Result<Step, Error> {
        let Some((head, rest)) = input.split_first_chunk::<3>() else { return Ok(Step::NeedsInput) };
        let head = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let (is_last, kind, size) = (head & 1 != 0, head >> 1 & 3, (head >> 3) as usize);
        let block_max = usize::try_from(self.header.window).map_or(BLOCK_MAX, |window| window.min(BLOCK_MAX));
        if size > block_max {
            return Err(Error::Data);
        }
        // More than the frame's content may not fit into the ring, which may be no larger.
        let content = self.header.content.unwrap_or(u64::MAX);
        let left = usize::try_from(content.saturating_sub(self.window.made())).unwrap_or(usize::MAX);
        if kind < 2 && size > left {
            return Err(Error::Size);
        }
        let length = if kind == 1 { 1 } else { size };
        let Some(bytes) = rest.get(..length) else { return Ok(Step::NeedsInput) };
        match kind {
            0 => self.window.literals(bytes, 0, size),
            1 => self.window.fill(bytes.first().copied().unwrap_or(0), size),
            2 => {
                let sequences = self.literals.read(bytes, block_max)?;
                self.sequences.run(sequences, &self.literals, &mut self.window, block_max.min(left))?;
            }
            _ => return Err(Error::Data),
        }
        if is_last && self.header.content.is_some_and(|content| self.window.made() < content) {
            return Err(Error::Size);
        }
        if self.header.has_checksum {
            let Decoder { window, sum, .. } = self;
            window.pending().iter().for_each(|piece| sum.update(piece));
        }
        self.state = match (is_last, self.header.has_checksum) {
            (false, _) => State::Block,
            (true, true) => State::Checksum,
            (true, false) => State::Between,
        };
        Ok(Step::Used(3 + length))
    }
}

/// A frame's header behind its magic number (3.1.1.1), and its length.
fn header(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let Some(descriptor) = bytes.first() else { return Ok(None) };
    if descriptor & 8 != 0 {
        return Err(Error::Reserved);
    }
    let is_single = descriptor & 32 != 0;
    let window_bytes = usize::from(!is_single);
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_bytes = match descriptor >> 6 {
        0 => usize::from(is_single),
        log => 1 << log,
    };
    let size = 1 + window_bytes + dictionary_bytes + content_bytes;
    let Some(fields) = bytes.get(1..size) else { return Ok(None) };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let (window, fields) = fields.split_at(window_bytes);
    let (dictionary, content) = fields.split_at(dictionary_bytes);
    if number(dictionary) != 0 {
        return Err(Error::Dictionary);
    }
    let content = match content.len() {
        0 => None,
        2 => Some(number(content) + 256),
        _ => Some(number(content)),
    };
    let window = match (window, content) {
        (&[byte], _) => {
            let base = 1u64 << (10 + (byte >> 3));
            base + base / 8 * u64::from(byte & 7)
        }
        (_, content) => content.unwrap_or(0),
    };
    Ok(Some((Header { window, content, has_checksum: descriptor & 4 != 0 }, size)))
}
