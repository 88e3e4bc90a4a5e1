//! How far a build is: the search for the smallest initramfs takes minutes.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a line is printed where it cannot be drawn again.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// On standard error: on a terminal one line, which is drawn again.
pub struct Progress {
    is_terminal: bool,
    last: Instant,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { is_terminal: std::io::stderr().is_terminal(), last: Instant::now() }
    }

    /// What [`ocinit::host::initramfs::build_telling`] tells.
    pub fn tell(&mut self, segment: &str, done: usize, bytes: usize) {
        if done == 0 {
            self.end();
            self.last = Instant::now();
            eprintln!("compressing {segment}: {bytes} bytes");
        } else if self.is_terminal {
            eprint!("\r{}\x1b[K", line(segment, done, bytes));
        } else if self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            eprintln!("{}", line(segment, done, bytes));
        }
    }

    /// Removes the line.
    pub fn end(&mut self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

fn line(segment: &str, done: usize, bytes: usize) -> String {
    format!("{segment}: {bytes} bytes after {done} settings of xz")
}
