use crate::fuse;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count of what happened since the daemon started.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened since the daemon started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Layers that containerd was spared to download.
    pub(super) remote: Count,
    /// Layers that could not be shown lazily, so that containerd had to unpack them.
    pub(super) fallbacks: Count,
    /// Times that unneeded files were looked for.
    pub(super) reclaims: Count,
    /// Whether the mount was taken over from a daemon before: 1 or 0.
    pub(super) taken_over: Count,
}

impl Counts {
    /// Says in the log what happened.
    pub(super) fn log(&self, stats: &fuse::Stats) {
        tracing::info!(
            remote_layers = self.remote.get(),
            fallbacks = self.fallbacks.get(),
            reclaims = self.reclaims.get(),
            taken_over = self.taken_over.get(),
            reads = stats.reads.get(),
            faults = stats.faults.get(),
            "ending; the mount stays"
        );
    }
}
