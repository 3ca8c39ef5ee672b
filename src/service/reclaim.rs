//! Deletes in the background what no snapshot needs: containerd waits for Cleanup with its
//! metadata locked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Error;
use super::counts::Counts;
use super::images::Images;
use crate::digest::Digest;
use crate::snapshot::{Backend, OverlaySnapshotter, Snapshotter};

/// How long apart two runs are at least: containerd collects in bursts.
const PAUSE: Duration = Duration::from_millis(500);

/// How long apart two runs are at most.
const EVERY: Duration = Duration::from_secs(3600);

/// What others than snapshots need, as mounts of images, by chain ID, diffID and blob; `None` where
/// that cannot be told.
pub type Needed = Arc<dyn Fn() -> Option<BTreeSet<Digest>> + Send + Sync>;

/// Asks for a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Reclaim(Arc<Notify>);

impl Reclaim {
    pub(super) fn ask(&self) {
        self.0.notify_one();
    }

    /// Runs whenever it is asked for, and now and then.
    pub(super) async fn run(self, reclaimer: Arc<Reclaimer>) {
        loop {
            // Both ends of the wait mean the same.
            let _ = tokio::time::timeout(EVERY, self.0.notified()).await;
            let reclaimer = reclaimer.clone();
            match tokio::task::spawn_blocking(move || reclaimer.reclaim()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "not all that is unneeded is deleted"),
                Err(_) => tracing::error!("deleting what is unneeded ended by a panic"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Does the work.
pub(super) struct Reclaimer {
    pub(super) backend: Arc<Backend>,
    pub(super) snapshots: OverlaySnapshotter,
    pub(super) images: Arc<Images>,
    pub(super) needed: Needed,
    pub(super) counts: Arc<Counts>,
}

impl Reclaimer {
    fn reclaim(&self) -> Result<(), Error> {
        self.counts.reclaims.add(1);
        self.images.forget(|| Ok(self.backend.snapshot_chains()?.into_iter().collect()))?;
        if let Some(needed) = (self.needed)() {
            let collected = self.backend.collect(&|digest| needed.contains(digest))?;
            tracing::debug!(?collected, "collected");
        }
        Ok(self.snapshots.cleanup()?)
    }
}
