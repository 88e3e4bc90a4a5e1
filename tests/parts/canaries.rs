//! Counts the looks at places that no layer and no image may touch, and tells
//! how many there were when all tests have ended.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Once;

static LOOKS: AtomicU64 = AtomicU64::new(0);
static TOUCHED: AtomicU64 = AtomicU64::new(0);
static TOLD: Once = Once::new();

/// One look: fails unless what is there `now` is what was there `before`.
pub fn look(before: &[String], now: &[String], what: &str) {
    // SAFETY: the handler takes nothing, and does not unwind.
    TOLD.call_once(|| assert_eq!(unsafe { libc::atexit(tell) }, 0));
    LOOKS.fetch_add(1, Relaxed);
    if now != before {
        TOUCHED.fetch_add(1, Relaxed);
        panic!("a canary was touched: {what}\n{before:#?}\n{now:#?}");
    }
}

/// Past the tests' own output, which is not shown where they pass.
extern "C" fn tell() {
    let (looks, touched) = (LOOKS.load(Relaxed), TOUCHED.load(Relaxed));
    let _ = writeln!(std::io::stderr(), "canaries: {looks} looks, {touched} touched");
}
