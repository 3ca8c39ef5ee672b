//! When and how much is fetched in the background: nothing while reads wait, little at once where
//! the link is slow.

use std::time::{Duration, Instant};

use super::plan::RUN_MAX;

/// How long after the last read that waited the background begins; a start goes on until then.
const START_QUIET: Duration = Duration::from_secs(5);
/// How long it pauses for later reads.
const QUIET: Duration = Duration::from_millis(200);
/// How long one fetch of the background should take, so that a read waits no longer behind it.
const FETCH: Duration = Duration::from_millis(250);
/// The smallest fetch in compressed bytes.
const RUN_MIN: u64 = 128 << 10;
/// The first pause after a failure; it doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What is known of the link and of those who use it.
#[derive(Debug)]
pub(super) struct Pace {
    waiting: usize,
    /// When the last read ended that waited.
    last_read: Instant,
    /// Whether the first quiet has been.
    settled: bool,
    /// Bytes a second, of one fetch.
    rate: Option<f64>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting: 0,
            last_read: now,
            settled: false,
            rate: None,
            pause: FIRST_PAUSE,
            not_before: None,
        }
    }

    pub(super) fn read_begins(&mut self) {
        self.waiting += 1;
    }

    pub(super) fn read_ends(&mut self, now: Instant) {
        self.waiting = self.waiting.saturating_sub(1);
        self.last_read = now;
    }

    /// A start begins: it is waited for.
    pub(super) fn start_begins(&mut self, now: Instant) {
        (self.settled, self.last_read) = (false, now);
    }

    /// `None`: the background may fetch. Else not before this has passed.
    pub(super) fn background_in(&mut self, now: Instant) -> Option<Duration> {
        let quiet = if self.settled { QUIET } else { START_QUIET };
        if self.waiting > 0 {
            return Some(QUIET);
        }
        let ready = self.not_before.unwrap_or(now).max(self.last_read + quiet);
        let wait = ready.saturating_duration_since(now);
        if wait.is_zero() {
            self.settled = true;
            return None;
        }
        Some(wait)
    }

    /// Notes that `len` bytes came in the time `took`.
    pub(super) fn fetched(&mut self, len: u64, took: Duration) {
        let rate = len as f64 / took.as_secs_f64().max(1e-6);
        self.rate = Some(self.rate.map_or(rate, |old| 0.7 * old + 0.3 * rate));
        (self.pause, self.not_before) = (FIRST_PAUSE, None);
    }

    /// Notes a failure.
    pub(super) fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }

    /// How many compressed bytes are fetched at once.
    pub(super) fn run_size(&self) -> u64 {
        let Some(rate) = self.rate else { return RUN_MIN * 2 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let size = (rate * FETCH.as_secs_f64()) as u64;
        size.clamp(RUN_MIN, RUN_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_waits_for_a_start_then_for_reads_only() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut pace = Pace::new(begin);
        assert!(pace.background_in(at(4900)).is_some());
        pace.read_begins();
        pace.read_ends(at(4000));
        assert_eq!(pace.background_in(at(8000)), Some(Duration::from_secs(1)));
        assert_eq!(pace.background_in(at(9000)), None);
        pace.read_begins();
        assert!(pace.background_in(at(20_000)).is_some());
        pace.read_ends(at(20_000));
        assert!(pace.background_in(at(20_100)).is_some());
        assert_eq!(pace.background_in(at(20_200)), None);
        pace.start_begins(at(30_000));
        assert!(pace.background_in(at(33_000)).is_some());
    }

    #[test]
    fn fetches_fit_the_link() {
        let mut pace = Pace::new(Instant::now());
        for _ in 0..50 {
            pace.fetched(100_000, Duration::from_secs(1));
        }
        assert_eq!(pace.run_size(), RUN_MIN);
        for _ in 0..50 {
            pace.fetched(4_000_000, Duration::from_secs(1));
        }
        assert!((900_000..1_000_000).contains(&pace.run_size()), "{}", pace.run_size());
        for _ in 0..50 {
            pace.fetched(RUN_MAX, Duration::from_millis(1));
        }
        assert_eq!(pace.run_size(), RUN_MAX);
    }

    #[test]
    fn failures_are_waited_out_longer_and_longer() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let mut now = begin + START_QUIET;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            pace.failed(now);
            assert_eq!(pace.background_in(now), Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert_eq!(pace.background_in(now), None);
        }
        pace.fetched(1, Duration::from_secs(1));
        pace.failed(now);
        assert_eq!(pace.background_in(now), Some(Duration::from_secs(1)));
    }
}
