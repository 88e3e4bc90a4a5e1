//! How a test that cannot run on this host says so; such tests are counted.

use std::io::Write;

/// Ends a test, or a helper of one, that cannot run on this host. `skip!("no {program} here")` records the reason
/// and returns the default of the function's type: `()`, `None`, `false`. With `OCINIT_NO_SKIP=1`, as in CI, the test
/// fails instead; `skip!(tolerated: …)` is for what no setup can bring, and never fails.
macro_rules! skip {
    (tolerated: $($reason:tt)+) => {{
        $crate::skip::record(env!("CARGO_CRATE_NAME"), &format!($($reason)+));
        return Default::default();
    }};
    ($($reason:tt)+) => {{
        $crate::skip::refuse(&format!($($reason)+));
        $crate::skip::record(env!("CARGO_CRATE_NAME"), &format!($($reason)+));
        return Default::default();
    }};
}

/// Fails the test where `OCINIT_NO_SKIP` says that every test has to run.
#[track_caller]
pub fn refuse(reason: &str) {
    let is_forbidden = std::env::var("OCINIT_NO_SKIP").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    assert!(!is_forbidden, "OCINIT_NO_SKIP is set, and the test cannot run: {reason}");
}

/// Appends `CRATE::TEST<tab>REASON` to the file that OCINIT_SKIPS names, since libtest shows nothing of a test that
/// passes. libtest names a test's thread after the test.
pub fn record(of: &str, reason: &str) {
    println!("skipped: {reason}");
    let Some(file) = std::env::var_os("OCINIT_SKIPS").filter(|file| !file.is_empty()) else { return };
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a thread without a name");
    let line = format!("{of}::{name}\t{}\n", reason.replace('\n', " "));
    // One write: other tests append at the same time.
    let file = std::fs::File::options().append(true).create(true).open(file);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("OCINIT_SKIPS names no file that can be written");
}
