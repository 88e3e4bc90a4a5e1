//! Retries what arrives damaged.

use crate::image::source::Error;
use crate::report::Report;

/// How often something is requested that arrives damaged.
const TRIES: u32 = 3;

/// Calls `attempt` until it succeeds or is refused, [`TRIES`] times at most.
pub fn retry<T>(report: &Report, object: &str, attempt: &mut dyn FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut tries = 1;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !error.may_heal() || tries == TRIES {
            return Err(if object.is_empty() { error } else { error.of(object) });
        }
        let colon = if object.is_empty() { "" } else { ": " };
        report.warn("pull", format_args!("{object}{colon}{}; try {tries} of {TRIES}", error.text));
        tries += 1;
    }
}
