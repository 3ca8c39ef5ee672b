//! The span cache: uncompressed layer bytes on disk, verified before they are admitted.
//!
//! # Layout
//!
//! `DIR/<algorithm>-<hex of the blob digest>/` holds
//! - `data`: the uncompressed layer, sparse; a span that is not there is a hole;
//! - `map`: one 32-bit word a span after a small header, shared by every process that has the layer
//!   open. The lowest bit says that the span is on disk; the rest is a generation, which grows
//!   whenever the span is evicted.
//! - `digests`: BLAKE3 of each span as it was admitted, where the span table has digests of compressed
//!   bytes only.
//!
//! Beside it, `DIR/<algorithm>-<hex of a chain ID>.data` holds the data of a chain all of whose
//! layers are there, for the kernel to read by itself.
//!
//! # Invariants
//!
//! - Data reach the disk (`fdatasync`) before the map says that they are there.
//! - A span that this process found in the map is checked against its digest at its first read;
//!   a span that fails is dropped and fetched again.
//! - Eviction first moves the generation on and only then punches the hole; a reader takes bytes
//!   only if the generation was the same before and after it read them. So nobody ever sees a hole
//!   as zeros, in this process or another.
//! - No lock is held over I/O. Concurrent misses on one span share one fetch; errors are not kept.

mod digests;
mod evict;
mod flight;
mod ingest;
mod layer;
mod map;
#[cfg(test)]
mod tests;
mod whole;

pub use ingest::Ingest;
pub use layer::{CachedLayer, LayerState};
pub use whole::Whole;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;
use std::{fs, io};

use parking_lot::Mutex;

use crate::compress::SpanSource;
use crate::digest::Digest;

/// The cache of one state root.
#[derive(Debug)]
pub struct LayerCache {
    dir: PathBuf,
    limit: u64,
    started: Instant,
    counters: Counters,
    open: Mutex<HashMap<Digest, Weak<CachedLayer>>>,
}

/// What a cache did since it was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes answered from disk.
    pub hit_bytes: AtomicU64,
    /// Spans that had to be fetched.
    pub misses: AtomicU64,
    /// Bytes admitted.
    pub admitted_bytes: AtomicU64,
    /// Bytes evicted.
    pub evicted_bytes: AtomicU64,
    /// Spans on disk that failed their digest and were dropped.
    pub corrupt: AtomicU64,
    /// Writes refused by a full disk.
    pub full: AtomicU64,
}

impl LayerCache {
    /// Opens the cache in `dir`, which is made if it is not there. `limit` bounds the bytes it
    /// keeps.
    ///
    /// # Errors
    ///
    /// Those of making the folder.
    pub fn open(dir: &Path, limit: u64) -> io::Result<Arc<Self>> {
        fs::create_dir_all(dir)?;
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            limit,
            started: Instant::now(),
            counters: Counters::default(),
            open: Mutex::new(HashMap::new()),
        }))
    }

    /// The limit that fits the disk below `dir`: a tenth of its size.
    ///
    /// # Errors
    ///
    /// Those of `statvfs`.
    pub fn default_limit(dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok((stat.f_blocks * stat.f_frsize) / 10)
    }

    /// The layer whose blob is `digest`, cached before `far`. All callers of one process share one
    /// value.
    ///
    /// # Errors
    ///
    /// Those of making or mapping the layer's files.
    pub fn layer(
        self: &Arc<Self>,
        digest: &Digest,
        far: Arc<dyn SpanSource>,
    ) -> io::Result<Arc<CachedLayer>> {
        if let Some(layer) = self.opened(digest) {
            return Ok(layer);
        }
        let layer = Arc::new(CachedLayer::open(self, &self.layer_dir(digest), far)?);
        let mut open = self.open.lock();
        if let Some(first) = open.get(digest).and_then(Weak::upgrade) {
            return Ok(first);
        }
        open.insert(digest.clone(), Arc::downgrade(&layer));
        Ok(layer)
    }

    /// What the cache did since it was opened.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The most bytes that are kept.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Removes everything kept for `digest`; readers that have it open go on and fetch anew.
    ///
    /// # Errors
    ///
    /// Those of removing the files; that there are none is no error.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        if let Some(layer) = self.opened(digest) {
            layer.evict_all();
        }
        match fs::remove_dir_all(self.layer_dir(digest)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn layer_dir(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    /// The layer of `digest`, where this process has it open.
    fn opened(&self, digest: &Digest) -> Option<Arc<CachedLayer>> {
        self.open.lock().get(digest).and_then(Weak::upgrade)
    }

    /// The layers that this process has open.
    fn open_layers(&self) -> Vec<Arc<CachedLayer>> {
        self.open.lock().values().filter_map(Weak::upgrade).collect()
    }

    fn count(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
