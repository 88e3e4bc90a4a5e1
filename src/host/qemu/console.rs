//! The serial console of a guest: bytes to lines, with a time limit.

use std::io::{self, Read, Write};
use std::process::ChildStdout;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What has arrived from the serial console so far.
#[derive(Default)]
pub struct Console {
    pub raw: Vec<u8>,
    pub lines: Vec<(Duration, String)>,
    /// Where the unfinished line starts in `raw`.
    pub line_start: usize,
    /// Whether [`Watch::enough`] has been true of a line.
    pub enough: bool,
    /// Whether the bytes are copied to standard output.
    pub echo: bool,
}

/// How long a console is read, and who is told of its lines.
pub struct Watch<'a> {
    pub start: Instant,
    /// After `start`.
    pub timeout: Duration,
    /// Called with each line and the time since `start`.
    pub on_line: &'a mut dyn FnMut(Duration, &str),
    /// True of a line: no more needs to be read.
    pub enough: &'a mut dyn FnMut(&str) -> bool,
}

impl Console {
    /// Reads until the console ends or `watch` has enough; true if the time was over first.
    pub fn follow(&mut self, bytes: &Receiver<Vec<u8>>, watch: &mut Watch<'_>) -> bool {
        loop {
            let left = watch.timeout.saturating_sub(watch.start.elapsed());
            match bytes.recv_timeout(left) {
                Ok(chunk) => {
                    if self.echo {
                        let mut out = io::stdout().lock();
                        let _ = out.write_all(&chunk).and_then(|()| out.flush());
                    }
                    self.raw.extend_from_slice(&chunk);
                    while let Some(len) = self.raw[self.line_start..].iter().position(|byte| *byte == b'\n') {
                        self.line(self.line_start + len, watch);
                        self.line_start += len + 1;
                    }
                    if self.enough {
                        return false;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.line(self.raw.len(), watch);
                    return true;
                }
            }
        }
        self.line(self.raw.len(), watch);
        false
    }

    /// Takes the bytes from `line_start` to `end` as a line.
    fn line(&mut self, end: usize, watch: &mut Watch<'_>) {
        let bytes = &self.raw[self.line_start..end];
        if bytes.is_empty() && end == self.raw.len() {
            return;
        }
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\r').to_string();
        let at = watch.start.elapsed();
        (watch.on_line)(at, &text);
        self.enough |= (watch.enough)(&text);
        self.lines.push((at, text));
    }
}

/// Reads a pipe on a thread of its own, so that waiting for its bytes can have a time limit.
pub fn read_on_thread(pipe: Option<ChildStdout>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
