//! A bound on lines in the log: a program that reads a broken file in a loop must not fill a disk.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many lines are let through in each [`WINDOW`].
const LINES: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Lets so many lines through and counts the rest.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    begun: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Throttle {
    /// Whether a line may be written now, and how many were not since the last one.
    pub(super) fn line(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let fresh = state.begun.is_none_or(|begun| now.duration_since(begun) >= WINDOW);
        if fresh {
            state.begun = Some(now);
            state.lines = 0;
        }
        if state.lines >= LINES {
            state.suppressed += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_past_the_bound_are_counted_and_told_later() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..LINES {
            assert_eq!(throttle.line(now), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(throttle.line(now + WINDOW / 2), None);
        }
        assert_eq!(throttle.line(now + WINDOW), Some(7));
        assert_eq!(throttle.line(now + WINDOW), Some(0));
    }
}
