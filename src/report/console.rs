//! The consoles of a boot: standard error, which containers write to as well, and those that get our own lines only.
//!
//! The kernel lists those that are there in /proc/consoles. A console whose driver is a module joins the list when the
//! driver is loaded.

use crate::report::pure::consoles;
use crate::sys::io::{self, Poll};
use crate::sys::path::PATH_MAX;
use crate::sys::{fs as sysfs, process, tty, EAGAIN, EINTR, STDERR};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

/// A console beside standard error.
struct Other {
    fd: OnceLock<OwnedFd>,
    is_stuck: AtomicBool,
}

/// More consoles than machines have.
const OTHERS_MAX: usize = 4;
static OTHERS: [Other; OTHERS_MAX] =
    [const { Other { fd: OnceLock::new(), is_stuck: AtomicBool::new(false) } }; OTHERS_MAX];

const LIST: &CStr = c"/proc/consoles";
/// Each console's line has about 40 bytes.
pub const LIST_MAX: usize = 2048;
/// A sum of the list as it was read last.
static LISTED: AtomicUsize = AtomicUsize::new(0);
/// Whether this process or one before it has [`start`]ed the consoles. On a host the streams stay what they are.
static STARTED: AtomicBool = AtomicBool::new(false);
/// The process that has [`own`]ed the consoles.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// What was said so far, for a console whose driver is loaded later.
static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// What comes after so many bytes is for the consoles that are there.
const SAID_MAX: usize = 1 << 14;

/// A console that takes nothing for this time is lost.
const STUCK_MS: i32 = 10_000;
/// Whether the console is lost: then no write waits for it until one succeeds. All writers have the same console.
static STUCK: AtomicBool = AtomicBool::new(false);

fn others() -> impl Iterator<Item = (BorrowedFd<'static>, &'static AtomicBool)> {
    OTHERS.iter().filter_map(|other| Some((other.fd.get()?.as_fd(), &other.is_stuck)))
}

/// Makes this process the one that repeats what was said so far on a console that is new. Its children do not.
pub fn own() {
    OWNER.store(std::process::id(), Ordering::Relaxed);
}

/// Opens `/dev/console` as standard input, output and error, even if the kernel has done so: it opens it blocking.
pub fn start() {
    STARTED.store(true, Ordering::Relaxed);
    match terminal(c"/dev/console") {
        Some((console, device)) => stand_for_all(console, device, true),
        None => without(),
    }
}

/// Opens the consoles that the kernel has made since the last time: a driver was loaded. `/dev/console` may stand for
/// another device then, or for one at all. Allocates nothing, since PID 1 calls it after a crash of the boot.
pub fn open() {
    if !STARTED.load(Ordering::Relaxed) {
        return;
    }
    let mut buffer = [0; LIST_MAX];
    let list = read_list(&mut buffer);
    let sum = list.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    if list.is_empty() || LISTED.swap(sum, Ordering::Relaxed) == sum {
        return;
    }
    let before = tty::device(STDERR);
    let repeats = OWNER.load(Ordering::Relaxed) == std::process::id();
    match terminal(c"/dev/console") {
        Some((console, device)) if before != Some(device) => stand_for_all(console, device, repeats),
        Some(_) => {}
        None => {
            // At the next line it may be ready.
            LISTED.store(0, Ordering::Relaxed);
            if before.is_none() {
                without();
            }
        }
    }
    for name in consoles::with_device(list) {
        let mut path = [0; PATH_MAX];
        let Some((other, device)) = consoles::device_path(name, &mut path).and_then(terminal) else { continue };
        if is_known(device) {
            continue;
        }
        if repeats && before != Some(device) {
            repeat(other.as_fd());
        }
        add(other);
    }
}

/// Opens a terminal, and tells its device number.
pub fn terminal(path: &CStr) -> Option<(OwnedFd, u32)> {
    // Non-blocking, so that neither opening a serial port waits for its carrier, nor writing for a stopped console.
    let flags = sysfs::O_RDWR | sysfs::O_NOCTTY | sysfs::O_NONBLOCK;
    let terminal = sysfs::openat(sysfs::CWD, path, flags, 0).ok()?;
    let device = tty::device(terminal.as_fd())?;
    Some((terminal, device))
}

/// Makes `console` standard input, output and error.
fn stand_for_all(console: OwnedFd, device: u32, repeats: bool) {
    if repeats && !is_known(device) {
        repeat(console.as_fd());
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

/// The standard streams become this file; a number that cannot be replaced stays what it was.
pub fn onto_all(fd: OwnedFd) {
    for number in 0..3 {
        let _ = process::dup_onto(fd.as_fd(), number);
    }
    // It may be one of the three itself, and then stays open.
    if fd.as_raw_fd() < 3 {
        std::mem::forget(fd);
    }
}

/// The kernel's list of consoles.
pub fn read_list(buffer: &mut [u8]) -> &[u8] {
    let read = |buffer: &mut [u8]| {
        let list = sysfs::openat(sysfs::CWD, LIST, sysfs::O_RDONLY, 0)?;
        io::read(list.as_fd(), buffer)
    };
    let length = read(buffer).unwrap_or(0);
    buffer.get(..length).unwrap_or_default()
}

/// Whether lines of ours go to the terminal with this device number already.
pub fn is_known(device: u32) -> bool {
    tty::device(STDERR) == Some(device) || others().any(|(fd, _)| tty::device(fd) == Some(device))
}

/// From now on our lines go to `console`, too. Allocates nothing.
pub fn add(console: OwnedFd) {
    let mut console = Some(console);
    for other in &OTHERS {
        if let Some(fd) = console.take() {
            console = other.fd.set(fd).err();
        }
    }
}

/// Keeps a text of ours for consoles that come later.
pub fn remember(text: &[u8]) {
    if let Some(mut said) = SAID.lock().ok().filter(|said| said.len() + text.len() <= SAID_MAX) {
        said.extend_from_slice(text);
    }
}

/// Writes what was said so far to a console that is new.
pub fn repeat(console: BorrowedFd<'_>) {
    if let Ok(said) = SAID.lock() {
        write_all(console, &said);
    }
}

/// Writes a text of ours to each console. Allocates nothing.
pub fn write_to_each(text: &[u8]) {
    resume();
    write_all(STDERR, text);
    // The kernel may have made one of the others its console in the meantime.
    let main = tty::device(STDERR);
    for (fd, is_stuck) in others().filter(|(fd, _)| tty::device(*fd) != main) {
        tty::resume(fd);
        write_unless_stuck(fd, text, is_stuck);
    }
}

/// The bytes that the consoles have not sent yet. Allocates nothing.
pub fn queued() -> usize {
    let consoles = [STDERR].into_iter().chain(others().map(|(fd, _)| fd));
    consoles.map(|fd| tty::queued(fd).unwrap_or(0)).sum()
}

/// Resumes the console's output (tcflow(3)): a Ctrl-S from the other side of a serial line, or a container that has the
/// device, may have stopped it.
pub fn resume() {
    tty::resume(STDERR);
}

/// Writes all of `bytes`, also where writes do not block, as on the console of a boot. What a lost console does not
/// take is dropped. Allocates nothing.
pub fn write_all(fd: BorrowedFd<'_>, bytes: &[u8]) {
    write_unless_stuck(fd, bytes, &STUCK);
}

fn write_unless_stuck(fd: BorrowedFd<'_>, mut bytes: &[u8], is_stuck: &AtomicBool) {
    let mut tries = 2;
    while !bytes.is_empty() {
        match io::write(fd, bytes) {
            Ok(count) => {
                is_stuck.store(false, Ordering::Relaxed);
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(error) if error.errno == EINTR => {}
            Err(error) if error.errno == EAGAIN => {
                let wait_ms = if is_stuck.load(Ordering::Relaxed) { 0 } else { STUCK_MS };
                if io::poll(&[Poll { fd, write: true }], wait_ms) == Ok(0) {
                    is_stuck.store(true, Ordering::Relaxed);
                    return;
                }
            }
            Err(_) => {
                // A kernel that is short of memory may have some at the next try.
                tries -= 1;
                if tries == 0 {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Where nobody has started the consoles, as in a test of the boot's messages, a line leaves the streams alone: a
    /// test program once lost its results so.
    #[test]
    fn streams_of_a_host_stay_what_they_are() {
        let of = |number| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
        let before = [0, 1, 2].map(of);
        open();
        assert_eq!([0, 1, 2].map(of), before);
    }

    /// Larger than any pipe: the writer must wait for the reader more than once.
    /// Promise: non-blocking-console
    #[test]
    fn nothing_is_lost_where_writes_do_not_wait() {
        let (from, to) = io::pipe().unwrap();
        io::set_nonblocking(to.as_fd(), true).unwrap();
        let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| n as u8).collect();
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            std::fs::File::from(from).read_to_end(&mut read).map(|_| read)
        });
        write_all(to.as_fd(), &bytes);
        drop(to);
        assert!(reader.join().unwrap().unwrap() == bytes);
    }
}
