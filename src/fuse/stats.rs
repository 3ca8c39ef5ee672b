use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::miss::Failure;
use super::throttle::Throttle;

/// Counts of what one mount was asked and answered, since it was made.
#[derive(Debug, Default)]
pub struct Stats {
    /// LOOKUP requests.
    pub lookups: Counter,
    /// GETATTR requests.
    pub getattrs: Counter,
    /// READDIR and READDIRPLUS requests.
    pub readdirs: Counter,
    /// READLINK requests.
    pub readlinks: Counter,
    /// GETXATTR and LISTXATTR requests.
    pub xattrs: Counter,
    /// OPEN and OPENDIR requests.
    pub opens: Counter,
    /// READ requests that were answered at once.
    pub reads: Counter,
    /// READ requests that had to wait for content.
    pub misses: Counter,
    /// Bytes of content given to the kernel.
    pub read_bytes: Counter,
    /// READ requests that failed because their deadline passed.
    pub overdue: Counter,
    /// READ requests that failed because too many were waiting.
    pub rejected: Counter,
    /// Requests that failed through a fault of the filesystem or its content (EIO).
    pub faults: Counter,
    /// Requests whose handling panicked; also counted as faults.
    pub panics: Counter,
    log: Throttle,
}

impl Stats {
    /// Counts a fault, and says whether to log it: how many were not logged before it.
    pub(super) fn fault(&self) -> Option<u64> {
        self.faults.add(1);
        self.log.line(Instant::now())
    }

    /// Counts why a read that waited failed, but for the fault that it is.
    pub(super) fn count(&self, failure: Failure) {
        match failure {
            Failure::Overdue => self.overdue.add(1),
            Failure::Full => self.rejected.add(1),
            Failure::Panicked => self.panics.add(1),
            Failure::Closed => {}
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}
