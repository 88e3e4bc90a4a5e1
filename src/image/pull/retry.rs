//! What arrives damaged is asked for again.

use crate::image::source::Error;
use crate::report::Report;

/// How often what arrives damaged is asked for.
const TRIES: u32 = 3;

/// Does `attempt` until it works or is refused, a few times at most.
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
