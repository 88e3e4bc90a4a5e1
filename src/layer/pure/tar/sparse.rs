//! Sparse maps: where a file's data is; the rest of the file is holes.

use crate::layer::pure::tar::error::Error;
use crate::layer::pure::tar::field::{decimal, number};
use crate::layer::pure::tar::limits::MAX_SEGMENTS;

/// A stretch of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub at: u64,
    pub bytes: u64,
}

/// How a member's PAX records describe its holes.
#[derive(Default)]
pub enum Form {
    #[default]
    Dense,
    /// GNU 0.0 and 0.1: the records hold the map.
    Listed { real_size: u64, map: Map },
    /// GNU 1.0: the map opens the body.
    InBody { real_size: u64 },
}

/// Where the stored bytes of a sparse file belong.
#[derive(Default)]
pub struct Map {
    segments: Vec<Segment>,
    reader: Reader,
}

/// How far the text of a 1.0 map was read.
#[derive(Default)]
struct Reader {
    number: Option<u64>,
    /// Numbers to come, once the first line has said how many.
    expected: Option<u64>,
    offset: Option<u64>,
}

impl Map {
    pub fn new() -> Map {
        Map::default()
    }

    pub fn clear(&mut self) {
        self.segments.clear();
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub fn add(&mut self, at: u64, bytes: u64) -> Result<(), Error> {
        if self.segments.len() >= MAX_SEGMENTS {
            return Err(Error::Sparse);
        }
        self.segments.push(Segment { at, bytes });
        Ok(())
    }

    /// Old GNU: pairs of 12-byte numbers; the first empty one ends the list.
    pub fn add_old_fields(&mut self, fields: &[u8]) -> Result<(), Error> {
        for pair in fields.chunks_exact(24) {
            if pair[0] == 0 {
                break;
            }
            let (at, bytes) = (number(&pair[..12]), number(&pair[12..]));
            self.add(at.ok_or(Error::Sparse)?, bytes.ok_or(Error::Sparse)?)?;
        }
        Ok(())
    }

    /// GNU 0.1: `offset,bytes,offset,bytes...`
    pub fn add_list(&mut self, list: &[u8]) -> Result<(), Error> {
        let mut numbers = list.split(|b| *b == b',').map(|n| decimal(n).ok_or(Error::Sparse));
        while !list.is_empty() {
            let Some(at) = numbers.next() else { break };
            self.add(at?, numbers.next().ok_or(Error::Sparse)??)?;
        }
        Ok(())
    }

    /// GNU 1.0: one more block of lines, each a decimal number: how many
    /// segments, then offset and bytes of each. True when the map is complete;
    /// the rest of that block is padding.
    pub fn add_text(&mut self, block: &[u8]) -> Result<bool, Error> {
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let value = self.reader.number.unwrap_or(0).checked_mul(10);
                    let value = value.and_then(|n| n.checked_add(u64::from(byte - b'0')));
                    self.reader.number = Some(value.ok_or(Error::Sparse)?);
                }
                b'\n' => {
                    let value = self.reader.number.take().ok_or(Error::Sparse)?;
                    self.line(value)?;
                    if self.reader.expected == Some(0) {
                        return Ok(true);
                    }
                }
                _ => return Err(Error::Sparse),
            }
        }
        Ok(false)
    }

    fn line(&mut self, value: u64) -> Result<(), Error> {
        let Some(expected) = self.reader.expected else {
            if value > MAX_SEGMENTS as u64 {
                return Err(Error::Sparse);
            }
            self.reader.expected = Some(value * 2);
            return Ok(());
        };
        self.reader.expected = Some(expected.saturating_sub(1));
        match self.reader.offset.take() {
            None => self.reader.offset = Some(value),
            Some(at) => self.add(at, value)?,
        }
        Ok(())
    }

    /// The bytes of data in a map that is sorted, without overlaps, and ends
    /// within `real_size`.
    pub fn check(&self, real_size: u64) -> Result<u64, Error> {
        let (mut end, mut data) = (0u64, 0u64);
        for segment in &self.segments {
            if segment.at < end {
                return Err(Error::Sparse);
            }
            end = segment.at.checked_add(segment.bytes).filter(|end| *end <= real_size).ok_or(Error::Sparse)?;
            data += segment.bytes;
        }
        Ok(data)
    }
}
