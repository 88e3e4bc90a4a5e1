//! The consoles that the kernel's line names. Those that the kernel lists are opened by [`console::open`], before each
//! line of ours.

use crate::boot::pure::consoles::Named;
use crate::boot::pure::{cmdline, consoles};
use crate::files;
use crate::report::pure::consoles as listed;
use crate::report::{console, Report};
use crate::sys::path::PATH_MAX;
use crate::sys::{io, machine, tty};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// The largest kernel command line that is read.
const LINE_MAX: u64 = 1 << 16;
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
    for console in missing(AT_LAST_MS) {
        report.warn("console", [&console.name, ": no such device, or no driver for it"].concat());
    }
}

/// Opens consoles until all of the kernel's line are there, for at most `limit_ms`; those that are not.
fn missing(limit_ms: u64) -> Vec<Named> {
    let line = files::read(Path::new("/proc/cmdline"), LINE_MAX).unwrap_or_default();
    let mut all = consoles::named(&cmdline::parse(&line).unwrap_or_default());
    let end_ms = machine::uptime_ms() + limit_ms;
    loop {
        console::open();
        let mut buffer = [0; console::LIST_MAX];
        let list = console::read_list(&mut buffer);
        all.retain(|console| !listed::is_listed(list, &console.name) && !open_unlisted(console));
        if all.is_empty() || machine::uptime_ms() >= end_ms {
            return all;
        }
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
}

/// Opens a terminal that the kernel has not made a console: of each driver it takes the first one that its line names.
fn open_unlisted(named: &Named) -> bool {
    let mut path = [0; PATH_MAX];
    let opened = listed::device_path(named.name.as_bytes(), &mut path).and_then(console::terminal);
    // A serial port without hardware can be opened, and fails all writes.
    let Some((console, device)) = opened.filter(|(console, _)| io::write(console.as_fd(), b"").is_ok()) else {
        return false;
    };
    if !console::is_known(device) {
        // The kernel has set the speed of its own consoles only.
        let _ = tty::set_speed(console.as_fd(), named.baud);
        console::repeat(console.as_fd());
        console::add(console);
    }
    true
}
