//! Services (`b2c.run_service`): containers that run beside the pipeline.
//!
//! Each has a process of ours, which starts it, relays its output and waits for it, by the same code that runs a
//! container of the pipeline. So a service that floods the console or stops reading its input blocks no other
//! container.

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
    /// The events that its process reports.
    events: OwnedFd,
}

/// The events that a service's process reports, one byte each.
const STARTED: u8 = b's';
const ASKED_REBOOT: u8 = b'r';
const ASKED_POWER_OFF: u8 = b'p';

/// What its process may take in addition to the service's stop timeout: thousands of killed processes take a while to
/// be gone.
const EXTRA_STOP_MS: u64 = 30_000;

impl Services {
    /// Starts a service: calls `run` in a process of its own, and returns as soon as the container's program runs,
    /// which `run` tells by calling its argument. False if the start failed; the process has then reported why.
    pub fn start(
        &mut self,
        name: String,
        report: &Report,
        run: &mut dyn FnMut(&dyn Fn()) -> Outcome<Exit>,
    ) -> Result<bool, Error> {
        let (events, to) = io::pipe()?;
        let pid = process::fork(&mut || supervise(&name, to.as_fd(), report, run))?;
        drop(to);
        let mut event = [0];
        let started = io::read(events.as_fd(), &mut event)? == 1 && event == [STARTED];
        if !started {
            // The process ends by itself.
            process::wait(pid)?;
            return Ok(false);
        }
        report.line("service", [&name, ": started"].concat());
        self.0.push(Service { name, pid, events });
        Ok(true)
    }

    /// The last reboot or power off that a service has requested by reboot(2) since the previous call.
    pub fn reboot_request(&self) -> Option<RebootRequest> {
        let mut request = None;
        for service in &self.0 {
            let ready = |events: &OwnedFd| io::poll(&[Poll { fd: events.as_fd(), write: false }], 0) == Ok(1);
            let mut event = [0];
            while ready(&service.events) && io::read(service.events.as_fd(), &mut event) == Ok(1) {
                request = match event {
                    [ASKED_REBOOT] => Some(RebootRequest::Reboot),
                    [ASKED_POWER_OFF] => Some(RebootRequest::PowerOff),
                    _ => request,
                };
            }
        }
        request
    }

    /// Asks all services to end, and waits until they have. `longest_ms` is the longest of their stop timeouts.
    pub fn stop(self, longest_ms: u64, report: &Report) {
        for service in &self.0 {
            // It may have ended already. Its PID is not reused before we have waited for it.
            let _ = process::kill(service.pid, signal::SIGTERM);
        }
        let wait_ms = i32::try_from(longest_ms.saturating_add(EXTRA_STOP_MS)).unwrap_or(i32::MAX);
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

/// Runs a service in its process, whose exit code nobody reads.
fn supervise(
    name: &str,
    events: BorrowedFd<'_>,
    report: &Report,
    run: &mut dyn FnMut(&dyn Fn()) -> Outcome<Exit>,
) -> i32 {
    // Without the boot nobody would stop it.
    let _ = process::die_with_parent();
    let tell = |event| {
        // The service goes on even if the boot does not read its events.
        let _ = io::write(events, &[event]);
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
