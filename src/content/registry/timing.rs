use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// How long things may take. The defaults make an outage of 15 s invisible and one for good an
/// error within about half a minute.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of an answer.
    pub response: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
    /// For one read or document with all tries, before what its size adds.
    pub total: Duration,
    /// What a size adds to `total`: the slowest rate that is put up with, in bytes a second.
    pub min_rate: u64,
    /// The first pause between tries; it doubles up to `max_pause`.
    pub first_pause: Duration,
    /// The longest pause between tries.
    pub max_pause: Duration,
    /// How long a server that failed is asked last only; it doubles up to `max_shun`.
    pub first_shun: Duration,
    /// The longest time for which a server is asked last only.
    pub max_shun: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            total: Duration::from_secs(30),
            min_rate: 64 << 10,
            first_pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(3),
            first_shun: Duration::from_secs(5),
            max_shun: Duration::from_secs(60),
        }
    }
}

impl Timing {
    /// How long a transfer of `len` bytes may take with all tries.
    pub(super) fn budget(&self, len: u64) -> Duration {
        self.total + Duration::from_secs(len / self.min_rate.max(1))
    }

    /// The pause before try `n`, counted from 1: somewhere between half and all of the step, so
    /// that many readers do not come back at once.
    pub(super) fn pause(&self, n: u32) -> Duration {
        let step = self.first_pause.saturating_mul(1 << n.saturating_sub(1).min(16));
        let step = step.min(self.max_pause);
        // The hasher's keys are random, which is all that is wanted here.
        let random = RandomState::new().hash_one(n) % 1024;
        step / 2 + step.mul_f64(0.5 * random as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let timing = Timing::default();
        for n in 1..40 {
            let pause = timing.pause(n);
            assert!(pause <= timing.max_pause && pause >= timing.first_pause / 2, "{n}: {pause:?}");
        }
        assert!(timing.pause(30) >= timing.max_pause / 2);
        let pauses: std::collections::HashSet<_> = (0..50).map(|_| timing.pause(5)).collect();
        assert!(pauses.len() > 1);
    }

    #[test]
    fn size_adds_to_the_budget() {
        let timing = Timing::default();
        assert_eq!(timing.budget(0), timing.total);
        assert_eq!(timing.budget(64 << 20), timing.total + Duration::from_secs(1024));
    }
}
