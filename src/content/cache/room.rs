//! Keeping the cache within its limit: layers that are open, in this process or others, and layers
//! that nobody has open.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::LayerCache;
use super::stored::{self, StoredLayer};

/// Eviction goes on until this share of the limit is free again, so that it does not run at every
/// miss.
const SLACK_DIVISOR: u64 = 16;
/// What was read within so many seconds is being read, and stays.
const GRACE: u32 = 2;
/// How long caching pauses after the disk was full.
const FULL_PAUSE: Duration = Duration::from_secs(10);
/// How long what was counted counts; then others may have added much.
const COUNT_AGE: Duration = Duration::from_secs(30);

/// What is known of the use of the disk.
#[derive(Debug)]
pub(super) struct Room {
    /// When the files were last counted, and what was used then.
    counted: Option<(Instant, u64)>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { counted: None }
    }
}

impl LayerCache {
    /// Bytes that all layers hold on disk, those that other processes keep among them.
    pub fn stored(&self) -> u64 {
        let unsynced: u64 = self.open_layers().iter().map(|layer| layer.unsynced()).sum();
        let ingesting = self.ingesting.load(Ordering::Relaxed);
        stored::list(&self.dir).iter().map(StoredLayer::stored).sum::<u64>() + unsynced + ingesting
    }

    /// Whether `len` more bytes may be kept; makes room for them where there is none.
    pub(super) fn has_room(&self, len: u64) -> bool {
        if self.is_full() {
            return false;
        }
        let used = self.used.fetch_add(len, Ordering::Relaxed) + len;
        // One counts and evicts; the others go on within the slack.
        let Some(mut room) = self.room.try_lock() else {
            return used <= self.limit.saturating_add(self.limit / SLACK_DIVISOR);
        };
        // Others may have added as much as this process, or more.
        let is_old = room.counted.is_none_or(|(at, then)| {
            at.elapsed() > COUNT_AGE || used.saturating_sub(then) > self.limit / SLACK_DIVISOR
        });
        if used <= self.limit && !(is_old && used > self.limit / 2) {
            return true;
        }
        let used = self.make_room(len);
        room.counted = Some((Instant::now(), used));
        self.used.store(used.saturating_add(len), Ordering::Relaxed);
        if used.saturating_add(len) <= self.limit {
            return true;
        }
        drop(room);
        self.pause(&io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "its limit is taken by what is being read",
        ));
        false
    }

    /// Whether there is room for more than what reads bring.
    pub(super) fn may_fill(&self) -> bool {
        !self.is_full()
            && self.used.load(Ordering::Relaxed) < self.limit - self.limit / SLACK_DIVISOR
    }

    /// Evicts what was read longest ago, until `len` more bytes fit; returns what is used then.
    fn make_room(&self, len: u64) -> u64 {
        self.open_layers().iter().for_each(|layer| layer.sync());
        let layers = stored::list(&self.dir);
        let stored: u64 = layers.iter().map(StoredLayer::stored).sum();
        let used = stored + self.whole_stored() + self.ingesting.load(Ordering::Relaxed);
        if used.saturating_add(len) <= self.limit {
            return used;
        }
        let target = self.limit.saturating_sub(self.limit / SLACK_DIVISOR).saturating_sub(len);
        let excess = used.saturating_sub(target);
        // What can be made again of what stays goes first.
        let whole = self.evict_whole(excess);
        let until = self.now().saturating_sub(GRACE);
        used - whole - self.evict(&layers, excess.saturating_sub(whole), until)
    }

    /// Evicts at least `excess` bytes, if that many were read before `until`: the least recently
    /// used first. Returns how many.
    pub(super) fn evict(&self, layers: &[StoredLayer], excess: u64, until: u32) -> u64 {
        let mut freed = 0;
        for (_, layer, span) in oldest_first(layers, until) {
            if freed >= excess {
                break;
            }
            let bytes = layer.evict(span);
            if bytes > 0 {
                freed += bytes;
                self.counters.evicted_spans.add(1);
                self.counters.evicted_bytes.add(bytes);
            }
        }
        freed
    }

    fn is_full(&self) -> bool {
        self.full_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Nothing more can be kept: reads go on without the cache, which is tried again later.
    pub(super) fn pause(&self, error: &io::Error) {
        let mut full_until = self.full_until.lock();
        let first = full_until.is_none_or(|until| until.elapsed() > 6 * FULL_PAUSE);
        *full_until = Some(Instant::now() + FULL_PAUSE);
        drop(full_until);
        self.counters.full.add(1);
        if first {
            tracing::warn!(%error, "span cache: nothing more is kept; reads go on without it");
        }
    }
}

/// The spans on disk that were read before `until`, the one read longest ago first.
fn oldest_first(layers: &[StoredLayer], until: u32) -> Vec<(u32, &StoredLayer, u32)> {
    let of_layer = |layer: &'_ StoredLayer| -> Vec<(u32, u32)> {
        layer.spans_used().filter(|(used, _)| *used < until).collect()
    };
    let mut spans = Vec::new();
    for layer in layers {
        spans.extend(of_layer(layer).into_iter().map(|(used, span)| (used, layer, span)));
    }
    spans.sort_by_key(|(used, _, span)| (*used, *span));
    spans
}
