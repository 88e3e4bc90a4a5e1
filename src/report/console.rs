//! The consoles of a boot: standard error, which containers write to as well, and those that get our own lines only.

use crate::sys::io::{self, Poll};
use crate::sys::{tty, EAGAIN, EINTR, STDERR};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
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
    for (fd, is_stuck) in others() {
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
