//! A word to those who wait: what they wait for is not wanted any more.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by all its clones.
#[derive(Clone, Default)]
pub struct Halt(Arc<(Mutex<bool>, Condvar)>);

impl Halt {
    pub fn raise(&self) {
        *self.lock() = true;
        self.0 .1.notify_all();
    }

    pub fn is_raised(&self) -> bool {
        *self.lock()
    }

    /// Waits so long; false as soon as it is raised.
    pub fn wait(&self, ms: u64) -> bool {
        let end = Instant::now() + Duration::from_millis(ms);
        let mut raised = self.lock();
        while !*raised {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            raised = self.0 .1.wait_timeout(raised, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0 .0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken() {
        let halt = Halt::default();
        assert!(halt.wait(1));
        let other = halt.clone();
        let waiting = std::thread::spawn(move || other.wait(u64::from(u32::MAX)));
        halt.raise();
        assert!(!waiting.join().unwrap() && halt.is_raised() && !halt.wait(1000));
    }
}
