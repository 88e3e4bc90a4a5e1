//! What is deferred until the archive's end, and the memory for it.

use crate::layer::unpack::error::{Reason, Step};
use crate::layer::unpack::lower_lookup::Query;
use crate::layer::unpack::queue::LayerQueue;
use crate::layer::unpack::resolve::ancestors;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What one layer may defer: enough for 250 000 directories.
pub const MAX_DEFERRED_BYTES: usize = 64 << 20;
/// What one path takes beside its bytes, with its part of the lookup in the layers below.
const OVERHEAD_BYTES: usize = 200;
/// Memory is reserved in steps of this size. They are small, since hundreds of layers of few directories may wait.
const STEP_BYTES: usize = 4 << 10;

/// What a path is to get when the archive has ended.
#[derive(Default)]
pub struct DeferredPath {
    /// A directory's time: making names in it would change it.
    pub time: Option<(i64, u32)>,
    /// The directory hides what the layers below have in it.
    pub opaque: bool,
    /// The name hides what the layers below have there.
    pub whiteout: bool,
    /// A file of a lower layer, copied up for a hardlink.
    pub copied: bool,
    /// A directory that no entry describes: it gets the attributes that it has in the layers below, unless this layer
    /// hides it there.
    pub implied: bool,
    /// Only time and opaque mark are still to be set.
    pub finalized: bool,
    /// The topmost lower layer that shows the path, counted from 1; 0 for none.
    pub lower: Cell<u16>,
}

impl DeferredPath {
    fn is_due(&self) -> bool {
        !self.finalized && (self.opaque || self.whiteout || self.implied)
    }
}

/// All that is deferred, by path.
#[derive(Default)]
pub struct Deferred {
    pub map: BTreeMap<Vec<u8>, DeferredPath>,
    bytes: usize,
    reserved: usize,
}

impl Deferred {
    /// Memory that the layer's queue has granted, in bytes.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    pub fn get(&self, path: &[u8]) -> Option<&DeferredPath> {
        self.map.get(path)
    }

    /// What is deferred for `path`. A path that is new takes memory of the layer's `queue`.
    pub fn at(&mut self, path: Vec<u8>, queue: &mut dyn LayerQueue) -> Step<&mut DeferredPath> {
        if !self.map.contains_key(&path) {
            let bytes = self.bytes + path.len() + OVERHEAD_BYTES;
            if bytes > MAX_DEFERRED_BYTES {
                return Err(Reason::Text("too many directories and whiteouts"));
            }
            if bytes > self.reserved {
                let reserved = bytes.next_multiple_of(STEP_BYTES);
                if !queue.reserve(reserved) {
                    return Err(Reason::Text("another layer failed"));
                }
                self.reserved = reserved;
            }
            self.bytes = bytes;
        }
        Ok(self.map.entry(path).or_default())
    }

    pub fn remove(&mut self, path: &[u8]) {
        if self.map.remove(path).is_some() {
            self.bytes -= path.len() + OVERHEAD_BYTES;
        }
    }

    /// Whether a directory above `path` is opaque.
    pub fn is_in_opaque(&self, path: &[u8]) -> bool {
        ancestors(path).any(|dir| self.get(dir).is_some_and(|deferred| deferred.opaque))
    }

    /// A query of the layers below for each path that is to be finalized.
    pub fn queries(&self) -> Vec<Query<'_>> {
        let due = self.map.iter().filter(|(path, deferred)| deferred.is_due() && !path.is_empty());
        due.map(|(path, deferred)| Query::new(path, &deferred.lower)).collect()
    }

    /// The first path behind `last` that is to be finalized: parents sort before what they hold.
    pub fn due_after(&self, last: &[u8]) -> Option<Vec<u8>> {
        let behind = self.map.range::<[u8], _>((Bound::Excluded(last), Bound::Unbounded));
        behind.filter(|(_, deferred)| deferred.is_due()).map(|(path, _)| path.clone()).next()
    }
}
