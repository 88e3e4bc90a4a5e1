//! The consoles that the kernel's line names: each gets our own lines, and the last one is the containers' as well.
//!
//! The kernel lists those that are there in /proc/consoles. A console whose driver is a module joins the list when the
//! driver is loaded, and `/dev/console` then stands for another device, or for one at all.

use crate::boot::pure::{cmdline, consoles};
use crate::files;
use crate::report::{console, Report};
use crate::sys::path::PATH_MAX;
use crate::sys::{fs as sysfs, io, machine, process, tty, STDERR};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

const LIST: &CStr = c"/proc/consoles";
/// Each console's line has about 40 bytes.
const LIST_MAX: usize = 2048;
/// The largest kernel command line that is read.
const LINE_MAX: u64 = 1 << 16;

/// Opens `/dev/console` as standard input, output and error, even if the kernel has done so: it opens it blocking.
pub fn start() {
    match terminal(c"/dev/console") {
        Some((console, device)) => stand_for_all(console, device, true),
        None => without(),
    }
}

/// Opens the consoles that are there and were not opened before. If `repeats`, they get what was said so far. To be
/// called again when drivers were loaded. Allocates nothing, since PID 1 calls it after a crash of the boot.
pub fn open(repeats: bool) {
    let before = tty::device(STDERR);
    match terminal(c"/dev/console") {
        Some((console, device)) if before != Some(device) => stand_for_all(console, device, repeats),
        None if before.is_none() => without(),
        _ => {}
    }
    let mut buffer = [0; LIST_MAX];
    for name in consoles::with_device(read_list(&mut buffer)) {
        let mut path = [0; PATH_MAX];
        let Some((other, device)) = consoles::device_path(name, &mut path).and_then(terminal) else { continue };
        if console::is_known(device) {
            continue;
        }
        if repeats && before != Some(device) {
            console::repeat(other.as_fd());
        }
        console::add(other);
    }
}

/// Opens a terminal, and tells its device number.
fn terminal(path: &CStr) -> Option<(OwnedFd, u32)> {
    // Non-blocking, so that neither opening a serial port waits for its carrier, nor writing for a stopped console.
    let flags = sysfs::O_RDWR | sysfs::O_NOCTTY | sysfs::O_NONBLOCK;
    let terminal = sysfs::openat(sysfs::CWD, path, flags, 0).ok()?;
    let device = tty::device(terminal.as_fd())?;
    Some((terminal, device))
}

/// Makes `console` standard input, output and error.
fn stand_for_all(console: OwnedFd, device: u32, repeats: bool) {
    if repeats && !console::is_known(device) {
        console::repeat(console.as_fd());
    }
    onto_all(console);
}

/// Without a console, the three are `/dev/null`.
fn without() {
    let null = sysfs::openat(sysfs::CWD, c"/dev/null", sysfs::O_RDWR, 0);
    if let Ok(null) = null {
        onto_all(null);
    }
}

fn onto_all(fd: OwnedFd) {
    for number in 0..3 {
        let _ = process::dup_onto(fd.as_fd(), number);
    }
    // It may be one of the three itself, and then stays open.
    if fd.as_raw_fd() < 3 {
        std::mem::forget(fd);
    }
}

fn read_list(buffer: &mut [u8]) -> &[u8] {
    let read = |buffer: &mut [u8]| {
        let list = sysfs::openat(sysfs::CWD, LIST, sysfs::O_RDONLY, 0)?;
        io::read(list.as_fd(), buffer)
    };
    let length = read(buffer).unwrap_or(0);
    buffer.get(..length).unwrap_or_default()
}

/// How long a console may take after its driver was loaded: virtio_console asks the host for its ports first.
const AFTER_DRIVERS_MS: u64 = 100;
/// How long they may take at last, if one is still missing.
const AT_LAST_MS: u64 = 500;
const POLL_MS: u64 = 5;

/// Opens the consoles whose drivers were loaded just now.
pub fn after_drivers() {
    missing(AFTER_DRIVERS_MS);
}

/// Warns of each console of the kernel's line that is not there: to be called once, when all drivers had their time.
pub fn tell_missing(report: &Report) {
    for name in missing(AT_LAST_MS) {
        report.warn("console", [&name, ": no such device, or no driver for it"].concat());
    }
}

/// Opens consoles until all of the kernel's line are there, for at most `limit_ms`; those that are not.
fn missing(limit_ms: u64) -> Vec<String> {
    let line = files::read(Path::new("/proc/cmdline"), LINE_MAX).unwrap_or_default();
    let mut names = consoles::named(&cmdline::parse(&line).unwrap_or_default());
    let end_ms = machine::uptime_ms() + limit_ms;
    loop {
        open(true);
        let mut buffer = [0; LIST_MAX];
        let list = read_list(&mut buffer);
        names.retain(|name| !consoles::is_listed(list, name));
        if names.is_empty() || machine::uptime_ms() >= end_ms {
            return names;
        }
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
}
