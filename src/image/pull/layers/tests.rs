//! The order of layers' downloads, and what becomes of those that fail.
#![cfg(test)]

use super::*;
use crate::image::pull::workers::WORKERS_MAX;
use crate::image::source::BlobReader;
use crate::pure::digest::hash;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

const QUIET: Report = Report { sections: false, times: false, quiet: true, live: false };

/// Opens the blob of a digest.
type Open = dyn Fn(&Digest) -> BlobReader + Send + Sync;

#[derive(Clone)]
struct Fake(Arc<Open>);

impl Source for Fake {
    fn manifest(&mut self, _: Option<&Digest>) -> Result<Vec<u8>, Error> {
        Err(Error::refused("none"))
    }
    fn pinned_digest(&self) -> Option<Digest> {
        None
    }
    fn document(&mut self, _: &Descriptor) -> Result<Vec<u8>, Error> {
        Err(Error::refused("none"))
    }
    fn blob(&mut self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        Ok((self.0)(&descriptor.digest))
    }
    fn clone_box(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }
}

fn member(name: &str, kind: u8, link: &str, size: &[u8; 12]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..136].copy_from_slice(size);
    header[148..156].fill(b' ');
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

const EMPTY: &[u8; 12] = b"00000000000\0";

fn plan_of(number: u8, digest: Digest, size: u64) -> LayerPlan {
    let descriptor = Descriptor { digest, size, media_type: String::new() };
    let (object, chain) = (format!("layer {number}"), Digest([number; 32]));
    LayerPlan { descriptor, diff_id: digest, chain, object, cached: None }
}

fn directories(store: &std::path::Path) -> usize {
    let count = |name: &str| store.join(name).read_dir().unwrap().count();
    count("layers") + count("tmp/0")
}

/// A tar of one file that no disk has room for, and all its zeros.
struct Endless(Arc<AtomicU64>, Vec<u8>);

impl Endless {
    fn new(read: &Arc<AtomicU64>) -> Endless {
        // Base 256: 1 PiB.
        Endless(read.clone(), member("huge", b'0', "", b"\x80\0\0\0\0\x04\0\0\0\0\0\0"))
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = if self.1.is_empty() { buffer.len() } else { self.1.len().min(buffer.len()) };
        buffer[..count].fill(0);
        let header: Vec<u8> = self.1.drain(..count.min(self.1.len())).collect();
        buffer[..header.len()].copy_from_slice(&header);
        assert!(self.0.fetch_add(count as u64, Ordering::Relaxed) < 64 << 20, "the download goes on");
        Ok(count)
    }
}

#[test]
fn a_full_store_ends_the_download() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), false, &QUIET).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let blob = read.clone();
    let source = Fake(Arc::new(move |_| Box::new(Endless::new(&blob))));
    let error = fetch(&[plan_of(0, Digest([0; 32]), u64::MAX - 1)], &source, &store, false, &QUIET).unwrap_err();
    assert_eq!((error.object.as_str(), error.text.as_str()), ("layer 0", "huge: write: no space left on device"));
    assert!(!error.may_heal() && !error.is_unreachable() && read.load(Ordering::Relaxed) < 1 << 20);
    assert_eq!(directories(dir.path()), 0);
}

/// Gives nothing before `open` says so.
struct Gate(Arc<(Mutex<bool>, Condvar)>, Vec<u8>);

impl Read for Gate {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut open = self.0 .0.lock().unwrap();
        while !*open {
            open = self.0 .1.wait(open).unwrap();
        }
        let count = (&self.1[..]).read(buffer)?;
        self.1.drain(..count);
        Ok(count)
    }
}

/// Opens a gate when it has been read to its end.
struct Opens(Arc<(Mutex<bool>, Condvar)>, Vec<u8>);

impl Read for Opens {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&self.1[..]).read(buffer)?;
        self.1.drain(..count);
        if count == 0 {
            *self.0 .0.lock().unwrap() = true;
            self.0 .1.notify_all();
        }
        Ok(count)
    }
}

/// The lowest layer is received last, and those above need its file and its directory's attributes.
/// Promise: layers-side-by-side
#[test]
fn layers_wait_only_for_what_they_need_of_those_below() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), false, &QUIET).unwrap();
    let end = vec![0; 1024];
    let below = [member("d/", b'5', "", EMPTY), member("d/file", b'0', "", EMPTY), end.clone()].concat();
    let link = [member("link", b'1', "d/file", EMPTY), end.clone()].concat();
    let implied = [member("d/other", b'0', "", EMPTY), end].concat();
    let blobs = [below, link, implied].map(|blob| (hash(&blob), blob));
    let all: Vec<_> = (0..).zip(&blobs).map(|(n, (digest, blob))| plan_of(n, *digest, blob.len() as u64)).collect();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let source = Fake(Arc::new(move |digest| match blobs.iter().position(|(known, _)| known == digest).unwrap() {
        0 => Box::new(Gate(gate.clone(), blobs[0].1.clone())),
        // The link's own archive is read to its end while it waits.
        1 => Box::new(Opens(gate.clone(), blobs[1].1.clone())),
        n => Box::new(io::Cursor::new(blobs[n].1.clone())),
    }));
    let (layers, bytes) = fetch(&all, &source, &store, false, &QUIET).unwrap();
    let directories: Vec<_> = layers
        .iter()
        .map(|layer| match layer {
            Layer::Directory(directory) => directory,
            Layer::Blob(blob) => panic!("{} was kept", blob.display()),
        })
        .collect();
    assert_eq!(bytes, all.iter().map(|layer| layer.descriptor.size).sum::<u64>());
    assert!(directories[1].join("link").is_file() && directories[1].join("d/file").is_file());
    assert_eq!(directories[2].join("d").metadata().unwrap().permissions().mode() & 0o7777, 0o644);
}

/// A registry that sends nothing before all layers are asked for: those beyond the first few begin since
/// nothing comes.
/// Promise: connections
#[test]
fn a_slow_link_gets_more_connections() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), false, &QUIET).unwrap();
    let blob = |n: u8| [member(&["file", &n.to_string()].concat(), b'0', "", EMPTY), vec![0; 1024]].concat();
    let blobs: Vec<_> = (0..WORKERS_MAX as u8).map(blob).map(|blob| (hash(&blob), blob)).collect();
    let numbered = blobs.iter().zip(0..);
    let all: Vec<_> = numbered.map(|((digest, blob), number)| plan_of(number, *digest, blob.len() as u64)).collect();
    let opened = Arc::new((Mutex::new(0), Condvar::new()));
    let source = Fake(Arc::new(move |digest: &Digest| {
        let (count, changed) = &*opened;
        let mut count = count.lock().unwrap();
        *count += 1;
        changed.notify_all();
        let enough = |count: &mut usize| *count < WORKERS_MAX;
        let (count, waited) = changed.wait_timeout_while(count, Duration::from_secs(30), enough).unwrap();
        assert!(!waited.timed_out(), "only {count} layers were asked for");
        let (_, bytes): &(Digest, Vec<u8>) = blobs.iter().find(|(known, _)| known == digest).unwrap();
        Box::new(io::Cursor::new(bytes.clone()))
    }));
    assert_eq!(fetch(&all, &source, &store, false, &QUIET).unwrap().0.len(), WORKERS_MAX);
}

fn work<'a>(plans: &'a [LayerPlan], source: &'a dyn Source, store: &'a Store) -> Work<'a> {
    let state = State { read: plans.iter().map(|_| None).collect(), ..State::default() };
    let progress = Mutex::new(Progress::new(0, 0));
    Work {
        plans,
        source,
        store,
        own: false,
        report: &QUIET,
        progress,
        state: Mutex::new(state),
        changed: Condvar::new(),
    }
}

#[test]
fn a_layer_waits_for_room_until_it_is_the_lowest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), false, &QUIET).unwrap();
    let source = Fake(Arc::new(|_: &Digest| Box::new(io::empty()) as BlobReader));
    let work = work(&[], &source, &store);
    let mut slots: Vec<_> = (0..6).map(|index| LayerSlot { work: &work, index, held: 0 }).collect();
    assert!(slots[0].reserve(64 << 20));
    let mut last = slots.remove(5);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| last.reserve(4096) && work.lock().complete.layers.len() == 5);
        let mut state = work.lock();
        state.complete.layers = vec![Layer::Blob(PathBuf::new()); 5];
        work.changed.notify_all();
        drop(state);
        assert!(waiting.join().unwrap());
    });
    work.fail(Error::refused("x"));
    assert!(!slots[1].reserve(1), "nobody waits once somebody has failed");
}

/// Each has more whiteouts than its part of the room.
#[test]
fn layers_with_many_whiteouts_make_room_for_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), false, &QUIET).unwrap();
    let blob: Vec<u8> =
        (0..10_000).flat_map(|i| member(&format!(".wh.{}{i}", "x".repeat(80)), b'0', "", EMPTY)).collect();
    let digest = hash(&blob);
    let all: Vec<_> = (0..6).map(|n| plan_of(n, digest, blob.len() as u64)).collect();
    let source = Fake(Arc::new(|_: &Digest| Box::new(io::empty()) as BlobReader));
    let work = work(&all, &source, &store);
    let source = Fake(Arc::new(move |_| Box::new(io::Cursor::new(blob.clone()))));
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| work.run(0, &mut *source.clone_box())))));
    let state = work.lock();
    assert!(state.failed.is_none());
    assert_eq!((state.complete.layers.len(), &state.budget), (6, &MemoryBudget::default()));
}

/// Zeros behind an archive's end, which would go on for gigabytes.
struct Zeros(Arc<AtomicU64>);

impl Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(0);
        match self.0.fetch_add(buffer.len() as u64, Ordering::Relaxed) {
            0..=0xffff_ffff => Ok(buffer.len()),
            _ => Ok(0),
        }
    }
}

/// Promise: layers-side-by-side
#[test]
fn one_failure_ends_them_all_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), false, &QUIET).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let zeros = read.clone();
    let blob = vec![0; 1024];
    let all =
        [plan_of(0, Digest([0; 32]), u64::MAX - 1), plan_of(1, hash(b"other"), 1024), plan_of(2, hash(&blob), 1024)];
    let (good, endless) = (all[2].descriptor.digest, all[0].descriptor.digest);
    let source = Fake(Arc::new(move |digest| match digest {
        digest if *digest == endless => Box::new(Zeros(zeros.clone())),
        digest if *digest == good => Box::new(io::Cursor::new(blob.clone())),
        // Once the other one is on its way: what has another digest than it should.
        _ => {
            while zeros.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            Box::new(io::Cursor::new(blob.clone()))
        }
    }));
    let error = fetch(&all, &source, &store, false, &QUIET).unwrap_err();
    assert_eq!(error.object, "layer 1");
    assert!(error.text.starts_with("has the digest sha256:"), "{}", error.text);
    assert!(read.load(Ordering::Relaxed) < 0xffff_ffff, "the others go on");
    assert_eq!(directories(dir.path()), 0);
}
