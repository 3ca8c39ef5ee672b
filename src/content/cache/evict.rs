use std::sync::Arc;

use super::{CachedLayer, LayerCache};

/// Eviction goes on until this share of the limit is free again, so that it does not run at every
/// miss.
const SLACK_DIVISOR: u64 = 16;

impl LayerCache {
    /// Bytes that the open layers hold on disk.
    pub fn stored(&self) -> u64 {
        self.open_layers().iter().map(|layer| layer.state().stored).sum()
    }

    /// Drops data of whole chains and then the spans that were read longest ago, until what the open
    /// layers hold is within the limit.
    pub(super) fn keep_to_limit(&self) {
        let layers = self.open_layers();
        let spans: u64 = layers.iter().map(|layer| layer.state().stored).sum();
        let stored = spans + self.whole_stored();
        if stored <= self.limit {
            return;
        }
        let mut excess = stored - (self.limit - self.limit / SLACK_DIVISOR);
        // What can be made again of what stays goes first.
        excess = excess.saturating_sub(self.evict_whole(excess));
        for (layer, span) in oldest_first(&layers) {
            if excess == 0 {
                break;
            }
            let before = layer.state().stored;
            layer.evict(span);
            excess = excess.saturating_sub(before.saturating_sub(layer.state().stored));
        }
    }
}

/// The spans on disk, the one read longest ago first.
fn oldest_first(layers: &[Arc<CachedLayer>]) -> Vec<(&Arc<CachedLayer>, u32)> {
    let mut spans: Vec<_> = layers
        .iter()
        .flat_map(|layer| (0..).zip(&layer.used).map(move |(i, used)| (layer, i, used)))
        .filter(|(layer, i, _)| layer.is_here(*i))
        .map(|(layer, i, used)| (used.load(std::sync::atomic::Ordering::Relaxed), layer, i))
        .collect();
    spans.sort_by_key(|(used, _, i)| (*used, *i));
    spans.into_iter().map(|(_, layer, i)| (layer, i)).collect()
}
