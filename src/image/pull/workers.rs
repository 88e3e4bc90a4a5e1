//! How many layers are fetched at a time.

use crate::kernel::meminfo;
use crate::sys::machine;

/// The most layers at a time: podman's number. More of them speed up no link.
pub const WORKERS_MAX: usize = 6;
/// Free memory that each worker must find, TLS included. It needs about 1 MiB of it.
const WORKER_BYTES: u64 = 16 << 20;

/// How many workers fetch `missing` layers from a slow link.
pub fn most(missing: usize) -> usize {
    let room = meminfo::available_bytes().map_or(1, |bytes| bytes / WORKER_BYTES) as usize;
    missing.min(room).clamp(1, WORKERS_MAX)
}

/// How many workers begin at once; the others wait for a slow link. Each layer is read by one thread and written by
/// another, which keeps two processors busy: on two, three layers at a time took 5 % longer than two, and four 9 %.
pub fn prompt() -> usize {
    machine::cores().max(2)
}
