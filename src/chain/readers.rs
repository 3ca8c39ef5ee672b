//! The layers of a chain as what reads them: through a cache, with windows that may be apart, and with
//! a way back from a table of contents that is wrong.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::compress::{BlobSpans, SpanReader, SpanSource, SpanTable};
use crate::content::cache::CachedLayer;
use crate::content::{Descriptor, Provider};
use crate::image;
use crate::io::{CountingReader, ReadAt};
use crate::layer::{FormatError, Origin, StoredTable, WindowsApart};
use crate::tree::{self, Tree};

use super::artifact::WINDOWS;
use super::fallback::{Fallback, Parts};
use super::lazy::Lazy;
use super::{Error, Layer, Store};

/// Of how many inodes of a layer it is looked up where their data are.
const MAX_FILES: u32 = 1 << 18;

/// Decoded bytes, and where they are kept on disk, if they are.
pub(super) type Reader = (Arc<dyn ReadAt>, Option<Arc<CachedLayer>>);

impl Store {
    /// `layer`, whose own tree is `raw`, as `index` says.
    pub(super) fn layer(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
        raw: Tree,
        index: StoredTable,
    ) -> Result<Layer, Error> {
        let origin = index.identity.origin.clone();
        let descriptor = &layer.descriptor;
        let digest = &descriptor.digest;
        let content = |source| Error::Content { digest: digest.clone(), source };
        let blob = Arc::new(CountingReader::new(provider.open(descriptor).map_err(content)?));
        let lazy = Lazy::of(&index.table);
        let (windows, apart) = match &index.apart {
            None => (index.windows, None),
            Some(apart) => self.windows_apart(provider, layer, apart, &index.table)?,
        };
        let spans = BlobSpans::new(index.table, windows, blob.clone());
        let (reader, cached): Reader = if lazy.is_lazy() && !provider.is_remote() {
            (self.in_memory(Arc::new(spans)), None)
        } else {
            self.cached(digest, Arc::new(spans))
        };
        let diff_id = layer.diff_id.clone();
        let raw = Arc::new(raw);
        if let Some(cached) = &cached {
            let raw = raw.clone();
            cached.set_files(Box::new(move || files(&raw)));
        }
        let descriptor = descriptor.clone();
        let fallback = (origin != Origin::Scan).then(|| {
            let parts = Parts {
                provider: provider.clone(),
                layer: layer.clone(),
                origin: origin.clone(),
                indexes: self.indexes.clone(),
                known: self.known.clone(),
                cache: self.cache().ok().filter(|_| provider.is_remote()).cloned(),
            };
            Fallback::new(parts, reader.clone())
        });
        let reader = fallback.clone().map_or(reader, |fallback| fallback);
        Ok(Layer {
            diff_id,
            descriptor,
            raw,
            reader,
            blob,
            lazy,
            origin,
            cached,
            windows: apart,
            fallback,
        })
    }

    /// The windows of `layer` that are in a blob beside the image, each group fetched and checked when
    /// it is needed.
    fn windows_apart(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
        apart: &WindowsApart,
        table: &SpanTable,
    ) -> Result<Reader, Error> {
        let digest = &layer.descriptor.digest;
        let descriptor = Descriptor::new(WINDOWS, apart.blob.clone(), table.windows_size);
        let blob = provider.open(&descriptor);
        let blob = blob.map_err(|source| Error::Content { digest: apart.blob.clone(), source })?;
        let broken = || FormatError::Invalid("windows apart");
        let pieces = apart.table(table).ok_or_else(broken);
        let pieces = pieces
            .map_err(|source| Error::Index { digest: digest.clone(), source: source.into() })?;
        let spans = BlobSpans::new(pieces, Arc::new(Vec::new()), blob);
        Ok(self.cached_windows(digest, Arc::new(spans)))
    }

    /// A layer through the cache in memory alone.
    pub(super) fn in_memory(&self, spans: Arc<dyn SpanSource>) -> Arc<dyn ReadAt> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Arc::new(SpanReader::new(spans, number, self.memory.clone()))
    }
}

/// Where the data of each file of a layer are, as far as its first [`MAX_FILES`] inodes tell.
fn files(raw: &Tree) -> Vec<Range<u64>> {
    let inodes = raw.summary().inodes.min(MAX_FILES);
    let extents = (1..=inodes).filter_map(|ino| raw.extents(ino, 0).ok()).flatten().flatten();
    let range =
        |extent: tree::Extent| extent.layer_offset..extent.layer_offset.saturating_add(extent.len);
    extents.map(range).collect()
}
