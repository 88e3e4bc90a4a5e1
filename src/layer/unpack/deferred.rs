//! What must wait for the archive's end, and the memory for it.

use crate::layer::unpack::lower_lookup::Sought;
use crate::layer::unpack::resolve::ancestors;
use crate::layer::unpack::{Beside, Reason, Step};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What may wait for the archive's end: enough for 250 000 directories.
pub const MAX_LATE_BYTES: usize = 64 << 20;
/// What one waiting thing takes beside its path, with its part of the survey.
const OVERHEAD_BYTES: usize = 200;
/// Room is asked for in steps of this size: a layer of few directories, of
/// which hundreds may wait, is to hold no more than it needs.
const ROOM_BYTES: usize = 4 << 10;

/// What a path is to get when the archive has ended.
#[derive(Default)]
pub struct Late {
    /// A directory's time: making names in it would change it.
    pub time: Option<(i64, u32)>,
    /// A directory that hides those below it.
    pub opaque: bool,
    /// The layers below lose this name.
    pub whiteout: bool,
    /// A file of a lower layer, copied up for a hardlink.
    pub copied: bool,
    /// A directory that no entry describes: it looks as it does below, unless
    /// this layer hides what is there.
    pub implied: bool,
    /// Nothing above is left to be done but time and opaque mark.
    pub settled: bool,
    /// The layer below that shows the path, counted from 1, the topmost; 0 for none.
    pub below: Cell<u16>,
}

impl Late {
    fn is_due(&self) -> bool {
        !self.settled && (self.opaque || self.whiteout || self.implied)
    }
}

/// All that waits, by path.
#[derive(Default)]
pub struct Lates {
    pub map: BTreeMap<Vec<u8>, Late>,
    bytes: usize,
    /// What was asked for, and granted.
    room: usize,
}

impl Lates {
    /// Memory that was granted, in bytes.
    pub fn room(&self) -> usize {
        self.room
    }

    pub fn get(&self, path: &[u8]) -> Option<&Late> {
        self.map.get(path)
    }

    /// What waits for `path`; where nothing does, there must be room for it.
    pub fn at(&mut self, path: Vec<u8>, beside: &mut dyn Beside) -> Step<&mut Late> {
        if !self.map.contains_key(&path) {
            let bytes = self.bytes + path.len() + OVERHEAD_BYTES;
            if bytes > MAX_LATE_BYTES {
                return Err(Reason::Text("too many directories and whiteouts"));
            }
            if bytes > self.room {
                let room = bytes.next_multiple_of(ROOM_BYTES);
                if !beside.room(room) {
                    return Err(Reason::Text("another layer failed"));
                }
                self.room = room;
            }
            self.bytes = bytes;
        }
        Ok(self.map.entry(path).or_default())
    }

    pub fn forget(&mut self, path: &[u8]) {
        if self.map.remove(path).is_some() {
            self.bytes -= path.len() + OVERHEAD_BYTES;
        }
    }

    /// Whether a directory above `path` is opaque.
    pub fn is_in_opaque(&self, path: &[u8]) -> bool {
        ancestors(path).any(|dir| self.get(dir).is_some_and(|late| late.opaque))
    }

    /// The marks that are to be settled, as the layers below are asked for them.
    pub fn due(&self) -> Vec<Sought<'_>> {
        let due = self.map.iter().filter(|(path, late)| late.is_due() && !path.is_empty());
        due.map(|(path, late)| Sought::new(path, &late.below)).collect()
    }

    /// The first of them behind the path `last`: parents sort before what they hold.
    pub fn due_after(&self, last: &[u8]) -> Option<Vec<u8>> {
        let behind = self.map.range::<[u8], _>((Bound::Excluded(last), Bound::Unbounded));
        behind.filter(|(_, late)| late.is_due()).map(|(path, _)| path.clone()).next()
    }
}
