//! Fetches the layers of an image in parallel. Workers take the layers from the lowest up. What depends on the layers
//! below is deferred until those are complete; the worker that completes the next layer finalizes it.

use crate::disk::pure::superblock;
use crate::image::pull::retry::retry;
use crate::image::pull::stream::{self, Blob, Target};
use crate::image::pull::{trust, workers};
use crate::image::pure::memory_budget::MemoryBudget;
use crate::image::pure::oci::Descriptor;
use crate::image::pure::progress::{size, Progress};
use crate::image::source::{Error, Kind, Source};
use crate::layer::packed::{self, Layer, Stack};
use crate::layer::unpack::{LayerQueue, Lower, PendingLayer};
use crate::layer::window;
use crate::pure::digest::Digest;
use crate::report::Report;
use crate::store::layers::Store;
use crate::sys::{machine, thread};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a waiting worker checks the speed of the link.
const POLL: Duration = Duration::from_millis(50);

/// A layer of the image, and whether it must be fetched.
pub struct LayerPlan {
    pub descriptor: Descriptor,
    pub diff_id: Digest,
    /// The chain ID, its name in the store.
    pub chain: Digest,
    /// Its name in messages: `layer 4/5 sha256:77aa...`.
    pub object: String,
    /// The layer, if the store has it.
    pub cached: Option<Layer>,
}

/// Brings the missing layers of `plans` (lowest first) into the store. Returns all layers, and the number of bytes that
/// were fetched. `own`: layers are unpacked for this process alone, from kept blobs where there are some.
pub fn fetch(
    plans: &[LayerPlan],
    source: &dyn Source,
    store: &Store,
    own: bool,
    report: &Report,
) -> Result<(Vec<Layer>, u64), Error> {
    let missing = || plans.iter().filter(|layer| layer.cached.is_none());
    let total = missing().fold(0, |sum: u64, layer| sum.saturating_add(layer.descriptor.size));
    let progress = Mutex::new(Progress::new(total, machine::uptime_ms()));
    let state = State { read: plans.iter().map(|_| None).collect(), ..State::default() };
    let work = Work { plans, source, store, own, report, progress, state: Mutex::new(state), changed: Condvar::new() };
    work.finalize();
    let mut sources: Vec<_> = (0..workers::most(missing().count())).map(|_| source.clone_box()).collect();
    let shared = &work;
    let workers = sources.iter_mut().enumerate();
    let mut workers: Vec<_> = workers.map(|(number, source)| move || shared.run(number, &mut **source)).collect();
    let mut workers: Vec<_> = workers.iter_mut().map(|worker| worker as &mut (dyn FnMut() + Send)).collect();
    if let Some((own, others)) = workers.split_first_mut() {
        // If threads cannot be started, this one fetches all layers.
        if thread::beside(others, own).is_err() {
            own();
        }
    }
    report.end_progress();
    let Work { state, progress, .. } = work;
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    for made in state.read.iter().flatten() {
        made.abandon(store);
    }
    match state.failed {
        Some(error) => Err(error),
        None => Ok((state.complete.layers, progress.into_inner().unwrap_or_else(PoisonError::into_inner).done())),
    }
}

struct Work<'a> {
    plans: &'a [LayerPlan],
    source: &'a dyn Source,
    store: &'a Store,
    own: bool,
    report: &'a Report,
    progress: Mutex<Progress>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The lowest layer that no worker has taken.
    next: usize,
    /// The complete layers, from the lowest up without a gap.
    complete: Stack,
    /// Layers that were read and wait for those below, by index.
    read: Vec<Option<Made>>,
    budget: MemoryBudget,
    /// A worker is finalizing the next layer.
    finalizing: bool,
    failed: Option<Error>,
}

/// A layer that was read.
enum Made {
    /// Unpacked into a directory, except for what depends on the layers below.
    Directory(PathBuf, PendingLayer),
    /// A filesystem image, stored as it was fetched.
    Blob(Layer),
}

impl Made {
    fn abandon(&self, store: &Store) {
        if let Made::Directory(directory, _) = self {
            store.abandon(directory);
        }
    }
}

impl Work<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs worker `number`: takes layers until none is left or one has failed.
    fn run(&self, number: usize, source: &mut dyn Source) {
        if number >= workers::prompt() {
            self.wait_for_a_slow_link();
        }
        while let Some((index, layer)) = self.take() {
            match self.read(index, layer, source) {
                Ok(made) => self.put(index, made),
                Err(error) => self.fail(error.of(&layer.object)),
            }
            self.finalize();
        }
    }

    /// Returns when the link is slow, where more connections help; on a fast link they only cost processor time.
    fn wait_for_a_slow_link(&self) {
        let mut state = self.lock();
        while state.failed.is_none() && self.untaken(&state).is_some() && !self.progress().is_slow(machine::uptime_ms())
        {
            let woken = self.changed.wait_timeout(state, POLL);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The lowest layer that must be fetched and that no worker has taken.
    fn untaken(&self, state: &State) -> Option<(usize, &LayerPlan)> {
        self.plans.iter().enumerate().skip(state.next).find(|(_, layer)| layer.cached.is_none())
    }

    fn take(&self) -> Option<(usize, &LayerPlan)> {
        let mut state = self.lock();
        // If too much is deferred, no layer is taken until some of it is finalized.
        while state.failed.is_none() && !state.budget.has_room() {
            state = self.wait(state);
        }
        if state.failed.is_some() {
            return None;
        }
        let found = self.untaken(&state)?;
        state.next = found.0 + 1;
        Some(found)
    }

    /// Fetches a layer into a directory or file of its own, with retries.
    fn read(&self, index: usize, layer: &LayerPlan, source: &mut dyn Source) -> Result<Made, Error> {
        let start_ms = machine::uptime_ms();
        let made = retry(self.report, &layer.object, &mut || self.try_read(index, layer, source))?;
        let took_ms = machine::uptime_ms() - start_ms;
        let bytes = size(layer.descriptor.size);
        self.report.line("pull", format_args!("{}: {bytes} in {took_ms} ms", layer.object));
        Ok(made)
    }

    fn try_read(&self, index: usize, layer: &LayerPlan, source: &mut dyn Source) -> Result<Made, Error> {
        let received = AtomicU64::new(0);
        let kept = self.store.compressed(&layer.descriptor.digest).filter(|_| self.own);
        let is_kept = kept.is_some();
        let tick = |bytes| {
            if is_kept {
                return self.lock().failed.is_none();
            }
            received.fetch_add(bytes, Ordering::Relaxed);
            self.received(bytes)
        };
        let (size, digest) = (layer.descriptor.size, layer.descriptor.digest);
        let body = || source.blob(&layer.descriptor);
        let mut blob =
            Blob::new(trust::body(kept, self.own, body, &digest, self.store)?, Some(size), Some(digest), &tick);
        let made = match packed::start_of(&mut blob) {
            Err(_) => Err(blob.arrived().err().unwrap_or_else(|| Error::temporary("no data"))),
            Ok(start) => match superblock::layer_form(&layer.descriptor.media_type, &start) {
                Ok(None) => self.unpack(index, layer, &mut blob, &start),
                // As stacker writes it: a layer without further compression is its own diff ID.
                Ok(Some(_)) if layer.descriptor.digest != layer.diff_id => {
                    Err(Error::refused("its digest is not its diff ID"))
                }
                Ok(Some(_)) => self.keep(layer, &mut blob, &start),
                // A damaged blob may look like another media type, so damage is reported first.
                Err(why) => blob.arrived().and(Err(Error::refused(why))),
            },
        };
        if self.own {
            trust::keep_or_drop(is_kept, made.is_ok(), &digest, self.store);
        }
        made.map_err(|mut error| {
            self.progress().take_back(received.into_inner());
            // If another layer has failed, that one was cancelled and is not retried.
            let retry = (error.may_heal() || is_kept) && self.lock().failed.is_none();
            if !retry {
                return error.last();
            }
            if !error.may_heal() {
                error.kind = Kind::Damaged;
            }
            error
        })
    }

    fn unpack(&self, index: usize, layer: &LayerPlan, blob: &mut Blob<'_>, start: &[u8]) -> Result<Made, Error> {
        let directory = self.store.begin_layer(&layer.chain).map_err(Error::local)?;
        let mut warn = |text: &str| self.report.warn("pull", format_args!("{}: {text}", layer.object));
        let mut held = 0;
        let mut reserve = |bytes| self.reserve(index, &mut held, bytes);
        let mut slot = LayerSlot { work: self, index, held: 0 };
        let read = File::open(&directory).map_err(Error::local).and_then(|open| {
            let (diff_id, directory) = (Some(&layer.diff_id), open.into());
            let target = Target { directory, diff_id, reserve: &mut reserve, queue: &mut slot, warn: &mut warn };
            stream::unpack(blob, start, target)
        });
        let mut state = self.lock();
        state.budget.free_window(held);
        if read.is_err() {
            // A layer that was read keeps its part of the budget until it is finalized.
            state.budget.free_deferred(slot.held);
        }
        drop(state);
        self.changed.notify_all();
        match read {
            Ok(pending) => Ok(Made::Directory(directory, pending)),
            Err(error) => {
                self.store.abandon(&directory);
                Err(error)
            }
        }
    }

    fn keep(&self, layer: &LayerPlan, blob: &mut Blob<'_>, start: &[u8]) -> Result<Made, Error> {
        // Named by its chain ID, since an image may have the same blob twice.
        let made = self.store.begin_layer(&layer.chain).map_err(Error::local)?;
        let written = File::create(made.join(packed::BLOB)).map_err(Error::local);
        let written = written.and_then(|mut file| stream::keep(blob, start, &mut file));
        let digest = &layer.descriptor.digest;
        let commit = || trust::commit_blob(self.own, &made, digest, self.store, self.report);
        let complete = written.and_then(|()| commit());
        if complete.is_err() {
            self.store.abandon(&made);
        }
        complete.map(Made::Blob)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `bytes` more that were received; false if a worker has failed.
    fn received(&self, bytes: u64) -> bool {
        let message = self.progress().add(machine::uptime_ms(), bytes);
        if let Some(message) = message {
            self.report.progress("pull", &message);
        }
        self.lock().failed.is_none()
    }

    /// Reserves memory for a zstd window of a layer that holds `held` bytes. Waits until other layers free theirs, but
    /// never if all layers below are complete.
    fn reserve(&self, index: usize, held: &mut u64, bytes: u64) -> io::Result<()> {
        window::check_window(bytes)?;
        let mut state = self.lock();
        loop {
            let is_lowest = state.is_lowest(index);
            if state.failed.is_some() || state.budget.resize_window(held, bytes, is_lowest) {
                return Ok(());
            }
            state = self.wait(state);
        }
    }

    /// Waits until the layers below are complete, and returns them, topmost first.
    fn below(&self, index: usize) -> Option<Vec<Lower>> {
        let mut state = self.lock();
        while state.failed.is_none() && !state.is_lowest(index) {
            state = self.wait(state);
        }
        state.lowers(self)
    }

    fn put(&self, index: usize, made: Made) {
        if let Some(slot) = self.lock().read.get_mut(index) {
            *slot = Some(made);
        }
    }

    /// Records a failure and cancels the other workers. Only the first one is reported: later ones are its consequence.
    fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        self.changed.notify_all();
        self.source.cancel();
    }

    /// Completes layers from the lowest up as far as they were read. One worker does that at a time; the others leave
    /// it to that one.
    fn finalize(&self) {
        let mut state = self.lock();
        if state.finalizing {
            return;
        }
        state.finalizing = true;
        while let Some(layer) = self.plans.get(state.complete.layers.len()).filter(|_| state.failed.is_none()) {
            let index = state.complete.layers.len();
            let complete = match (&layer.cached, state.read.get_mut(index).and_then(Option::take)) {
                (Some(cached), _) => cached.clone(),
                (None, Some(Made::Blob(blob))) => blob,
                (None, Some(Made::Directory(made, pending))) => {
                    let (lowers, bytes) = (state.lowers(self), pending.bytes());
                    drop(state);
                    let complete = lowers.map(|lowers| self.complete(layer, &made, pending, lowers));
                    state = self.lock();
                    state.budget.free_deferred(bytes);
                    match complete {
                        Some(Ok(complete)) => complete,
                        failed => {
                            self.store.abandon(&made);
                            failed.and_then(Result::err).map(|error| state.failed.get_or_insert(error));
                            break;
                        }
                    }
                }
                (None, None) => break,
            };
            state.complete.layers.push(complete);
            self.changed.notify_all();
        }
        state.finalizing = false;
        self.changed.notify_all();
    }

    fn complete(
        &self,
        layer: &LayerPlan,
        made: &Path,
        pending: PendingLayer,
        lowers: Vec<Lower>,
    ) -> Result<Layer, Error> {
        let directory = File::open(made).map_err(Error::local);
        let finalized = directory.and_then(|directory| Ok(pending.finalize(directory.into(), lowers)?));
        let commit = || trust::commit_layer(self.own, made, &layer.chain, self.store);
        let complete = finalized.and_then(|()| commit().map_err(Error::local));
        complete.map_err(|error| error.of(&layer.object))
    }
}

/// A layer that is being read, as the unpacker sees the others of the pull.
struct LayerSlot<'w> {
    work: &'w Work<'w>,
    index: usize,
    /// Bytes of the budget that its deferred entries take.
    held: usize,
}

impl LayerQueue for LayerSlot<'_> {
    fn lowers(&mut self) -> Option<Vec<Lower>> {
        self.work.below(self.index)
    }

    fn reserve(&mut self, bytes: usize) -> bool {
        let mut state = self.work.lock();
        while state.failed.is_none() {
            let is_lowest = state.is_lowest(self.index);
            if state.budget.resize_deferred(&mut self.held, bytes, is_lowest) {
                return true;
            }
            state = self.work.wait(state);
        }
        false
    }
}

impl State {
    /// Whether all layers below the one at `index` are complete.
    fn is_lowest(&self, index: usize) -> bool {
        self.complete.layers.len() >= index
    }

    /// The roots of the complete layers, topmost first; none if a worker has failed.
    fn lowers(&mut self, work: &Work<'_>) -> Option<Vec<Lower>> {
        if self.failed.is_some() {
            return None;
        }
        match self.complete.open(work.store.scratch(), work.report) {
            Ok(roots) => Some(roots.iter().rev().cloned().collect()),
            Err(error) => {
                self.failed = Some(error.into());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
