//! Many processes use one store and are killed at random moments; what is left is compared with a model: nothing half
//! done.
//! `STARTS=20000` starts more of them, `SEED=…` others, `OCINIT=…` another build; the seed stands in the output.

use super::store::tree;
use super::{images, Ended, Host};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Processes at a time.
const AT_ONCE: usize = 4;
/// Starts in one store; then it is looked at, and another one begins with an empty directory.
const STARTS_A_STORE: u64 = 50;
/// One in so many is killed.
const KILLED: u64 = 2;
/// What a directory of a store may hold while no process uses it.
const NAMES: [&str; 10] =
    ["blobs", "compressed", "configs", "containers", "empty", "images", "layers", "ocinit-store", "tmp", "volumes"];
const VOLUMES: u64 = 3;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn ocinit() -> Command {
    Command::new(std::env::var("OCINIT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ocinit").into()))
}

/// Waits so long for the end of `child`; false where it is still there then.
fn ends_within(child: &Child, limit: Duration) -> bool {
    // SAFETY: takes numbers; a fresh descriptor that nobody else has.
    let pid = unsafe { OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, child.id(), 0) as i32) };
    let mut poll = libc::pollfd { fd: pid.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit =
        libc::timespec { tv_sec: limit.as_secs() as libc::time_t, tv_nsec: libc::c_long::from(limit.subsec_nanos()) };
    // SAFETY: one structure, and one time; both live through the call.
    unsafe { libc::ppoll(&mut poll, 1, &limit, std::ptr::null()) > 0 }
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits for the ends of all that have claimed a directory of the store. The child of a command that was killed dies a
/// little later, and closes the command's output before it closes the lock: on a busy host it may still have that.
fn wait_for_holders(store: &Path) {
    for dir in ["tmp", "containers"].map(|part| store.join(part)) {
        for name in names(&dir) {
            // Another command may have removed it.
            let Ok(claimed) = std::fs::File::open(dir.join(name)) else { continue };
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::flock(claimed.as_raw_fd(), libc::LOCK_EX) }, 0);
        }
    }
}

/// What parts of a whole store hold, by their names.
type Whole = BTreeMap<String, BTreeMap<PathBuf, String>>;

fn whole(store: &Path) -> Whole {
    let parts = ["layers", "configs", "images", "volumes"];
    let of = |part: &'static str| {
        names(&store.join(part)).into_iter().map(move |name| (format!("{part}/{name}"), store.join(part).join(name)))
    };
    parts.into_iter().flat_map(of).map(|(name, path)| (name, tree(&path))).collect()
}

fn warnings(ended: &Ended) -> BTreeSet<String> {
    ended.err.lines().filter(|line| line.contains("WARN")).map(String::from).collect()
}

struct Crowd<'a> {
    host: &'a Host,
    images: Vec<String>,
    /// The warnings of this host, which are not about the store.
    usual: BTreeSet<String>,
    /// About how long a start takes that nobody ends.
    usual_us: AtomicU64,
    wrong: Mutex<Vec<String>>,
    killed: AtomicU64,
}

impl Crowd<'_> {
    fn command(&self, store: &Path, random: &mut Random) -> Command {
        let image = self.images[random.below(self.images.len() as u64) as usize].clone();
        let volume = format!("--volume=v{}:/data", random.below(VOLUMES));
        let words: Vec<&str> = match random.below(4) {
            0 => vec!["pull", &image],
            1 => vec!["pull", "--sync=false", &image],
            2 => vec!["run", "--sync=false", &volume, &image, "exit", "0"],
            _ => vec!["run", &image, "exit", "0"],
        };
        let mut command = ocinit();
        command.arg(words[0]).arg("--store").arg(store).args(&words[1..]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// One command, to its end or to some moment before.
    fn start(&self, store: &Path, random: &mut Random) {
        let mut command = self.command(store, random);
        let moment = random.below(self.usual_us.load(Ordering::Relaxed));
        let is_killed = random.below(KILLED) == 0;
        let mut child = command.spawn().unwrap();
        let start = Instant::now();
        if is_killed && !ends_within(&child, Duration::from_micros(moment)) {
            child.kill().unwrap();
            self.killed.fetch_add(1, Ordering::Relaxed);
            child.wait_with_output().unwrap();
            return;
        }
        let ended = Ended::new(&child.wait_with_output().unwrap());
        if !is_killed {
            let took_us = start.elapsed().as_micros() as u64;
            self.usual_us.store((self.usual_us.load(Ordering::Relaxed) * 7 + took_us) / 8, Ordering::Relaxed);
        }
        if ended.code != 0 || !warnings(&ended).is_subset(&self.usual) {
            self.wrong.lock().unwrap().push(format!("{command:?}: {}\n{}", ended.code, ended.err));
        }
    }

    /// A store that is begun, used and looked at.
    fn round(&self, store: &Path, seed: u64, starts: u64, model: &Whole) {
        let left = AtomicU64::new(starts);
        let less = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        std::thread::scope(|scope| {
            for hand in 0..AT_ONCE as u64 {
                let mut random = Random(seed ^ (hand << 56));
                scope.spawn(move || {
                    while less() {
                        self.start(store, &mut random)
                    }
                });
            }
        });
        wait_for_holders(store);
        // Removes what the last ones have left.
        let mut last = ocinit();
        last.args(["run", "--store"]).arg(store).args([&self.images[0], "exit", "0"]);
        let ended = Ended::new(&last.output().unwrap());
        assert!(ended.code == 0 && warnings(&ended).is_subset(&self.usual), "after all others: {}", ended.err);
        assert_eq!(names(store), NAMES);
        let in_use = ["tmp", "containers", "empty/0", "empty/1"].map(|part| names(&store.join(part)));
        assert_eq!(in_use, [const { Vec::<String>::new() }; 4]);
        for (name, content) in whole(store) {
            assert_eq!(Some(&content), model.get(&name), "{name}");
        }
        assert_eq!(self.host.mounts(), Vec::<String>::new());
        assert_eq!(self.wrong.lock().unwrap().join("\n"), "");
    }
}

/// Promise: shared-store
#[test]
fn killed_at_any_moment_nothing_half_done_is_left() {
    let Some(host) = Host::new("crowd") else { return };
    let (starts, seed) = (number("STARTS", 300), number("SEED", 1));
    let marked = |text: &str| (text.to_string(), images::marked(&host.payload, text));
    let all = [("payload".into(), images::payload(&host.payload)), marked("one"), marked("two")];
    let images: Vec<String> = all.into_iter().map(|(name, image)| host.layout(&name, image)).collect();
    // The model: what each command leaves that comes to its end, alone.
    let mut usual = BTreeSet::new();
    for (number, image) in (0..VOLUMES).zip(&images) {
        let volume = format!("--volume=v{number}:/data");
        let ended = host.ocinit(&["run", &volume, image, "exit", "0"]);
        assert_eq!(ended.code, 0);
        usual.extend(warnings(&ended));
    }
    assert!(!usual.iter().any(|line| line.contains(&*host.dir.to_string_lossy())), "{usual:?}");
    let model = whole(&host.store());
    let kinds = ["layers/", "configs/", "images/", "volumes/"];
    let counts = kinds.map(|kind| model.keys().filter(|name| name.starts_with(kind)).count());
    // A manifest and a configuration of each image.
    assert_eq!(counts, [3, 6, 3, 3], "{:?}", model.keys());
    let crowd = Crowd {
        host: &host,
        images,
        usual,
        usual_us: AtomicU64::new(20_000),
        wrong: Mutex::new(Vec::new()),
        killed: AtomicU64::new(0),
    };
    let begun = Instant::now();
    for done in (0..starts).step_by(STARTS_A_STORE as usize) {
        let store = host.dir.join(format!("store-{done}"));
        let seed = seed.wrapping_add(done);
        println!("SEED={seed} STARTS={STARTS_A_STORE}");
        crowd.round(&store, seed, STARTS_A_STORE.min(starts - done), &model);
        std::fs::remove_dir_all(&store).unwrap();
    }
    let (killed, seconds) = (crowd.killed.into_inner(), begun.elapsed().as_secs());
    println!("starts: {starts}, {killed} killed, 0 failures, 0 leftovers, {seconds} s");
    assert!(killed > starts / 10, "only {killed} of {starts} were killed");
}
