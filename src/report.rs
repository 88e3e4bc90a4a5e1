//! What the console says: step lines, warnings, failures, sections.

use crate::pure::scrub::clean;
use crate::sys::io::{self, Poll};
use crate::sys::{machine, tty, EAGAIN, EINTR, STDERR};
use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a step failed. It is printed once, where the failed step ends the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step's name, the console's second column: `pull`, `network`.
    pub step: &'static str,
    /// The object and the reason: `layer 4/5 sha256:77aa…: usr/bin/x: write: no space left on device`.
    pub what: String,
    /// What the user can do about it, where that is known.
    pub hint: Option<String>,
}

pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub fn new(step: &'static str, what: impl Into<String>) -> Failure {
        Failure { step, what: what.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The hint of the error that this failure is made of, if that has one.
    pub fn hint_of(self, hint: Option<&'static str>) -> Failure {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

/// How lines are printed.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// GitLab's collapsible log sections around each phase (`b2c.log=plain` turns them off).
    pub sections: bool,
    /// Times at the start of each line: seconds since the kernel's start. Off on a host's command line.
    pub times: bool,
    /// Only warnings and failures.
    pub quiet: bool,
}

impl Report {
    /// The console of a boot, before its options are known.
    pub fn at_boot() -> Report {
        Report { sections: false, times: true, quiet: false }
    }

    /// A command line on a host.
    pub fn on_host() -> Report {
        Report { sections: false, times: false, quiet: false }
    }

    /// `[   1.02] network    eth0 10.0.2.15/24 …`
    pub fn line(&self, step: &str, what: impl Display) {
        if !self.quiet {
            self.emit(step, "", &what.to_string());
        }
    }

    pub fn warn(&self, step: &str, what: impl Display) {
        self.emit(step, "WARN ", &what.to_string());
    }

    /// The FAIL line, and the hint below it.
    pub fn fail(&self, failure: &Failure) {
        self.write(&[self.time().as_str(), "FAIL ", failure.step, "  ", &clean(&failure.what), "\n"]);
        if let Some(hint) = &failure.hint {
            self.emit("hint", "", hint);
        }
    }

    /// A text of boot2container's own, in its form: an empty line, the text after the uptime, an empty line. A lab's
    /// harness matches it byte by byte.
    pub fn told(&self, text: &str) {
        let mut uptime = [0; UPTIME_MAX];
        self.write(&["\n[", uptime_text(&mut uptime), "]: ", text, "\n\n"]);
    }

    /// A line that is `text` alone.
    pub fn exact(&self, text: &str) {
        self.write(&[text, "\n"]);
    }

    /// Starts a GitLab log section; one that holds a container's own output is not
    /// collapsed.
    pub fn section(&self, name: &str, collapsed: bool) {
        if self.sections {
            let collapsed = if collapsed { "[collapsed=true]" } else { "" };
            let time = machine::realtime().0.to_string();
            self.write(&["\x1b[0Ksection_start:", &time, ":", name, collapsed, "\r\x1b[0K", name, "\n"]);
        }
    }

    pub fn end_section(&self, name: &str) {
        if self.sections {
            let time = machine::realtime().0.to_string();
            self.write(&["\x1b[0Ksection_end:", &time, ":", name, "\r\x1b[0K\n"]);
        }
    }

    fn emit(&self, step: &str, mark: &str, what: &str) {
        let pad = &"           "[step.len().min(10)..];
        self.write(&[self.time().as_str(), step, pad, mark, &clean(what), "\n"]);
    }

    fn time(&self) -> String {
        if !self.times {
            return String::new();
        }
        let ms = machine::uptime_ms();
        format!("[{:4}.{:02}] ", ms / 1000, ms % 1000 / 10)
    }

    /// One write a line, so that lines of threads do not mix. A console that is
    /// lost is not an error.
    fn write(&self, parts: &[&str]) {
        let _alone = std::io::stderr().lock();
        // A host's terminal belongs to its user, who may have stopped it.
        if self.times {
            resume_console();
        }
        write_all(STDERR, parts.concat().as_bytes());
    }
}

/// The digits of the longest uptime.
pub const UPTIME_MAX: usize = 24;

/// The seconds since the kernel's start as in /proc/uptime, with two decimals. Allocates nothing.
pub fn uptime_text(buffer: &mut [u8; UPTIME_MAX]) -> &str {
    hundredths(machine::uptime_ms() / 10, buffer)
}

fn hundredths(mut number: u64, buffer: &mut [u8; UPTIME_MAX]) -> &str {
    let mut start = buffer.len();
    for (digits, place) in buffer.iter_mut().rev().enumerate() {
        *place = if digits == 2 { b'.' } else { b'0' + (number % 10) as u8 };
        if digits != 2 {
            number /= 10;
        }
        start -= 1;
        if number == 0 && digits >= 3 {
            break;
        }
    }
    buffer.get(start..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
}

/// A console that takes nothing for this time is lost.
const STUCK_MS: i32 = 10_000;
/// Whether the console is lost: then no write waits for it until one succeeds. All writers have the same console.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Writes all of `bytes`, also where writes do not block, as on the console of a boot. What a lost console does not
/// take is dropped. Allocates nothing.
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) {
    let mut tries = 2;
    while !bytes.is_empty() {
        match io::write(fd, bytes) {
            Ok(count) => {
                STUCK.store(false, Ordering::Relaxed);
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(error) if error.errno == EINTR => {}
            Err(error) if error.errno == EAGAIN => {
                let wait_ms = if STUCK.load(Ordering::Relaxed) { 0 } else { STUCK_MS };
                if io::poll(&[Poll { fd, write: true }], wait_ms) == Ok(0) {
                    STUCK.store(true, Ordering::Relaxed);
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

/// Resumes the console's output (tcflow(3)): a Ctrl-S from the other side of a serial line, or a container that has the
/// device, may have stopped it.
pub fn resume_console() {
    tty::resume(STDERR);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn the_uptime_is_that_of_proc() {
        for (number, want) in [(0, "0.00"), (7, "0.07"), (123, "1.23"), (1234, "12.34"), (360_000, "3600.00")] {
            assert_eq!(hundredths(number, &mut [0; UPTIME_MAX]), want);
        }
        assert_eq!(hundredths(u64::MAX, &mut [0; UPTIME_MAX]), "184467440737095516.15");
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
