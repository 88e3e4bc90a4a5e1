//! How many layers are read at a time.

use crate::kernel::meminfo;
use crate::sys::machine;

/// Layers at a time, at most: podman's number; more helps no link.
pub const WORKERS_MAX: usize = 6;
/// What a layer in the making takes, with room for TLS: 16 MiB of free memory
/// to each, of which it needs about one.
const WORKER_BYTES: u64 = 16 << 20;

/// Layers at a time where the link is slow.
pub fn most(missing: usize) -> usize {
    let room = meminfo::available_bytes().map_or(1, |bytes| bytes / WORKER_BYTES) as usize;
    missing.min(room).clamp(1, WORKERS_MAX)
}

/// Of them, those that begin at once. Each layer is read by one thread and
/// written by another, which keeps two processors busy: on two, three layers
/// at a time took 5 % longer than two, and four 9 %.
pub fn prompt() -> usize {
    machine::cores().max(2)
}
