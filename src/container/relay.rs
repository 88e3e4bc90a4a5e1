//! Relays between a container and the console: output, input, signals, and the container's end.

use crate::container::cgroup;
use crate::report::console::write_all;
use crate::sys::io::{self, Poll};
use crate::sys::process::{self, Pid, Status};
use crate::sys::{crash, machine, signal, tty, Error, Result, EAGAIN, EINTR, STDERR, STDIN, STDOUT};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// A process of ours, which ends with this value unless it was waited for.
pub struct Child {
    pid: Pid,
    waited: bool,
}

impl Child {
    pub fn new(pid: Pid) -> Child {
        Child { pid, waited: false }
    }

    /// Its number, which no other process gets until it was waited for.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    fn wait(&mut self) -> Result<Status> {
        let status = process::wait(self.pid);
        self.waited = status.is_ok();
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.waited {
            let _ = process::kill(self.pid, signal::SIGKILL);
            let _ = self.wait();
        }
    }
}

/// What we hold of a running container.
pub struct Running {
    pub child: Child,
    /// Its output, and the number of ours that each goes to.
    pub outputs: Vec<(OwnedFd, i32)>,
    /// Its output is a terminal's.
    pub terminal: bool,
    /// Takes our input: the terminal, or the pipe that is its standard input.
    pub input: Option<OwnedFd>,
    /// The signals that were held back for us.
    pub signals: OwnedFd,
    pub signals_are: Signals,
    /// What asks it to end, and how long it may then take.
    pub stop_signal: i32,
    pub stop_timeout_ms: u64,
    /// The longest that it may run.
    pub timeout_ms: Option<u64>,
    /// The directory of its control group.
    pub group: Option<PathBuf>,
    /// Its output shares the console with another's: whole lines of it go there.
    pub whole_lines: bool,
}

/// The signals to us that are blocked and read while a container runs.
pub const SIGNALS: [i32; 7] = [
    signal::SIGINT,
    signal::SIGTERM,
    signal::SIGHUP,
    signal::SIGQUIT,
    signal::SIGUSR1,
    signal::SIGUSR2,
    signal::SIGWINCH,
];

/// What becomes of signals to us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// They go to the container as they are.
    Forwarded,
    /// One ends the container, and the pipeline after it.
    End,
    /// One ends the container alone.
    EndService,
}

/// How a container ended.
pub struct Ended {
    pub status: Status,
    /// Whether its output ended in the middle of a line.
    pub open_line: bool,
    /// Whether a signal to us asked for it.
    pub stopped: bool,
    /// Whether it ran too long.
    pub timed_out: bool,
}

/// Output that is left behind when the container has ended is read until nothing has come for so long,
const DRAIN_MS: i32 = 100;
/// and at most for so long, where a process that we cannot end goes on writing.
const DRAIN_MS_MAX: u64 = 2000;
/// poll(2) counts in 31 bits.
const WAIT_MS_MAX: u64 = 1 << 30;
const BUFFER: usize = 1 << 16;
/// A longer line is cut there.
const LINE_MAX: usize = 1 << 16;
/// Input that was read and not passed on yet; the rest waits in our own standard input.
const INPUT_BUFFER: usize = 1 << 14;

/// Passes everything on until the container has ended.
pub fn until_end(mut running: Running) -> Result<Ended> {
    let pidfd = process::pidfd_open(running.child.pid)?;
    // The container's terminal has made its lines end in CR LF already. Without input, ours keeps its Ctrl-C.
    let raw = match (running.terminal, &running.input) {
        (true, Some(_)) => tty::set_raw(STDIN).ok().map(|settings| (STDIN, settings)),
        (true, None) if !running.whole_lines => tty::set_raw_output(STDOUT).ok().map(|settings| (STDOUT, settings)),
        _ => None,
    };
    if let Some(input) = &running.input {
        // A container that does not read must not hold us: its end and our signals come by the same loop.
        io::set_nonblocking(input.as_fd(), true)?;
    }
    let mut state = State {
        open_line: false,
        stopped: false,
        end_at_ms: running.timeout_ms.map(|ms| machine::uptime_ms() + ms),
        timed_out: false,
        kill_at_ms: None,
        pending: Vec::new(),
        buffer: vec![0; BUFFER],
        held: [Vec::new(), Vec::new()],
    };
    let ended = pass_all(&mut running, &pidfd, &mut state);
    if let Some((terminal, settings)) = raw {
        tty::restore(terminal, &settings);
    }
    ended?;
    let status = running.child.wait()?;
    Ok(Ended { status, open_line: state.open_line, stopped: state.stopped, timed_out: state.timed_out })
}

/// All of its input and output, to the last line.
fn pass_all(running: &mut Running, pidfd: &OwnedFd, state: &mut State) -> Result<()> {
    while !step(running, pidfd, state)? {}
    // What has left the container's own processes ends with it: nobody writes any more.
    running.group.as_deref().map(cgroup::kill);
    drain(running, state);
    for (held, to) in state.held.iter_mut().zip([STDOUT, STDERR]).filter(|(held, _)| !held.is_empty()) {
        held.push(b'\n');
        write_all(to, held);
    }
    Ok(())
}

struct State {
    open_line: bool,
    stopped: bool,
    /// When it will have run too long.
    end_at_ms: Option<u64>,
    timed_out: bool,
    /// When a container that was asked to end is killed.
    kill_at_ms: Option<u64>,
    /// What was read of our input and the container has not taken yet.
    pending: Vec<u8>,
    buffer: Vec<u8>,
    /// Of standard output and error: what is no whole line yet.
    held: [Vec<u8>; 2],
}

/// Waits for something and passes it on; true when the container has ended.
fn step(running: &mut Running, pidfd: &OwnedFd, state: &mut State) -> Result<bool> {
    let read = |fd| Poll { fd, write: false };
    let mut polls = vec![read(pidfd.as_fd()), read(running.signals.as_fd())];
    polls.extend(running.outputs.iter().map(|(fd, _)| read(fd.as_fd())));
    let input_at = polls.len();
    if let Some(input) = &running.input {
        polls.push(if state.pending.is_empty() { read(STDIN) } else { Poll { fd: input.as_fd(), write: true } });
    }
    let deadline_ms = state.kill_at_ms.into_iter().chain(state.end_at_ms).min();
    let left_ms = deadline_ms.map(|at| at.saturating_sub(machine::uptime_ms()));
    let ready = io::poll(&polls, left_ms.map_or(-1, |ms| ms.min(WAIT_MS_MAX) as i32))?;
    let is_ready = |index: usize| ready & (1 << index) != 0;
    if left_ms == Some(0) && !is_ready(0) {
        state.timed_out = deadline_ms == state.end_at_ms;
        // It may have ended in the meantime. Where thousands of its processes compete, its first one alone would
        // come to its end, and to ending them, too late.
        running.group.as_deref().map(cgroup::kill);
        let _ = process::kill(running.child.pid, signal::SIGKILL);
        (state.kill_at_ms, state.end_at_ms) = (None, None);
    }
    if is_ready(1) {
        signals(running, state);
    }
    if is_ready(input_at) && !pass_input(running, state) {
        // The end of a pipe is told by closing it.
        running.input = None;
    }
    let ended: Vec<bool> = (0..running.outputs.len()).map(|n| is_ready(n + 2) && !pass(running, n, state)).collect();
    let mut at = 0;
    running.outputs.retain(|_| {
        at += 1;
        !ended.get(at - 1).copied().unwrap_or(false)
    });
    Ok(is_ready(0))
}

fn signals(running: &Running, state: &mut State) {
    while let Some(signal) = signal::next(running.signals.as_fd()) {
        let master = running.outputs.first().filter(|_| running.terminal);
        if signal == signal::SIGWINCH {
            if let (Some((master, _)), Ok(size)) = (master, tty::size(STDIN)) {
                // A window that cannot be told its size keeps the old one.
                let _ = tty::set_size(master.as_fd(), size);
            }
        } else if running.signals_are == Signals::Forwarded {
            // It may have ended in the meantime.
            let _ = process::kill(running.child.pid, signal);
        } else if !state.stopped {
            state.stopped = true;
            if running.signals_are == Signals::End {
                crash::set_heard();
            }
            state.kill_at_ms = Some(machine::uptime_ms() + running.stop_timeout_ms);
            let _ = process::kill(running.child.pid, running.stop_signal);
        }
    }
}

/// Console → container, as much as it takes; false at the end of either.
fn pass_input(running: &Running, state: &mut State) -> bool {
    let Some(input) = &running.input else { return false };
    if state.pending.is_empty() {
        let buffer = state.buffer.get_mut(..INPUT_BUFFER).unwrap_or_default();
        match io::read(STDIN, buffer) {
            Ok(0) => return false,
            Ok(count) => state.pending.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) => return is_passing(error),
        }
    }
    match io::write(input.as_fd(), &state.pending) {
        Ok(count) => {
            state.pending.drain(..count.min(state.pending.len()));
            true
        }
        Err(error) => is_passing(error),
    }
}

/// Whether it can be tried again later.
fn is_passing(error: Error) -> bool {
    matches!(error.errno, EAGAIN | EINTR)
}

/// Output number `index` → console; false at its end (a terminal's end is EIO).
fn pass(running: &Running, index: usize, state: &mut State) -> bool {
    let Some((fd, to)) = running.outputs.get(index) else { return false };
    match io::read(fd.as_fd(), &mut state.buffer) {
        Ok(0) => false,
        Err(error) => is_passing(error),
        Ok(count) => {
            let bytes = state.buffer.get(..count).unwrap_or_default();
            let [out, error] = &mut state.held;
            let (number, held) = if *to == 2 { (STDERR, error) } else { (STDOUT, out) };
            // A console that is gone is no reason to stop the container.
            if running.whole_lines {
                pass_lines(number, held, bytes);
            } else {
                state.open_line = bytes.last() != Some(&b'\n');
                write_all(number, bytes);
            }
            true
        }
    }
}

/// Writes the whole lines of what is `held` and `bytes`, in one piece, and holds the rest.
fn pass_lines(to: BorrowedFd<'_>, held: &mut Vec<u8>, bytes: &[u8]) {
    held.extend_from_slice(bytes);
    let mut whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole == 0 && held.len() >= LINE_MAX {
        held.push(b'\n');
        whole = held.len();
    }
    write_all(to, held.get(..whole).unwrap_or_default());
    held.drain(..whole);
}

/// What the container wrote before it ended.
fn drain(running: &mut Running, state: &mut State) {
    let end_ms = machine::uptime_ms() + DRAIN_MS_MAX;
    while !running.outputs.is_empty() && machine::uptime_ms() < end_ms {
        let polls: Vec<Poll> = running.outputs.iter().map(|(fd, _)| Poll { fd: fd.as_fd(), write: false }).collect();
        let ready = io::poll(&polls, DRAIN_MS).unwrap_or(0);
        if ready == 0 {
            return;
        }
        let index = ready.trailing_zeros() as usize;
        if !pass(running, index, state) {
            running.outputs.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Promise: services
    #[test]
    fn only_whole_lines_pass() {
        let (from, to) = io::pipe().unwrap();
        let mut held = Vec::new();
        for part in ["one\nt", "w", "o\nthree"] {
            pass_lines(to.as_fd(), &mut held, part.as_bytes());
        }
        assert_eq!(held, b"three");
        pass_lines(to.as_fd(), &mut held, &[b'x'; LINE_MAX][..40_000]);
        assert_eq!(held.len(), 40_005);
        drop(to);
        let mut passed = String::new();
        std::fs::File::from(from).read_to_string(&mut passed).unwrap();
        assert_eq!(passed, "one\ntwo\n");
    }
}
