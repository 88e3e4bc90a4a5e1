//! All that our decoder makes of a stream.

use ocinit::inflate::Inflate;
use std::io::Read;

const WINDOW_MAX: u64 = 8 << 20;

/// Reads of at most `step` bytes.
struct Short<'a>(&'a [u8], usize);

impl Read for Short<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = buffer.len().min(self.1.max(1));
        self.0.read(&mut buffer[..n])
    }
}

/// The raw bytes, or why there are none. The source is read to its end.
pub fn whole(stream: &[u8], step: usize) -> Result<Vec<u8>, String> {
    let (mut source, mut raw) = (Short(stream, step), Vec::new());
    // As a pull bounds it: a header may ask for terabytes.
    let mut reserve = |bytes| if bytes > WINDOW_MAX { Err(std::io::Error::other("too large")) } else { Ok(()) };
    let result = Inflate::new(&mut source, &mut reserve).read_to_end(&mut raw);
    result.map_err(|error| error.to_string())?;
    assert!(source.0.is_empty(), "left {} bytes unread", source.0.len());
    Ok(raw)
}
