//! Attacks from beside: a container that watches another one start, one that moves what it shares with another, and a
//! user of the host that walks through the store.

use super::attack::{escaped, held, none, syscall};
use super::attack_files::{is_readable, is_setuid};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

fn processes() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

/// Looks at each new process in turn until `stop` is there: whether the program of this many bytes, which is the
/// runtime's, can be opened by its `exe` before it becomes the container's (CVE-2016-9962, CVE-2019-5736).
pub fn watch(stop: &str, bytes: &str) -> io::Result<()> {
    let bytes: u64 = bytes.parse().map_err(io::Error::other)?;
    let before = processes();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    println!("watching");
    while fs::symlink_metadata(stop).is_err() {
        for pid in processes().difference(&before) {
            seen.insert(*pid);
            let exe = format!("/proc/{pid}/exe");
            if fs::metadata(&exe).is_ok_and(|meta| meta.len() == bytes) && is_readable(&exe) {
                let open = |fd: &u32| fs::read_dir(format!("/proc/{pid}/fd/{fd}")).is_ok();
                let directories = (3..32).filter(open).count();
                found.push(format!("{exe} is the runtime's program; {directories} of its directories can be read"));
            }
        }
    }
    println!("seen: {}", seen.len());
    found.dedup();
    found.truncate(3);
    none("the runtime's process at a start", &found);
    fs::write(format!("{stop}.done"), "")
}

/// Exchanges two paths until `stop` is there (CVE-2019-19921, CVE-2021-30465, CVE-2024-45310).
pub fn swap(one: &str, other: &str, stop: &str) -> io::Result<()> {
    const RENAMEAT2: i64 = 316;
    const HERE: i64 = -100;
    const EXCHANGE: i64 = 2;
    let text = |path: &str| CString::new(path).unwrap_or_default();
    let (one, other) = (text(one), text(other));
    println!("watching");
    let mut count = 0u64;
    while fs::symlink_metadata(stop).is_err() {
        // SAFETY: renameat2(2); both paths are NUL-terminated and live through the call.
        let answer = unsafe { syscall(RENAMEAT2, HERE, one.as_ptr(), HERE, other.as_ptr(), EXCHANGE) };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        count += 1;
    }
    held("exchanges", &count.to_string());
    Ok(())
}

/// As a user of the host: no program of root's rights and no device below, as far as the way is open.
pub fn walk(dir: &str) {
    let mut pending = vec![Path::new(dir).to_path_buf()];
    let (mut entries, mut found) = (0, Vec::new());
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            entries += 1;
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let kind = meta.file_type();
            if kind.is_dir() {
                pending.push(path);
            } else if is_setuid(&meta) || kind.is_block_device() || kind.is_char_device() && meta.rdev() != 0 {
                found.push(format!("{} mode {:o}", path.display(), meta.mode()));
            }
        }
    }
    println!("seen: {entries}");
    match fs::read_dir(dir) {
        Err(error) => held(dir, &error.to_string()),
        Ok(_) if found.is_empty() => held(dir, "nothing of root's in it"),
        Ok(_) => found.iter().for_each(|what| escaped(dir, what)),
    }
}
