//! Cancellation token shared by a client's threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Cancels the requests and the waits of all who have a clone of it.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<(Mutex<bool>, Condvar)>);

impl CancelToken {
    pub fn cancel(&self) {
        *self.lock() = true;
        self.0 .1.notify_all();
    }

    pub fn is_cancelled(&self) -> bool {
        *self.lock()
    }

    /// Waits for `ms`; false as soon as it is cancelled.
    pub fn wait(&self, ms: u64) -> bool {
        let end = Instant::now() + Duration::from_millis(ms);
        let mut cancelled = self.lock();
        while !*cancelled {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            cancelled = self.0 .1.wait_timeout(cancelled, left).unwrap_or_else(PoisonError::into_inner).0;
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
    fn a_wait_ends_when_it_is_cancelled() {
        let token = CancelToken::default();
        assert!(token.wait(1));
        let other = token.clone();
        let waiting = std::thread::spawn(move || other.wait(u64::from(u32::MAX)));
        token.cancel();
        assert!(!waiting.join().unwrap() && token.is_cancelled() && !token.wait(1000));
    }
}
