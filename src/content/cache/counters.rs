use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::Histogram;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// What a cache did since it was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes answered from disk.
    pub hit_bytes: Counter,
    /// Reads that had to wait for bytes that were not on disk.
    pub misses: Counter,
    /// How long those waited.
    pub miss_latency: Histogram,
    /// Compressed bytes of the spans that reads have wanted since a start began, each once.
    pub wanted_bytes: Counter,
    /// Compressed bytes that reads asked for.
    pub demand_bytes: Counter,
    /// Compressed bytes that were asked for before a read wanted them.
    pub ahead_bytes: Counter,
    /// Fetches of several spans at once, for reads and ahead of them.
    pub fetches: Counter,
    /// Uncompressed bytes admitted.
    pub admitted_bytes: Counter,
    /// Uncompressed bytes evicted.
    pub evicted_bytes: Counter,
    /// Spans evicted.
    pub evicted_spans: Counter,
    /// Spans on disk that failed their digest and were dropped.
    pub corrupt: Counter,
    /// Fetched spans that failed their digest.
    pub mismatched: Counter,
    /// Spans that were not kept because the disk took nothing, or everything else was in use.
    pub full: Counter,
    /// Layers that became complete.
    pub completed: Counter,
    /// Layers whose table of contents turned out to be wrong, so that they were read whole.
    pub distrusted: Counter,
}

/// What one layer did since it was opened.
#[derive(Debug, Default)]
pub struct LayerCounters {
    /// Uncompressed bytes that reads were given from disk.
    pub hit_bytes: Counter,
    /// Uncompressed bytes that reads were given.
    pub served_bytes: Counter,
    /// Compressed bytes asked for.
    pub fetched_bytes: Counter,
    /// Fetches of one or several spans.
    pub fetches: Counter,
}
