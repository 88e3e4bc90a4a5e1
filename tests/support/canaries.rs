//! Compares files that no layer and no image may change with what they were before, and prints the number of
//! comparisons when all tests have ended.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Once;

static LOOKS: AtomicU64 = AtomicU64::new(0);
static TOUCHED: AtomicU64 = AtomicU64::new(0);
static TOLD: Once = Once::new();

/// One comparison: fails unless `now` is the same as `before`.
pub fn look(before: &[String], now: &[String], what: &str) {
    // SAFETY: the handler takes nothing, and does not unwind.
    TOLD.call_once(|| assert_eq!(unsafe { libc::atexit(tell) }, 0));
    LOOKS.fetch_add(1, Relaxed);
    if now != before {
        TOUCHED.fetch_add(1, Relaxed);
        panic!("a canary was touched: {what}\n{before:#?}\n{now:#?}");
    }
}

/// The state of a path of the host, to be compared later: a hostile image must not change it.
#[allow(dead_code)]
pub fn snapshot(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![path.to_path_buf()];
    while let Some(path) = pending.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let link = std::fs::read_link(&path).unwrap_or_default();
        let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
        let times = (meta.mtime(), meta.ctime(), meta.nlink());
        lines.push(format!("{} {mode:o} {owner:?} {times:?} {link:?} {content:?}", path.display()));
        if meta.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

/// Written to the terminal directly: libtest hides the output of tests that pass.
extern "C" fn tell() {
    let (looks, touched) = (LOOKS.load(Relaxed), TOUCHED.load(Relaxed));
    let _ = writeln!(std::io::stderr(), "canaries: {looks} looks, {touched} touched");
}
