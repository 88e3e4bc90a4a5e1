//! When a request to a registry is retried, and when it has failed: the policy, without a clock.

/// The options of a container for retries; `None` for the defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// `--retry`: the number of retries.
    pub retries: Option<u32>,
    /// `--retry-delay`: the wait before each try, which then does not grow (podman).
    pub delay_ms: Option<u64>,
}

/// A failure, as far as the policy depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failure {
    /// The seconds of the server's `Retry-After`.
    pub retry_after_s: Option<u64>,
    /// Nothing answers there yet.
    pub is_absent: bool,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Wait { ms: u64 },
    GiveUp,
}

/// Retries before anything of the image was received. They are few, since the image may be in the store.
const RETRIES_AT_FIRST: u32 = 2;
/// Retries afterwards, and the least time until giving up: a server that restarts needs a minute, and a busy one may
/// answer so ten times.
const RETRIES: u32 = 10;
const RETRY_MS: u64 = 120_000;
const DELAY_MS: u64 = 500;
const DELAY_MAX_MS: u64 = 30_000;
/// The same while nothing answers: one machine more costs a server that starts little, and a boot waits for it.
const DELAY_ABSENT_MAX_MS: u64 = 10_000;
/// The longest wait that a `Retry-After` may ask for.
const RETRY_AFTER_MAX_S: u64 = 300;
/// The same if the image is stored.
const RETRY_AFTER_CACHED_S: u64 = 10;
/// How long a stored image is kept waiting: whoever does not answer at all is asked once.
const CACHED_MS: u64 = 10_000;

/// The failures in a row of one image's registry.
#[derive(Debug, Clone)]
pub struct Retry {
    policy: Policy,
    start_ms: u64,
    failures: u32,
    /// The time of the first of them.
    since_ms: u64,
    /// Whether anything of the image was received.
    reached: bool,
    /// The image is stored, and that one can be run.
    prefers_cached: bool,
    /// A registry that is not there yet is waited for.
    is_boot: bool,
}

impl Retry {
    /// For requests from `now_ms` on. `is_boot`: a lab powers on as a whole, so its registry may come later than this
    /// machine; a person at a command line wants to know at once.
    pub fn new(policy: Policy, is_boot: bool, now_ms: u64) -> Retry {
        let (failures, since_ms, reached, prefers_cached) = (0, 0, false, false);
        Retry { policy, start_ms: now_ms, failures, since_ms, reached, prefers_cached, is_boot }
    }

    /// Makes the waits short, as the image is stored.
    pub fn prefer_cached(&mut self) {
        self.prefers_cached = true;
    }

    /// Something of the image was received: earlier failures do not count any more.
    pub fn progress(&mut self) {
        (self.failures, self.reached) = (0, true);
    }

    /// What follows a failure at `now_ms`. `random` spreads the retries of machines that were started together.
    pub fn next(&mut self, now_ms: u64, failure: &Failure, random: u8) -> Next {
        if self.failures == 0 {
            self.since_ms = now_ms;
        }
        self.failures = self.failures.saturating_add(1);
        let is_patient = self.reached || (failure.retry_after_s.is_some() && !self.prefers_cached);
        let is_awaited = failure.is_absent && self.is_boot && !is_patient && !self.prefers_cached;
        let waited_ms = now_ms.saturating_sub(self.since_ms);
        let asked_max_s = if is_patient { RETRY_AFTER_MAX_S } else { RETRY_AFTER_CACHED_S };
        let gives_up = match self.policy.retries {
            Some(retries) => self.failures > retries,
            None if is_patient => self.failures > RETRIES && waited_ms >= RETRY_MS,
            None if is_awaited => waited_ms >= RETRY_MS,
            None if self.prefers_cached && now_ms.saturating_sub(self.start_ms) >= CACHED_MS => true,
            None => self.failures > RETRIES_AT_FIRST,
        };
        if gives_up {
            return Next::GiveUp;
        }
        let delay_max_ms = if is_awaited { DELAY_ABSENT_MAX_MS } else { DELAY_MAX_MS };
        let doubled = DELAY_MS.saturating_mul(1 << (self.failures - 1).min(16)).min(delay_max_ms);
        let asked_ms = failure.retry_after_s.unwrap_or(0).min(asked_max_s) * 1000;
        let ms = self.policy.delay_ms.unwrap_or(doubled).max(asked_ms);
        // The jitter adds up to a quarter and subtracts nothing, as a server does not expect a retry before its time.
        let jitter_ms = ms.min(DELAY_MAX_MS) / 4 * u64::from(random) / 255;
        Next::Wait { ms: ms.saturating_add(jitter_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: Failure = Failure { retry_after_s: None, is_absent: true };

    const fn busy(retry_after_s: u64) -> Failure {
        Failure { retry_after_s: Some(retry_after_s), is_absent: true }
    }

    /// On a host.
    fn at_first(policy: Policy) -> Retry {
        Retry::new(policy, false, 7_000)
    }

    fn reached(policy: Policy) -> Retry {
        let mut retry = at_first(policy);
        retry.progress();
        retry
    }

    /// The waits until `retry` gives up; each try takes `try_ms`.
    fn waits(mut retry: Retry, try_ms: u64, failure: &Failure, random: u8) -> Vec<u64> {
        let (mut now_ms, mut waits) = (7_000, Vec::new());
        while waits.len() < 1000 {
            now_ms += try_ms;
            match retry.next(now_ms, failure, random) {
                Next::Wait { ms } => waits.push(ms),
                Next::GiveUp => return waits,
            }
            now_ms += waits[waits.len() - 1];
        }
        panic!("never gives up");
    }

    #[test]
    fn a_stored_image_is_not_kept_waiting() {
        let mut retry = at_first(Policy::default());
        retry.prefer_cached();
        let busy = busy(300);
        assert_eq!(waits(retry.clone(), 10, &busy, 0), [10_000]);
        assert_eq!(waits(retry.clone(), 10, &AWAY, 0), [500, 1000]);
        assert_eq!(waits(retry.clone(), 4_000, &AWAY, 0), [500, 1000]);
        // One that does not answer at all is asked once.
        assert!(waits(retry.clone(), 10_000, &AWAY, 0).is_empty());
        // Once the new one has begun to come, it is.
        retry.progress();
        assert_eq!(waits(retry, 10, &busy, 0)[0], 300_000);
    }

    /// Nothing is stored, and nothing answers yet: the machines of a lab are powered on together.
    /// Promise: absent-registry
    #[test]
    fn a_boot_waits_two_minutes_for_a_registry() {
        let boot = Retry::new(Policy::default(), true, 7_000);
        let quick = waits(boot.clone(), 0, &AWAY, 0);
        assert_eq!(quick[..6], [500, 1000, 2000, 4000, 8000, 10_000]);
        // It is asked again soon after it has come, and not much longer than for two minutes.
        for (try_ms, random) in [(0, 0), (3_000, 128), (10_000, 255), (30_000, 0)] {
            let waits = waits(boot.clone(), try_ms, &AWAY, random);
            let all_ms = waits.iter().map(|wait| wait + try_ms).sum::<u64>();
            assert!((120_000..165_000).contains(&all_ms), "{try_ms}: {waits:?}");
            assert!(waits.iter().all(|wait| *wait <= 12_500), "{waits:?}");
        }
        // A server that answers, a stored image, a number of the user's, and a person at a command line.
        let answers = Failure { retry_after_s: None, is_absent: false };
        assert_eq!(waits(boot.clone(), 0, &answers, 0), [500, 1000]);
        let mut cached = boot.clone();
        cached.prefer_cached();
        assert_eq!(waits(cached, 0, &AWAY, 0), [500, 1000]);
        let told = Policy { retries: Some(1), delay_ms: None };
        assert_eq!(waits(Retry::new(told, true, 7_000), 0, &AWAY, 0), [500]);
        assert_eq!(waits(at_first(Policy::default()), 0, &AWAY, 0), [500, 1000]);
        // Once something has come, a server that is gone is waited for as in the middle of any pull.
        let mut begun = boot;
        begun.progress();
        assert_eq!(waits(begun, 0, &AWAY, 0).last(), Some(&30_000));
    }

    #[test]
    fn how_long_it_waits_before_it_gives_up() {
        let policy = |retries, delay_ms| Policy { retries, delay_ms };
        let own = Policy::default();
        let long = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000];
        for (retry, try_ms, expected) in [
            (at_first(own), 0, vec![500, 1000]),
            (at_first(own), 10_000, vec![500, 1000]),
            (reached(own), 0, long.into()),
            (reached(own), 30_000, long.into()),
            (at_first(policy(Some(0), None)), 0, vec![]),
            (reached(policy(Some(0), None)), 0, vec![]),
            (reached(policy(Some(3), None)), 0, vec![500, 1000, 2000]),
            (at_first(policy(Some(3), Some(70))), 0, vec![70, 70, 70]),
            (at_first(policy(None, Some(60_000))), 0, vec![60_000; 2]),
        ] {
            assert_eq!(waits(retry.clone(), try_ms, &AWAY, 0), expected, "{retry:?}");
        }
        // In number and in time: quick tries alone do not use the patience up.
        assert_eq!(waits(reached(policy(None, Some(1000))), 0, &AWAY, 0), vec![1000; 120]);
    }

    /// Promise: waits
    #[test]
    fn a_registry_that_is_gone_for_a_minute_in_mid_pull() {
        for (try_ms, random) in [(0, 0), (0, 255), (10_000, 0)] {
            let waits = waits(reached(Policy::default()), try_ms, &AWAY, random);
            let asked_ms = |count: usize| waits[..count].iter().map(|wait| wait + try_ms).sum::<u64>();
            let seen = (1..=waits.len()).find(|count| asked_ms(*count) >= 60_000);
            assert!(seen.is_some_and(|count| asked_ms(count) < 100_000), "{waits:?}");
        }
    }

    /// Promise: waits
    #[test]
    fn ten_times_busy_is_no_reason_to_give_up() {
        for (asked_s, first_ms) in [(0, 500), (1, 1000), (7, 7000), (60, 60_000), (300, 300_000), (86_400, 300_000)] {
            let busy = busy(asked_s);
            for retry in [at_first(Policy::default()), reached(Policy::default())] {
                let waits = waits(retry, 0, &busy, 0);
                assert!(waits.len() >= 10, "{asked_s} s: {waits:?}");
                assert_eq!(waits[0], first_ms);
                assert!(waits.iter().all(|wait| *wait >= asked_s.min(300) * 1000), "{asked_s} s: {waits:?}");
            }
        }
        let busy = busy(2);
        let told = Policy { retries: Some(1), delay_ms: Some(100) };
        assert_eq!(waits(at_first(told), 0, &busy, 0), [2000]);
    }

    #[test]
    fn chance_adds_up_to_a_quarter() {
        for (random, first, last) in [(0, 500, 30_000), (128, 562, 33_764), (255, 625, 37_500)] {
            let waits = waits(reached(Policy::default()), 0, &AWAY, random);
            assert_eq!((waits[0], waits[9]), (first, last), "{random}");
        }
        let busy = busy(300);
        let next = reached(Policy::default()).next(0, &busy, 255);
        assert_eq!(next, Next::Wait { ms: 307_500 });
    }

    #[test]
    fn progress_starts_anew() {
        let mut retry = at_first(Policy { retries: Some(1), delay_ms: None });
        assert_eq!(retry.next(0, &AWAY, 0), Next::Wait { ms: 500 });
        retry.progress();
        assert_eq!(retry.next(1, &AWAY, 0), Next::Wait { ms: 500 });
        assert_eq!(retry.next(2, &AWAY, 0), Next::GiveUp);
        // The time counts from the first failure after it, not from the start.
        let mut retry = reached(Policy::default());
        for _ in 0..10 {
            retry.next(0, &AWAY, 0);
        }
        retry.progress();
        let last = (0..11).map(|_| retry.next(200_000, &AWAY, 0)).last();
        assert_eq!(last, Some(Next::Wait { ms: 30_000 }));
        assert_eq!(retry.next(320_000, &AWAY, 0), Next::GiveUp);
    }

    #[test]
    fn numbers_at_their_ends() {
        let mut retry = reached(Policy { retries: Some(u32::MAX), delay_ms: Some(u64::MAX) });
        assert_eq!(retry.next(u64::MAX, &busy(u64::MAX), 255), Next::Wait { ms: u64::MAX });
        retry.failures = u32::MAX;
        assert_eq!(retry.next(0, &AWAY, 0), Next::Wait { ms: u64::MAX });
    }
}
