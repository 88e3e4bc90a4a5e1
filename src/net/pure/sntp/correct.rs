//! What a running clock needs, by how far it is off.

/// A correction of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// It is as right as the answer is.
    None,
    /// Let it run a little faster or slower until this much is gained.
    Slew { ms: i64 },
    /// Set it.
    Step,
}

/// Less than the network's own delays.
const NOISE_MS: i64 = 2;
/// The kernel slews half a millisecond a second: this takes 17 minutes, as long as the time between two questions.
const SLEW_MAX_MS: i64 = 500;

/// What to do about a clock that is `behind_ms` behind, by an answer whose round trip took `delay_ms`.
pub fn correction(behind_ms: i64, delay_ms: u64) -> Correction {
    let off_ms = behind_ms.saturating_abs();
    // Half of the round trip is the error that the answer may have.
    if off_ms <= NOISE_MS || off_ms <= (delay_ms / 2).min(SLEW_MAX_MS as u64) as i64 {
        Correction::None
    } else if off_ms <= SLEW_MAX_MS {
        Correction::Slew { ms: behind_ms }
    } else {
        Correction::Step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: clock-kept
    #[test]
    fn small_offsets_are_slewed_and_large_ones_stepped() {
        assert_eq!(correction(0, 0), Correction::None);
        assert_eq!(correction(-2, 1), Correction::None);
        assert_eq!(correction(-3, 1), Correction::Slew { ms: -3 });
        assert_eq!(correction(40, 80), Correction::None, "the answer may be wrong by as much");
        assert_eq!(correction(41, 80), Correction::Slew { ms: 41 });
        assert_eq!(correction(500, 10), Correction::Slew { ms: 500 });
        assert_eq!(correction(-501, u64::MAX), Correction::Step);
        assert_eq!(correction(i64::MIN, 10), Correction::Step);
    }
}
