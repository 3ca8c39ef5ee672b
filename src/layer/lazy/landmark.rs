//! Files that stargz-snapshotter's converter adds to a layer for its own use.
//!
//! Source: stargz-snapshotter, `docs/estargz.md`, "Prioritized Files and Landmark Files".

use crate::archive::LayerPath;

use super::toc_json::JsonEntry;

/// The name of the table of contents in the archive.
pub(super) const TOC_NAME: &[u8] = b"stargz.index.json";
/// Says that files before it are to be fetched ahead.
const PREFETCH_LANDMARK: &[u8] = b".prefetch.landmark";
/// Says that nothing is.
const NO_PREFETCH_LANDMARK: &[u8] = b".no.prefetch.landmark";

/// Whether `path` is a file of the format and not of the image.
pub(super) fn is_hidden(path: &LayerPath) -> bool {
    [PREFETCH_LANDMARK, NO_PREFETCH_LANDMARK, TOC_NAME].contains(&path.as_bytes())
}

/// Looks for what is wanted first among entries that come by.
#[derive(Debug, Default)]
pub(super) struct Landmark(Option<i64>);

impl Landmark {
    /// Looks at the next entry.
    pub(super) fn see(&mut self, entry: &JsonEntry<'_>) {
        // By far most names are none.
        if self.0.is_none()
            && entry.name.as_bytes().ends_with(PREFETCH_LANDMARK)
            && let Ok(path) = LayerPath::parse(entry.name.as_bytes())
            && path.as_bytes() == PREFETCH_LANDMARK
        {
            self.0 = Some(entry.offset);
        }
    }

    /// Where in the blob that ends which is wanted first, if an entry said it, no later than `end`.
    pub(super) fn prefetch(&self, end: u64) -> Option<u64> {
        self.0.and_then(|offset| u64::try_from(offset).ok()).filter(|&offset| offset <= end)
    }
}
