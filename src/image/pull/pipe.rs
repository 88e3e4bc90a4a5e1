//! Carries raw bytes from the thread that inflates to the one that writes files. A few chunks are used in turn, so that
//! memory is bounded whichever side is faster.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of a chunk, small enough for a core's own cache beside the window of the decompressor.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks in use: one is filled, one is read, one waits.
const CHUNKS: usize = 3;
/// Chunks for which a waiting side is woken, since each wake-up costs two context switches.
const AT_ONCE: usize = 2;

/// Bytes to fill, then to read.
#[derive(Default)]
pub struct Chunk {
    pub room: Box<[u8]>,
    /// How many bytes of `room` are filled.
    pub len: usize,
}

impl Chunk {
    pub fn bytes(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }
}

/// The pipe; both ends share it.
pub struct Pipe {
    flow: Mutex<Flow>,
    changed: Condvar,
}

struct Flow {
    /// The oldest first.
    full: Vec<Chunk>,
    empty: Vec<Chunk>,
    /// The writer's result, when it has ended.
    end: Option<io::Result<()>>,
    /// The reader has stopped.
    left: bool,
    /// One side waits for the other.
    waits: bool,
}

impl Pipe {
    pub fn new() -> Pipe {
        let empty = || Chunk { room: vec![0; CHUNK_BYTES].into_boxed_slice(), len: 0 };
        let empty = (0..CHUNKS).map(|_| empty()).collect();
        let flow = Flow { full: Vec::with_capacity(CHUNKS), empty, end: None, left: false, waits: false };
        Pipe { flow: Mutex::new(flow), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, mut flow: MutexGuard<'a, Flow>) -> MutexGuard<'a, Flow> {
        flow.waits = true;
        self.changed.wait(flow).unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the other side if it waits and may go on.
    fn wake(&self, mut flow: MutexGuard<'_, Flow>, may_go_on: bool) {
        if may_go_on && std::mem::take(&mut flow.waits) {
            drop(flow);
            self.changed.notify_all();
        }
    }

    /// For the writer: a chunk to fill; none if the reader has stopped.
    pub fn empty(&self) -> Option<Chunk> {
        let mut flow = self.lock();
        while !flow.left {
            if let Some(chunk) = flow.empty.pop() {
                return Some(chunk);
            }
            flow = self.wait(flow);
        }
        None
    }

    /// For the writer: the next bytes, at least one.
    pub fn push(&self, chunk: Chunk) {
        let mut flow = self.lock();
        flow.full.push(chunk);
        let may_go_on = flow.full.len() >= AT_ONCE;
        self.wake(flow, may_go_on);
    }

    /// For the writer: there are no more chunks, because of the end or an error.
    pub fn end(&self, how: io::Result<()>) {
        let mut flow = self.lock();
        flow.end = Some(how);
        self.wake(flow, true);
    }

    /// For the reader: returns the `used` chunk (the first time an empty default) and takes the next one, which is
    /// empty at the end.
    pub fn next(&self, used: Chunk) -> io::Result<Chunk> {
        let mut flow = self.lock();
        if !used.room.is_empty() {
            flow.empty.push(used);
            let may_go_on = flow.empty.len() >= AT_ONCE;
            self.wake(flow, may_go_on);
            flow = self.lock();
        }
        loop {
            if !flow.full.is_empty() {
                return Ok(flow.full.remove(0));
            }
            if let Some(how) = &mut flow.end {
                return std::mem::replace(how, Ok(())).map(|()| Chunk::default());
            }
            flow = self.wait(flow);
        }
    }

    /// For the reader: stops the writer.
    pub fn leave(&self) {
        let mut flow = self.lock();
        flow.left = true;
        self.wake(flow, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_bounded() {
        let pipe = Pipe::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..1000u32 {
                    let mut chunk = pipe.empty().unwrap();
                    assert_eq!(chunk.room.len(), CHUNK_BYTES);
                    chunk.room[..4].copy_from_slice(&n.to_le_bytes());
                    chunk.len = 4;
                    pipe.push(chunk);
                }
                pipe.end(Err(io::Error::other("over")));
            });
            let mut used = Chunk::default();
            for n in 0..1000u32 {
                used = pipe.next(used).unwrap();
                assert_eq!(used.bytes(), n.to_le_bytes());
            }
            assert_eq!(pipe.next(used).err().unwrap().to_string(), "over");
            assert!(pipe.next(Chunk::default()).unwrap().bytes().is_empty());
        });
    }

    #[test]
    fn a_reader_that_leaves_ends_the_writer() {
        let pipe = Pipe::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| std::iter::from_fn(|| pipe.empty().map(|chunk| pipe.push(chunk))).count());
            pipe.leave();
            assert!(writer.join().unwrap() <= CHUNKS);
        });
    }
}
