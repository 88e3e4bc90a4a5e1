//! The serial line of a machine, as it comes.

use std::io::{self, Read, Write};
use std::process::ChildStdout;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The serial line as it comes.
#[derive(Default)]
pub struct Console {
    pub raw: Vec<u8>,
    pub lines: Vec<(Duration, String)>,
    /// Where the unfinished line starts in `raw`.
    pub line_start: usize,
    pub enough: bool,
    pub echo: bool,
}

impl Console {
    /// Reads until the end; true when the time was up first.
    pub fn follow(
        &mut self,
        bytes: &Receiver<Vec<u8>>,
        start: Instant,
        timeout: Duration,
        on_line: &mut dyn FnMut(Duration, &str),
        enough: &mut dyn FnMut(&str) -> bool,
    ) -> bool {
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match bytes.recv_timeout(left) {
                Ok(chunk) => {
                    if self.echo {
                        let mut out = io::stdout().lock();
                        let _ = out.write_all(&chunk).and_then(|()| out.flush());
                    }
                    self.raw.extend_from_slice(&chunk);
                    while let Some(len) = self.raw[self.line_start..].iter().position(|byte| *byte == b'\n') {
                        self.line(self.line_start + len, start.elapsed(), on_line, enough);
                        self.line_start += len + 1;
                    }
                    if self.enough {
                        return false;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.line(self.raw.len(), start.elapsed(), on_line, enough);
                    return true;
                }
            }
        }
        self.line(self.raw.len(), start.elapsed(), on_line, enough);
        false
    }

    fn line(
        &mut self,
        end: usize,
        at: Duration,
        on_line: &mut dyn FnMut(Duration, &str),
        enough: &mut dyn FnMut(&str) -> bool,
    ) {
        let bytes = &self.raw[self.line_start..end];
        if bytes.is_empty() && end == self.raw.len() {
            return;
        }
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\r').to_string();
        on_line(at, &text);
        self.enough |= enough(&text);
        self.lines.push((at, text));
    }
}

/// Reads a pipe on a thread of its own, so that waiting for it can have a limit.
pub fn read_aside(pipe: Option<ChildStdout>) -> Receiver<Vec<u8>> {
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
