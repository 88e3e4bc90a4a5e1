//! The minimum rate of a body; a slower one is cancelled.

use crate::sys::machine;
use std::io::{self, Read};

/// A document must arrive within 30 s.
pub const DOCUMENT: Pace = Pace::new(30_000, u64::MAX);
/// A blob must bring 1 KiB/s, on average over a minute.
pub const BLOB: Pace = Pace::new(60_000, 60 << 10);

/// The bytes that a body must bring in each stretch of waiting time.
#[derive(Clone, Copy)]
pub struct Pace {
    stretch_ms: u64,
    floor_bytes: u64,
    waited_ms: u64,
    bytes: u64,
}

impl Pace {
    /// So many bytes in each stretch.
    pub const fn new(stretch_ms: u64, floor_bytes: u64) -> Pace {
        Pace { stretch_ms, floor_bytes, waited_ms: 0, bytes: 0 }
    }

    /// Counts `bytes` that took `waited_ms`; whether the body is fast enough.
    fn keeps(&mut self, waited_ms: u64, bytes: u64) -> bool {
        self.waited_ms += waited_ms;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited_ms < self.stretch_ms {
            return true;
        }
        let keeps = self.bytes >= self.floor_bytes;
        (self.waited_ms, self.bytes) = (0, 0);
        keeps
    }

    /// Reads `inner`, and fails if it is too slow. A server that sends a byte now and then never meets the limit for
    /// silence, and could hold up a boot for days. Only the time of the reads counts, not that of using the bytes.
    pub fn read(&mut self, inner: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
        let start_ms = machine::uptime_ms();
        let count = inner.read(buffer)?;
        let waited_ms = machine::uptime_ms().saturating_sub(start_ms);
        if count > 0 && !self.keeps(waited_ms, count as u64) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the body arrives too slowly"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: cut-documents
    #[test]
    fn a_body_of_a_byte_now_and_then_is_too_slow() {
        let mut blob = BLOB;
        // 2 KiB/s for an hour, then 0.5 KiB/s: the next full minute tells.
        assert!((0..3600).all(|_| blob.keeps(1000, 2048)));
        let mut seconds = (1..).skip_while(|_| blob.keeps(1000, 512));
        assert_eq!(seconds.next(), Some(60));
        let mut document = DOCUMENT;
        assert!(document.keeps(29_999, 1 << 20) && !document.keeps(1, 1 << 20));
    }
}
