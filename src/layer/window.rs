//! How large the window of a layer's zstd frame may be.

use crate::kernel::meminfo;
use std::io::{self, ErrorKind};

/// The largest window: the default limit of zstd's decoder, and on a small machine the default of tools that compress
/// images.
const WINDOW_MAX: u64 = 128 << 20;
const SMALL_WINDOW_MAX: u64 = 8 << 20;
const SMALL_MACHINE_BYTES: u64 = 256_000_000;

/// Refuses a zstd frame's window that is too large for this machine.
pub fn check_window(bytes: u64) -> io::Result<()> {
    let small = meminfo::total_bytes().is_some_and(|total| total < SMALL_MACHINE_BYTES);
    let max = if small { SMALL_WINDOW_MAX } else { WINDOW_MAX };
    if bytes > max {
        let [bytes, max] = [bytes.div_ceil(1 << 20), max >> 20].map(|mib| mib.to_string());
        let text = ["zstd: needs a window of ", &bytes, " MiB; ", &max, " MiB is the limit here"].concat();
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    Ok(())
}
