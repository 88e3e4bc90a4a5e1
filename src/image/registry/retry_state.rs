//! Waits before a request to a registry is retried.

use crate::image::pure::retry::{self, Next, Policy, Retry};
use crate::image::source::{Error, Retries};
use crate::net::cancel::CancelToken;
use crate::report::Report;
use crate::sys::machine;

/// The failures of one request, and the token that cancels the wait before a retry.
#[derive(Clone)]
pub struct RetryState {
    pub retry: Retry,
    pub cancel: CancelToken,
    pub report: Report,
    /// The step of the lines about retries.
    pub step: &'static str,
}

impl RetryState {
    pub fn new(policy: Policy, cancel: CancelToken, report: Report) -> RetryState {
        let retry = Retry::new(policy, report.is_boot(), machine::uptime_ms());
        RetryState { retry, cancel, report, step: "pull" }
    }

    /// Resets the waits after bytes were received.
    pub fn progress(&mut self) {
        self.retry.progress();
    }

    /// Waits before the next try; returns the error if there is none.
    pub fn wait(&mut self, error: Error) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let failure =
            retry::Failure { retry_after_s: error.retry_after_s, is_absent: error.retries() == Retries::Patient };
        let next = match error.may_heal() {
            true => self.retry.next(machine::uptime_ms(), &failure, random()),
            false => Next::GiveUp,
        };
        let Next::Wait { ms } = next else {
            // Marked as final, so that the caller does not retry either.
            return Err(error.last());
        };
        let (seconds, tenth) = (ms / 1000, ms / 100 % 10);
        self.report.warn(self.step, format_args!("{}; retry in {seconds}.{tenth} s", error.text));
        match self.cancel.wait(ms) {
            true => Ok(()),
            false => Err(cancelled()),
        }
    }
}

/// The error of a request that was cancelled.
pub fn cancelled() -> Error {
    Error::refused("cancelled")
}

/// A random byte that spreads the retries of machines that were started together.
fn random() -> u8 {
    let mut byte = [0; 1];
    // Early in a boot there may be no random bytes: the clock's last digits are used.
    match machine::random(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => machine::uptime_ms() as u8,
    }
}
