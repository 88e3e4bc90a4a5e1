//! What several test programs share: the payload, images, servers, and what is removed at the end of a test program.

#![allow(dead_code)]

pub mod client;
pub mod fake;
pub mod images;
pub mod podman;
pub mod relay;
pub mod servers;
pub mod table;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::Mutex;
use std::time::Duration;

const PAYLOAD: &str = "tests/payload/payload.rs";

/// How long a test waits: what it waits for comes sooner, or not at all.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The payload as a static binary: made when it is older than one of its sources.
pub fn payload() -> Vec<u8> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let dir = Path::new("target/payload");
    let built = dir.join("payload");
    let time = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let sources = std::fs::read_dir(Path::new(PAYLOAD).parent().unwrap()).unwrap().flatten();
    let newest = sources.filter_map(|source| time(&source.path())).max();
    if time(&built) <= newest {
        std::fs::create_dir_all(dir).unwrap();
        // Written under another name, then renamed: another test program may do the same.
        let aside = dir.join(format!("payload.{}", std::process::id()));
        let flags =
            "--edition 2021 -C target-feature=+crt-static -C opt-level=z -C panic=abort -C strip=symbols -C lto";
        let status = Command::new("rustc").args(flags.split(' ')).arg(PAYLOAD).arg("-o").arg(&aside).status();
        assert!(status.expect("rustc").success(), "rustc cannot build {PAYLOAD}");
        std::fs::rename(&aside, &built).unwrap();
    }
    std::fs::read(built).unwrap()
}

/// An empty directory below `target/`, where disks are large; it is removed when the test program ends. It is the
/// caller's alone: two tests once had one name, and so one store.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    let parent = Path::new("target/test");
    std::fs::create_dir_all(parent).unwrap();
    let dir = parent.join(format!("{name}.{}.{number}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let dir = dir.canonicalize().unwrap();
    let gone = dir.clone();
    at_exit(move || drop(std::fs::remove_dir_all(gone)));
    dir
}

/// A loopback address that no other caller gets: its ports are free, and for the product it is a host of its own.
pub fn loopback() -> Ipv4Addr {
    static LAST: AtomicU16 = AtomicU16::new(0);
    let number = LAST.fetch_add(1, Ordering::SeqCst);
    let (block, number) = (number / 254 + 1, (number % 254 + 1) as u8);
    assert!(block < 4, "three blocks of addresses");
    // The process numbers of two test programs that run at a time differ in these bits.
    let [_, _, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, (block as u8) << 6 | middle & 63, low, number)
}

type Task = Box<dyn FnOnce() + Send>;
static TASKS: Mutex<Vec<Task>> = Mutex::new(Vec::new());

/// Registers what is done when the test program ends, the latest first: statics are never dropped.
pub fn at_exit(task: impl FnOnce() + Send + 'static) {
    extern "C" fn run() {
        while let Some(task) = TASKS.lock().ok().and_then(|mut tasks| tasks.pop()) {
            task();
        }
    }
    let mut tasks = TASKS.lock().unwrap();
    if tasks.is_empty() {
        // SAFETY: registers a function without captures; it may run on any thread.
        unsafe { libc::atexit(run) };
    }
    tasks.push(Box::new(task));
}
