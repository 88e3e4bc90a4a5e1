//! Progress of a download, as text for a serial console: at most one line a second, without cursor movement.

/// The least time between two lines.
const LINE_MS: u64 = 1000;
/// Bytes a second from which on a link is faster than one processor unpacks.
const FAST_BYTES: u64 = 32_000_000;
/// How long the link is measured before it can count as slow.
const JUDGED_MS: u64 = 250;

/// A download in progress.
pub struct Progress {
    total: u64,
    done: u64,
    start_ms: u64,
    /// Time and bytes of the last line.
    last_ms: u64,
    last_done: u64,
    /// Bytes a second, smoothed; none before the first line.
    rate: Option<u64>,
}

impl Progress {
    /// A download of `total` bytes that starts at `now_ms`.
    pub fn new(total: u64, now_ms: u64) -> Progress {
        Progress { total, done: 0, start_ms: now_ms, last_ms: now_ms, last_done: 0, rate: None }
    }

    /// The number of bytes received.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Whether the link, and not the processor, limits the download.
    pub fn is_slow(&self, now_ms: u64) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.start_ms);
        elapsed_ms >= JUDGED_MS && self.done.saturating_mul(1000) / elapsed_ms < FAST_BYTES
    }

    /// Adds `bytes` received by `now_ms`; returns a line if one is due.
    pub fn add(&mut self, now_ms: u64, bytes: u64) -> Option<String> {
        self.done = self.done.saturating_add(bytes);
        let elapsed_ms = now_ms.saturating_sub(self.last_ms);
        if elapsed_ms < LINE_MS || self.done >= self.total {
            return None;
        }
        let now = self.done.saturating_sub(self.last_done).saturating_mul(1000) / elapsed_ms;
        // The rate of a link varies, so earlier seconds count as much as the last one.
        let rate = self.rate.map_or(now, |before| before / 2 + now / 2);
        (self.rate, self.last_ms, self.last_done) = (Some(rate), now_ms, self.done);
        Some(self.line(rate))
    }

    /// Subtracts `bytes` that were discarded and will be fetched again.
    pub fn take_back(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
        self.last_done = self.last_done.min(self.done);
    }

    fn line(&self, rate: u64) -> String {
        let left = self.total - self.done;
        let percent = (self.done.saturating_mul(100) / self.total.max(1)).to_string();
        let mut line =
            [&size(self.done), " of ", &size(self.total), ", ", &percent, " %, ", &size(rate), "/s"].concat();
        if rate > 0 {
            line += &[", ", &left.div_ceil(rate).to_string(), " s left"].concat();
        }
        line
    }
}

/// A size for messages: `12.3 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => [&bytes.to_string(), " B"].concat(),
        10_000..=9_999_999 => [&(bytes / 1000).to_string(), " kB"].concat(),
        _ => [&(bytes / 1_000_000).to_string(), ".", &(bytes / 100_000 % 10).to_string(), " MB"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: progress-lines
    #[test]
    fn a_line_a_second_at_most() {
        let mut progress = Progress::new(100_000_000, 5_000);
        let lines: Vec<_> =
            (1..=30).filter_map(|step| Some((step, progress.add(5_000 + step * 100, 1_000_000)?))).collect();
        assert_eq!(
            lines,
            [
                (10, "10.0 MB of 100.0 MB, 10 %, 10.0 MB/s, 9 s left".to_string()),
                (20, "20.0 MB of 100.0 MB, 20 %, 10.0 MB/s, 8 s left".to_string()),
                (30, "30.0 MB of 100.0 MB, 30 %, 10.0 MB/s, 7 s left".to_string()),
            ]
        );
    }

    /// Promise: connections
    #[test]
    fn a_slow_link_is_known_after_a_while() {
        let mut progress = Progress::new(1_000_000_000, 7_000);
        assert!(!progress.is_slow(7_000) && !progress.is_slow(7_249), "nothing has had time to come");
        assert!(progress.is_slow(7_250));
        progress.add(7_250, 8_000_000);
        assert!(!progress.is_slow(7_250) && progress.is_slow(7_251));
    }

    #[test]
    fn what_comes_again_and_what_stands_still() {
        let mut progress = Progress::new(20_000, 0);
        assert_eq!(progress.add(1000, 10_000).as_deref(), Some("10 kB of 20 kB, 50 %, 10 kB/s, 1 s left"));
        progress.take_back(10_000);
        assert_eq!(progress.done(), 0);
        assert_eq!(progress.add(2000, 0).as_deref(), Some("0 B of 20 kB, 0 %, 5000 B/s, 4 s left"));
        assert_eq!(Progress::new(1, 0).add(1000, 0).as_deref(), Some("0 B of 1 B, 0 %, 0 B/s"));
        assert_eq!(progress.add(9000, 20_000), None, "the end has a line of its own");
        assert_eq!(progress.add(9000, u64::MAX), None);
    }
}
