//! How long a registry's failures are borne with.

use crate::image::pure::retry::{self, Next, Retry};
use crate::image::source::Error;
use crate::net::cancel::Halt;
use crate::report::Report;
use crate::sys::machine;

/// How long failures are borne with, and who says that it is enough.
#[derive(Clone)]
pub struct Patience {
    pub retry: Retry,
    pub halt: Halt,
    pub report: Report,
}

impl Patience {
    /// Something has come: the waits begin anew.
    pub fn progress(&mut self) {
        self.retry.progress();
    }

    /// Waits before the next try; where there is none, the error is the last.
    pub fn wait(&mut self, error: Error) -> Result<(), Error> {
        if self.halt.is_raised() {
            return Err(given_up());
        }
        let failure = retry::Failure { retry_after_s: error.retry_after_s };
        let next = match error.may_heal() {
            true => self.retry.next(machine::uptime_ms(), &failure, random()),
            false => Next::GiveUp,
        };
        let Next::Wait { ms } = next else {
            // Whoever asked us need not try again.
            return Err(error.last());
        };
        let seconds = (ms + 500) / 1000;
        self.report.warn("pull", format_args!("{}; again in {seconds} s", error.text));
        match self.halt.wait(ms) {
            true => Ok(()),
            false => Err(given_up()),
        }
    }
}

/// Whoever wanted it does so no more.
pub fn given_up() -> Error {
    Error::refused("given up")
}

/// Machines that were started together should not ask again together.
fn random() -> u8 {
    let mut byte = [0; 1];
    // Early in a boot there may be no random bytes: the clock's last digits do.
    match machine::random(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => machine::uptime_ms() as u8,
    }
}
