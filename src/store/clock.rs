//! The last time that the cache knows: a board without a battery starts at the build's date, and a boot without a time
//! server then goes on where the last one ended, so that files and certificates of that time are not of the future.
//!
//! It is the modification time of the store's marker.

use crate::net::ntp::{self, BUILD_S};
use crate::report::Report;
use crate::store::dir;
use crate::store::layers::STORE;
use crate::store::marker::MARKER;
use crate::sys::{fs as sysfs, machine};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A disk whose last machine had a clock of the far future must not take this one there: ten years.
const LATEST_S: i64 = BUILD_S + 10 * 31_556_952;

/// Raises the clock to the last time that the cache knows, unless it is set (by a time server), and tells the cache
/// the time.
pub fn raise(is_set: bool, report: &Report) {
    let marker = OsStr::from_bytes(MARKER.to_bytes());
    let known = std::fs::symlink_metadata(Path::new(STORE).join(marker));
    let known_s = known.map_or(0, |marker| marker.mtime());
    if !is_set && believed(known_s) && ntp::raise(known_s, "before the cache was last used", report) {
        let text = ntp::now().text();
        report.line("clock", [&text, " UTC or later, as the cache was used then"].concat());
    }
    stamp();
}

fn believed(known_s: i64) -> bool {
    (BUILD_S..LATEST_S).contains(&known_s)
}

/// Tells the cache the time.
pub fn stamp() {
    // On a disk that fails the next boot knows an earlier time.
    let _ = dir::at(Path::new(STORE)).and_then(|store| sysfs::utimensat(store.as_fd(), MARKER, machine::realtime()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: clock-floor
    #[test]
    fn times_before_the_build_and_of_the_far_future_are_not_believed() {
        assert!(!believed(0) && !believed(BUILD_S - 1));
        assert!(believed(BUILD_S) && believed(BUILD_S + 9 * 31_556_952));
        assert!(!believed(BUILD_S + 11 * 31_556_952) && !believed(i64::MAX));
    }
}
