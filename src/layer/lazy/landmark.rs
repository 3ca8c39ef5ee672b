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

/// Where in the blob that ends which is wanted first, if `entries` say it, no later than `end`.
pub(super) fn prefetch(entries: &[JsonEntry], end: u64) -> Option<u64> {
    let is_landmark = |entry: &&JsonEntry| {
        LayerPath::parse(entry.name.as_bytes())
            .is_ok_and(|path| path.as_bytes() == PREFETCH_LANDMARK)
    };
    let landmark = entries.iter().find(is_landmark)?;
    u64::try_from(landmark.offset).ok().filter(|&offset| offset <= end)
}
