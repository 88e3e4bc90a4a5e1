//! Services (`b2c.run_service`): containers that run beside the pipeline.
//!
//! Each has a process of ours, which starts it, passes its output on and waits
//! for it, as the boot itself does for a container of the pipeline: the same
//! code, and a service that floods the console or stops reading holds nobody.

use crate::container::run::{Exit, RebootRequest};
use crate::report::{Outcome, Report};
use crate::sys::io::{self, Poll};
use crate::sys::process::{self, Pid};
use crate::sys::{signal, Error};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The services that were started, in their order.
#[derive(Default)]
pub struct Services(Vec<Service>);

struct Service {
    name: String,
    pid: Pid,
    /// Where its process tells what has happened.
    words: OwnedFd,
}

/// What a service's process tells: one byte each.
const STARTED: u8 = b's';
const ASKED_REBOOT: u8 = b'r';
const ASKED_POWER_OFF: u8 = b'p';

/// What its process may take, beside the time that a service has to stop: as
/// long as it takes until thousands of killed processes are gone.
const PATIENCE_MS: u64 = 30_000;

impl Services {
    /// Starts one, by what `run` does in a process of its own: it calls what it
    /// is given as soon as the container's program runs. Returns then; false
    /// where that was told to have failed.
    pub fn start(
        &mut self,
        name: String,
        report: &Report,
        run: &mut dyn FnMut(&dyn Fn()) -> Outcome<Exit>,
    ) -> Result<bool, Error> {
        let (words, to) = io::pipe()?;
        let pid = process::fork(&mut || attend(&name, to.as_fd(), report, run))?;
        drop(to);
        let mut word = [0];
        let started = io::read(words.as_fd(), &mut word)? == 1 && word == [STARTED];
        if !started {
            // It ends by itself.
            process::wait(pid)?;
            return Ok(false);
        }
        report.line("service", [&name, ": started"].concat());
        self.0.push(Service { name, pid, words });
        Ok(true)
    }

    /// What services have asked for since it was last looked at (reboot(2)).
    pub fn asked(&self) -> Option<RebootRequest> {
        let mut asked = None;
        for service in &self.0 {
            let ready = |words: &OwnedFd| io::poll(&[Poll { fd: words.as_fd(), write: false }], 0) == Ok(1);
            let mut word = [0];
            while ready(&service.words) && io::read(service.words.as_fd(), &mut word) == Ok(1) {
                asked = match word {
                    [ASKED_REBOOT] => Some(RebootRequest::Reboot),
                    [ASKED_POWER_OFF] => Some(RebootRequest::PowerOff),
                    _ => asked,
                };
            }
        }
        asked
    }

    /// Asks all of them to end, and waits until they have. `longest_ms` is the
    /// time that the most patient of them was given.
    pub fn stop(self, longest_ms: u64, report: &Report) {
        for service in &self.0 {
            // It may have ended long ago; it is ours until we have waited for it.
            let _ = process::kill(service.pid, signal::SIGTERM);
        }
        let wait_ms = i32::try_from(longest_ms.saturating_add(PATIENCE_MS)).unwrap_or(i32::MAX);
        for service in self.0 {
            let ended = process::pidfd_open(service.pid)
                .and_then(|ended| io::poll(&[Poll { fd: ended.as_fd(), write: false }], wait_ms));
            if ended == Ok(0) {
                report.warn("service", [&service.name, ": does not end: killed"].concat());
                let _ = process::kill(service.pid, signal::SIGKILL);
            }
            let _ = process::wait(service.pid);
        }
    }
}

/// A service's own process: its exit code is of no interest.
fn attend(name: &str, words: BorrowedFd<'_>, report: &Report, run: &mut dyn FnMut(&dyn Fn()) -> Outcome<Exit>) -> i32 {
    // Without us nobody would stop it.
    let _ = process::die_with_parent();
    let tell = |word| {
        // Losing the boot's ear is no reason to end.
        let _ = io::write(words, &[word]);
    };
    match run(&|| tell(STARTED)) {
        Ok(exit) => {
            let code = exit.code.to_string();
            match exit.stopped {
                true => report.line("service", [name, ": stopped, exit code ", &code].concat()),
                false => report.warn("service", [name, ": has ended, exit code ", &code].concat()),
            }
            match exit.reboot {
                Some(RebootRequest::Reboot) => tell(ASKED_REBOOT),
                Some(RebootRequest::PowerOff) => tell(ASKED_POWER_OFF),
                None => {}
            }
        }
        Err(failure) => report.fail(&failure),
    }
    0
}
