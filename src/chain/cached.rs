//! The cache on disk of a state root.

use std::fs;
use std::io;
use std::sync::Arc;

use crate::compress::{SpanError, SpanSource, SpanTable, StartTrace};
use crate::content::cache::{LayerCache, TraceStore};
use crate::digest::Digest;
use crate::image::Image;
use crate::layer::LayerIndex;

use super::readers::Reader;
use super::{Error, Store};

/// One of so many bytes of the limit of the cache is for windows: with spans of the usual size, they
/// are a hundredth of what they are for.
const WINDOWS_SHARE: u64 = 32;

impl Store {
    /// The cache on disk, opened when it is first needed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn cache(&self) -> Result<&Arc<LayerCache>, Error> {
        if let Some(cache) = self.disk.get() {
            return Ok(cache);
        }
        let dir = self.root.join("cache");
        let failed = |source| Error::Io { path: dir.clone(), source };
        let limit = match self.cache_limit {
            Some(limit) => limit,
            None => LayerCache::default_limit(&dir).map_err(failed)?,
        };
        let traces = TraceStore::new(&self.root.join("index"));
        let cache = LayerCache::open(&dir, limit, Some(traces)).map_err(failed)?;
        Ok(self.disk.get_or_init(|| cache))
    }

    /// A layer through the cache on disk or, where that cannot be used, the one in memory: a full
    /// disk is no reason not to start.
    pub(super) fn cached(&self, digest: &Digest, spans: Arc<dyn SpanSource>) -> Reader {
        let cached = self.cache().and_then(|cache| {
            let path = self.root.join("cache");
            cache.layer(digest, spans.clone()).map_err(|source| Error::Io { path, source })
        });
        match cached {
            Ok(cached) => (cached.clone(), Some(cached)),
            Err(error) => {
                tracing::warn!(%digest, %error, "the layer is read without the cache on disk");
                (self.in_memory(spans), None)
            }
        }
    }

    /// The cache on disk of the windows that indexes are without, opened when it is first needed.
    fn windows(&self) -> Result<&Arc<LayerCache>, Error> {
        if let Some(windows) = self.windows.get() {
            return Ok(windows);
        }
        let dir = self.root.join("windows");
        let limit = self.cache()?.limit() / WINDOWS_SHARE;
        let opened = LayerCache::open(&dir, limit, None);
        let opened = opened.map_err(|source| Error::Io { path: dir, source })?;
        Ok(self.windows.get_or_init(|| opened))
    }

    /// The windows of the layer `digest`, likewise. What is read of them is no sign of what is read
    /// next.
    pub(super) fn cached_windows(&self, digest: &Digest, groups: Arc<dyn SpanSource>) -> Reader {
        let cached = self.windows().and_then(|windows| {
            let path = self.root.join("windows");
            windows.layer(digest, groups.clone()).map_err(|source| Error::Io { path, source })
        });
        match cached {
            Ok(cached) => (cached.unnoticed(), Some(cached)),
            Err(error) => {
                tracing::warn!(%digest, %error, "windows are read without a cache on disk");
                (self.in_memory(groups), None)
            }
        }
    }

    /// What starts have read of the layers of `image`, as far as it was recorded here.
    pub fn traces(&self, image: &Image) -> Vec<(Digest, StartTrace)> {
        let store = TraceStore::new(&self.root.join("index"));
        let mut traces: Vec<(Digest, StartTrace)> = Vec::new();
        for layer in &image.layers {
            let digest = &layer.descriptor.digest;
            let is_new = traces.iter().all(|(other, _)| other != digest);
            match store.load(digest) {
                Ok(trace) => traces.extend(trace.filter(|_| is_new).map(|t| (digest.clone(), t))),
                Err(error) => tracing::warn!(%digest, %error, "trace cannot be read"),
            }
        }
        traces
    }

    /// Checks all that is on disk of the layers that have an index, and drops what fails. Returns
    /// how many spans of each were good, and how many were dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::IndexList`].
    pub fn verify_cache(&self) -> Result<Vec<(Digest, u64, u64)>, Error> {
        let cache = self.cache()?;
        let mut found = Vec::new();
        let listed = self.indexes.list();
        let indexes = listed.map_err(|source| Error::IndexList { source })?;
        for stored in cache.layers() {
            let digest = stored.digest();
            // What no index tells about is not checked before there is an index again.
            let of_layer = indexes.iter().filter(|(blob, _)| blob == digest);
            let read = |path| LayerIndex::decode(&fs::read(path).ok()?).ok();
            let mut tables = of_layer.filter_map(|(_, path)| Some(read(path)?.table));
            if let Some(table) = tables.find(|t| t.fingerprint() == stored.fingerprint()) {
                let failed = |source| Error::Io { path: self.root.join("cache"), source };
                let layer = cache.layer(digest, Arc::new(NoSource(table))).map_err(failed)?;
                let (good, bad) = layer.verify();
                found.push((digest.clone(), good, bad));
            }
        }
        Ok(found)
    }
}

/// A layer of which only what is on disk is looked at.
struct NoSource(SpanTable);

impl SpanSource for NoSource {
    fn table(&self) -> &SpanTable {
        &self.0
    }

    fn read_span(&self, _: u32, _: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError> {
        let source = io::ErrorKind::NotConnected.into();
        Err(SpanError::Read { offset: 0, source })
    }
}
