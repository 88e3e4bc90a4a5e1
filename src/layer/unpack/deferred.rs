//! What is deferred until the archive's end, and the memory for it.

use crate::layer::unpack::error::{Reason, Step};
use crate::layer::unpack::lower_lookup::Query;
use crate::layer::unpack::queue::LayerQueue;
use crate::layer::unpack::resolve::ancestors;
use crate::pure::index::Index;
use std::cell::Cell;

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
    /// Where each path is in `items`.
    places: Index,
    items: Vec<DeferredPath>,
    /// Places of removed ones, for new ones.
    vacant: Vec<usize>,
    bytes: usize,
    reserved: usize,
}

impl Deferred {
    /// Memory that the layer's queue has granted, in bytes.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    pub fn get(&self, path: &[u8]) -> Option<&DeferredPath> {
        self.items.get(self.places.get(path)?)
    }

    pub fn get_mut(&mut self, path: &[u8]) -> Option<&mut DeferredPath> {
        self.items.get_mut(self.places.get(path)?)
    }

    /// What is deferred for `path` and those that sort behind it: parents sort before what they hold.
    pub fn from(&self, path: &[u8]) -> impl Iterator<Item = (&[u8], &DeferredPath)> {
        self.places.from(path).filter_map(|(path, place)| Some((path, self.items.get(place)?)))
    }

    /// What is deferred for `path`. A path that is new takes memory of the layer's `queue`.
    pub fn at(&mut self, path: &[u8], queue: &mut dyn LayerQueue) -> Step<&mut DeferredPath> {
        if self.places.get(path).is_none() {
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
            let place = self.vacant.pop().unwrap_or_else(|| {
                self.items.push(DeferredPath::default());
                self.items.len() - 1
            });
            self.places.insert(path, place);
        }
        self.get_mut(path).ok_or(Reason::Text("a path is lost"))
    }

    pub fn remove(&mut self, path: &[u8]) {
        if let Some(place) = self.places.remove(path) {
            self.bytes -= path.len() + OVERHEAD_BYTES;
            if let Some(item) = self.items.get_mut(place) {
                *item = DeferredPath::default();
            }
            self.vacant.push(place);
        }
    }

    /// Removes all that is in the directory `path`.
    pub fn remove_below(&mut self, path: &[u8]) {
        let start = [path, b"/"].concat();
        while let Some((inside, _)) = self.places.from(&start).next().filter(|(inside, _)| inside.starts_with(&start)) {
            let inside = inside.to_vec();
            self.remove(&inside);
        }
    }

    /// Whether a directory above `path` is opaque.
    pub fn is_in_opaque(&self, path: &[u8]) -> bool {
        ancestors(path).any(|dir| self.get(dir).is_some_and(|deferred| deferred.opaque))
    }

    /// A query of the layers below for each path that is to be finalized.
    pub fn queries(&self) -> Vec<Query<'_>> {
        let due = self.from(b"").filter(|(path, deferred)| deferred.is_due() && !path.is_empty());
        due.map(|(path, deferred)| Query::new(path, &deferred.lower)).collect()
    }

    /// The first path behind `last` that is to be finalized.
    pub fn due_after(&self, last: &[u8]) -> Option<Vec<u8>> {
        self.from(last).find(|(path, deferred)| *path != last && deferred.is_due()).map(|(path, _)| path.to_vec())
    }
}
