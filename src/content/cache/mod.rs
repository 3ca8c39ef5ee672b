//! The span cache: uncompressed layer bytes on disk, verified before they are admitted.
//!
//! # Layout
//!
//! `DIR/<algorithm>-<hex of the blob digest>/` holds
//! - `data`: the uncompressed layer, sparse; a span that is not there is a hole;
//! - `map`: which spans are there, when each was last read, and how long each is; shared by every
//!   process that has the layer open. A span has a generation, which grows whenever it is evicted;
//! - `lock`: locked as a whole while files are made or removed, and at the byte of a span while that
//!   span is written or evicted;
//! - `digests`: of each span, what its bytes were when it was admitted, for tables that do not say
//!   that themselves.
//!
//! Beside it, `DIR/<algorithm>-<hex of a chain ID>.data` holds the data of a chain all of whose
//! layers are there, for the kernel to read by itself.
//!
//! # Invariants
//!
//! - Data reach the disk (`fdatasync`) before the map says that they are there.
//! - One writes or evicts a span at a time, of all threads and processes. Eviction first moves the
//!   generation on and only then punches the hole; a reader takes bytes only if the generation was
//!   the same before and after it read them. So nobody ever sees a hole as zeros, in this process
//!   or another.
//! - No lock is held over I/O but the claim on a span, for which nobody waits. Concurrent misses on
//!   one span share one fetch; errors are not kept.
//!
//! # What is checked when
//!
//! A span is checked against its digest before it is admitted, at its first read by a process that
//! found it in the map, and again at the first read more than an hour after that; by `verify` at
//! once. One that fails is dropped and fetched again. In between, the disk is trusted.
//!
//! # Limit
//!
//! All layers together are kept to a number of bytes, by whichever process adds to them: what was
//! read longest ago goes first, of layers that are closed or open elsewhere too, and nothing that
//! was read within the last two seconds. Where that leaves no room, reads go on and nothing more is
//! kept for a while, as with a full disk. Several processes that add at the same time can exceed
//! the limit by a sixteenth each.

mod ahead;
mod claims;
mod counters;
mod demand;
mod digests;
mod fetch;
mod files;
mod flight;
mod guess;
mod ingest;
mod keeper;
mod layer;
mod map;
mod pace;
mod plan;
mod read;
mod room;
mod scratch;
mod stored;
mod streams;
#[cfg(test)]
mod tests;
mod traces;
mod whole;

pub use counters::{Counter, Counters, LayerCounters};
pub use guess::FileList;
pub use ingest::Ingest;
pub use layer::{CachedLayer, LayerState};
pub use stored::StoredLayer;
pub use traces::TraceStore;
pub use whole::Whole;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use parking_lot::Mutex;

use crate::compress::{SpanSource, StartTrace};
use crate::digest::Digest;

use ahead::Ahead;
use guess::Account;
use keeper::Keeper;
use room::Room;

/// A layer by its blob and the fingerprint of its span table.
type Key = (Digest, [u8; 16]);

/// The cache of one state root.
#[derive(Debug)]
pub struct LayerCache {
    dir: PathBuf,
    limit: u64,
    counters: Counters,
    open: Mutex<HashMap<Key, Weak<CachedLayer>>>,
    room: Mutex<Room>,
    /// Bytes that were counted last, and what this process has added since.
    used: AtomicU64,
    /// Bytes of layers that are being taken in whole.
    ingesting: AtomicU64,
    full_until: Mutex<Option<Instant>>,
    ahead: Ahead,
    account: Account,
    keeper: Keeper,
    traces: Option<TraceStore>,
    clock: fn() -> u32,
}

impl LayerCache {
    /// Opens the cache in `dir`, which is made if it is not there. `limit` bounds the bytes it
    /// keeps. What starts read is kept in `traces`, where that is given.
    ///
    /// # Errors
    ///
    /// Those of making the folder.
    pub fn open(dir: &Path, limit: u64, traces: Option<TraceStore>) -> io::Result<Arc<Self>> {
        Self::with_clock(dir, limit, traces, seconds)
    }

    fn with_clock(
        dir: &Path,
        limit: u64,
        traces: Option<TraceStore>,
        clock: fn() -> u32,
    ) -> io::Result<Arc<Self>> {
        fs::create_dir_all(dir)?;
        stored::clean(dir);
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            limit,
            counters: Counters::default(),
            open: Mutex::default(),
            room: Mutex::new(Room::new()),
            // So much that it is counted before the first byte is added.
            used: AtomicU64::new(limit / 2),
            ingesting: AtomicU64::new(0),
            full_until: Mutex::default(),
            ahead: Ahead::new(),
            account: Account::new(),
            keeper: Keeper::default(),
            traces,
            clock,
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
    /// value a span table, which reads from all their sources, the newest first.
    ///
    /// # Errors
    ///
    /// Those of making or mapping the layer's files.
    pub fn layer(
        self: &Arc<Self>,
        digest: &Digest,
        far: Arc<dyn SpanSource>,
    ) -> io::Result<Arc<CachedLayer>> {
        let key = (digest.clone(), far.table().fingerprint());
        if let Some(layer) = self.opened(&key) {
            layer.add_source(far);
            return Ok(layer);
        }
        let layer = CachedLayer::open(self, &self.layer_dir(digest), far)?;
        self.keeper.start(self);
        let mut open = self.open.lock();
        open.retain(|_, layer| layer.strong_count() > 0);
        if let Some(first) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(first);
        }
        open.insert(key, Arc::downgrade(&layer));
        Ok(layer)
    }

    /// A start of something that reads `layers` begins: what it reads is recorded; what earlier starts
    /// have read is fetched, if `replay`, and where there were none it is guessed.
    pub fn start(&self, layers: &[(Digest, Arc<CachedLayer>)], replay: bool) {
        self.ahead.start_begins();
        let mut traces: Vec<(Arc<CachedLayer>, StartTrace)> = Vec::new();
        for (digest, layer) in layers {
            let Some(store) = &self.traces else { continue };
            layer.begin_start();
            layer.guesses.turn(replay);
            match store.load(digest) {
                Ok(trace) => traces.extend(trace.map(|trace| (layer.clone(), trace))),
                Err(error) => tracing::warn!(%digest, %error, "trace cannot be read"),
            }
        }
        if replay {
            self.ahead.replay(&traces);
        }
    }

    /// Completes `layers` when nothing else is to be done, as far as there is room.
    pub fn complete<'a>(&self, layers: impl IntoIterator<Item = &'a Arc<CachedLayer>>) {
        layers.into_iter().for_each(|layer| self.ahead.fill(layer));
    }

    /// How many fetches ahead of reads wait: what follows reads, what starts will read, and layers
    /// that are not complete.
    pub fn ahead_waiting(&self) -> (usize, usize, usize) {
        self.ahead.waiting()
    }

    /// Brings what was written to disk and keeps the traces of starts that are over, all of which
    /// `is_last` says are.
    pub fn keep(&self, is_last: bool) {
        let open: Vec<(Key, Arc<CachedLayer>)> = {
            let open = self.open.lock();
            open.iter().filter_map(|(key, layer)| Some((key.clone(), layer.upgrade()?))).collect()
        };
        for ((digest, _), layer) in open {
            layer.sync();
            let Some(store) = &self.traces else { continue };
            if let Some(trace) = layer.take_trace(is_last)
                && let Err(error) = store.add(&digest, layer.table(), &trace)
            {
                tracing::warn!(%digest, %error, "trace cannot be kept");
            }
        }
    }

    /// The layers that this process has open.
    pub fn in_use(&self) -> Vec<(Digest, Arc<CachedLayer>)> {
        let open = self.open.lock();
        open.iter()
            .filter_map(|((digest, _), layer)| Some((digest.clone(), layer.upgrade()?)))
            .collect()
    }

    /// What the cache did since it was opened.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The most bytes that are kept.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// All layers of which something is on disk, whoever keeps it.
    pub fn layers(&self) -> Vec<StoredLayer> {
        self.open_layers().iter().for_each(|layer| layer.sync());
        stored::list(&self.dir)
    }

    /// Evicts data of whole chains, and then what was read longest ago, until at most `bytes` are
    /// left. Returns how many were freed.
    pub fn prune(&self, bytes: u64) -> u64 {
        let layers = self.layers();
        let spans: u64 = layers.iter().map(StoredLayer::stored).sum();
        let excess = (spans + self.whole_stored()).saturating_sub(bytes);
        let whole = self.evict_whole(excess);
        let freed = self.evict(&layers, excess.saturating_sub(whole), u32::MAX);
        for layer in layers.iter().filter(|layer| layer.stored() == 0) {
            if let Err(error) = files::remove_folder(&self.layer_dir(layer.digest())) {
                tracing::warn!(digest = %layer.digest(), %error, "span cache: folder stays");
            }
        }
        whole + freed
    }

    /// Removes everything kept for `digest`; readers that have it open go on and fetch anew.
    ///
    /// # Errors
    ///
    /// Those of removing the files; that there are none is no error.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        let dir = self.layer_dir(digest);
        if files::remove_folder(&dir)? {
            return Ok(());
        }
        if let Some(layer) = StoredLayer::open(&dir)? {
            self.evict(&[layer], u64::MAX, u32::MAX);
        }
        Ok(())
    }

    fn now(&self) -> u32 {
        (self.clock)()
    }

    /// What may be guessed.
    fn account(&self) -> &Account {
        &self.account
    }

    fn ahead(&self) -> &Ahead {
        &self.ahead
    }

    fn layer_dir(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    fn opened(&self, key: &Key) -> Option<Arc<CachedLayer>> {
        self.open.lock().get(key).and_then(Weak::upgrade)
    }

    /// The layers that this process has open.
    fn open_layers(&self) -> Vec<Arc<CachedLayer>> {
        self.open.lock().values().filter_map(Weak::upgrade).collect()
    }
}

/// Seconds since 1970.
fn seconds() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}
