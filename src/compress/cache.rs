use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::flight::Flights;
use super::pages::Pages;

/// The usual bound of a [`SpanCache`] in bytes.
pub const CACHE_SIZE: u64 = 32 << 20;

/// What an entry weighs beyond its bytes.
const ENTRY_OVERHEAD: u64 = 128;
/// What an entry is taken to weigh when the cache is laid out.
const ENTRY_ESTIMATE: u64 = 256 << 10;
/// Each shard has its share of the bound, and no entry larger than that is kept: few shards.
const SHARDS: usize = 2;

/// A span of one of the layers that share a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) layer: u32,
    pub(super) span: u32,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Arc<Pages>> for Bytes {
    fn weight(&self, _: &Key, value: &Arc<Pages>) -> u64 {
        value.len() as u64 + ENTRY_OVERHEAD
    }
}

/// Verified spans in memory, bounded by their bytes, shared by the readers of many layers.
///
/// Locking: the cache locks a shard for the time of a look-up; the table of decodes under way has
/// a lock of its own. Neither is held while anything is read or decoded.
pub struct SpanCache {
    spans: Cache<Key, Arc<Pages>, Bytes>,
    pub(super) flights: Flights,
}

impl std::fmt::Debug for SpanCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpanCache")
            .field("spans", &self.spans.len())
            .field("bytes", &self.spans.weight())
            .finish_non_exhaustive()
    }
}

impl SpanCache {
    /// A cache of at most `size` bytes; a span that is larger than half of it is not kept.
    pub fn new(size: u64) -> Self {
        let items = usize::try_from(size / ENTRY_ESTIMATE).unwrap_or(usize::MAX).max(1);
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(items)
            .weight_capacity(size)
            .build();
        let spans = match options {
            Ok(options) => Cache::with_options(
                options,
                Bytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(items, size, Bytes),
        };
        Self { spans, flights: Flights::default() }
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> u64 {
        self.spans.weight()
    }

    pub(super) fn get(&self, key: Key) -> Option<Arc<Pages>> {
        self.spans.get(&key)
    }

    pub(super) fn insert(&self, key: Key, bytes: Arc<Pages>) {
        self.spans.insert(key, bytes);
    }
}
