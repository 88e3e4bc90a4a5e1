//! When a request to a registry is tried again.

use crate::image::pure::retry::{self, Next, Retry};
use crate::image::source::Error;
use crate::net::cancel::CancelToken;
use crate::report::Report;
use crate::sys::machine;

/// The failures of one request, and what ends the wait before the next try.
#[derive(Clone)]
pub struct RetryState {
    pub retry: Retry,
    pub cancel: CancelToken,
    pub report: Report,
}

impl RetryState {
    /// Something has come: the waits begin anew.
    pub fn progress(&mut self) {
        self.retry.progress();
    }

    /// Waits before the next try; where there is none, the error is the last.
    pub fn wait(&mut self, error: Error) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(given_up());
        }
        let failure = retry::Failure { retry_after_s: error.retry_after_s };
        let next = match error.may_heal() {
            true => self.retry.next(machine::uptime_ms(), &failure, random()),
            false => Next::GiveUp,
        };
        let Next::Wait { ms } = next else {
            // The caller need not try again.
            return Err(error.last());
        };
        let seconds = (ms + 500) / 1000;
        self.report.warn("pull", format_args!("{}; retry in {seconds} s", error.text));
        match self.cancel.wait(ms) {
            true => Ok(()),
            false => Err(given_up()),
        }
    }
}

/// The error of a request that was cancelled.
pub fn given_up() -> Error {
    Error::refused("cancelled")
}

/// Machines that were started together should not ask again together.
fn random() -> u8 {
    let mut byte = [0; 1];
    // Early in a boot there may be no random bytes: the clock's last digits serve.
    match machine::random(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => machine::uptime_ms() as u8,
    }
}
