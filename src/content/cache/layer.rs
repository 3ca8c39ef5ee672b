use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::compress::{Span, SpanSource, SpanTable, StartTrace};

use super::LayerCache;
use super::counters::{Counter, Counters, LayerCounters};
use super::demand::Demand;
use super::files::Files;
use super::flight::Flights;
use super::guess::{FileList, Guesses};
use super::scratch::with_scratch;

/// Bytes that wait for one `fdatasync` before the map names them.
const SYNC_BATCH: u64 = 32 << 20;
/// How many sources of one layer are kept.
const MAX_SOURCES: usize = 3;
/// For how many seconds a span whose digest was right is trusted, as long as this process has it
/// open; then the next read checks it again.
const TRUST: u32 = 3600;

/// One layer in the cache, before the source it is fetched from.
pub struct CachedLayer {
    pub(super) me: Weak<Self>,
    pub(super) cache: Weak<LayerCache>,
    table: Arc<dyn SpanSource>,
    /// Where bytes come from, the one that is tried first first. All have the same table.
    pub(super) sources: Mutex<Vec<Arc<dyn SpanSource>>>,
    pub(super) files: Files,
    /// For each span, the generation in which this process wrote it or checked its digest (lower
    /// half) and when, in seconds since 1970 (upper half).
    checked: Vec<AtomicU64>,
    pub(super) demand: Demand,
    pub(super) guesses: Guesses,
    pub(super) flights: Flights,
    /// Spans that were written and are not in the map, with their generation.
    unsynced: Mutex<Vec<(u32, u32)>>,
    unsynced_bytes: AtomicU64,
    complete: AtomicBool,
    pub(super) counters: LayerCounters,
}

/// How much of a layer is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerState {
    /// Uncompressed bytes in the cache.
    pub stored: u64,
    /// Uncompressed bytes in all.
    pub size: u64,
}

/// For whom something is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A read waits for it.
    Demand,
    /// A read may want it.
    Ahead,
}

impl std::fmt::Debug for CachedLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedLayer").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl CachedLayer {
    pub(super) fn open(
        cache: &Arc<LayerCache>,
        dir: &Path,
        source: Arc<dyn SpanSource>,
    ) -> io::Result<Arc<Self>> {
        let table = source.table();
        let files = Files::open(dir, table)?;
        let spans = table.spans.len();
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            cache: Arc::downgrade(cache),
            checked: (0..spans).map(|_| AtomicU64::new(u64::MAX)).collect(),
            demand: Demand::new(spans),
            guesses: Guesses::new(spans),
            flights: Flights::default(),
            unsynced: Mutex::new(Vec::new()),
            unsynced_bytes: AtomicU64::new(0),
            complete: AtomicBool::new(false),
            counters: LayerCounters::default(),
            sources: Mutex::new(vec![source.clone()]),
            table: source,
            files,
        }))
    }

    /// The table of the layer.
    pub fn table(&self) -> &SpanTable {
        self.table.table()
    }

    /// What this layer did since it was opened.
    pub fn counters(&self) -> &LayerCounters {
        &self.counters
    }

    /// Adds a source of the same layer, which is tried first from now on: credentials and
    /// registries come and go while a layer is open.
    pub(super) fn add_source(&self, source: Arc<dyn SpanSource>) {
        let mut sources = self.sources.lock();
        sources.insert(0, source);
        sources.truncate(MAX_SOURCES);
    }

    /// Says how to find out where the data of each file are, which is asked when the first read has
    /// to wait: whole files are fetched by what is wanted of them.
    pub fn set_files(&self, files: FileList) {
        self.guesses.set_files(files);
    }

    /// Says that it is known what is wanted of a file with these data, so that nothing is guessed of
    /// it, nor because it is read.
    pub fn leave(&self, file: std::ops::Range<u64>) {
        self.guesses.leave(file);
    }

    /// Whether a trace tells what the start that began last reads.
    pub fn has_trace(&self) -> bool {
        self.guesses.has_trace()
    }

    /// How much of the layer is here.
    pub fn state(&self) -> LayerState {
        let here = (0..).zip(&self.table().spans).filter(|(span, _)| self.is_here(*span));
        let stored = here.map(|(_, span)| u64::from(span.len)).sum();
        LayerState { stored, size: self.table().size }
    }

    /// Whether every span is here.
    pub fn is_complete(&self) -> bool {
        (0..self.files.map().len()).all(|span| self.is_here(span))
    }

    /// Says once that the layer has become complete.
    pub(super) fn note_complete(&self) {
        if self.is_complete() && !self.complete.swap(true, Ordering::Relaxed) {
            self.sync();
            self.count(|c| &c.completed, 1);
            tracing::info!(layer = %self.files.name(), "span cache: the layer is complete");
        }
    }

    /// Makes the spans written so far survive a crash.
    pub fn sync(&self) {
        let batch = std::mem::take(&mut *self.unsynced.lock());
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.files.sync() {
            // Not named by the map: after a restart these spans are fetched again.
            tracing::warn!(%error, "span cache: data could not be synced");
            return;
        }
        for (span, generation) in batch {
            self.files.map().set_present(span, generation);
        }
    }

    /// Bytes that were written and are not in the map yet.
    pub(super) fn unsynced(&self) -> u64 {
        self.unsynced_bytes.load(Ordering::Relaxed)
    }

    /// A start of something that reads this layer begins; what it reads is recorded as its trace.
    pub fn begin_start(&self) {
        self.guesses.forget_trace();
        self.demand.begin();
    }

    /// The trace of a start, once it is over; see [`CachedLayer::begin_start`].
    pub fn take_trace(&self, is_over: bool) -> Option<StartTrace> {
        self.demand.take_trace(self.table(), is_over)
    }

    pub(super) fn span(&self, index: u32) -> Span {
        self.table().spans[index as usize]
    }

    pub(super) fn count(&self, counter: impl Fn(&Counters) -> &Counter, n: u64) {
        if let Some(cache) = self.cache.upgrade() {
            counter(cache.counters()).add(n);
        }
    }

    /// The generation in which `span` can be read from disk, if it can.
    pub(super) fn readable(&self, span: u32) -> Option<u32> {
        let (generation, present) = self.files.map().state(span);
        let here = present || self.checked(span).0 == generation;
        here.then_some(generation)
    }

    /// In which generation `span` was checked, and when.
    fn checked(&self, span: u32) -> (u32, u32) {
        let word = self.checked[span as usize].load(Ordering::Acquire).to_le_bytes();
        let [a, b, c, d, e, f, g, h] = word;
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
    }

    fn set_checked(&self, span: u32, generation: u32, now: u32) {
        let word = u64::from(now) << 32 | u64::from(generation);
        self.checked[span as usize].store(word, Ordering::Release);
    }

    pub(super) fn cache(&self) -> Option<Arc<LayerCache>> {
        self.cache.upgrade()
    }

    fn now(&self) -> u32 {
        self.cache.upgrade().map_or(0, |cache| cache.now())
    }

    /// Whether `span` is in the cache.
    pub fn is_here(&self, span: u32) -> bool {
        self.readable(span).is_some()
    }

    /// Reads part of `span` from disk. `None`: it is not there, or was evicted meanwhile.
    pub(super) fn read_stored(&self, span: u32, buf: &mut [u8], skip: u64) -> Option<()> {
        let generation = self.readable(span)?;
        let now = self.now();
        let (checked, when) = self.checked(span);
        if checked != generation || now.saturating_sub(when) > TRUST {
            // What was checked is what is given: it is not read once more.
            let start = usize::try_from(skip).ok()?;
            let part = start..start.checked_add(buf.len())?;
            let take = |bytes: &[u8]| bytes.get(part).map(|bytes| buf.copy_from_slice(bytes));
            self.check(span, generation, take)??;
            self.files.map().touch(span, now);
            return Some(());
        }
        self.files.read(span, buf, skip).ok()?;
        self.files.map().touch(span, now);
        (self.files.map().state(span).0 == generation).then_some(())
    }

    /// Checks a span on disk and gives its bytes to `then`; one that fails is dropped.
    fn check<T>(&self, index: u32, generation: u32, then: impl FnOnce(&[u8]) -> T) -> Option<T> {
        with_scratch(self.span(index).len as usize, |bytes| {
            let read = self.files.read(index, bytes, 0);
            if self.files.map().state(index).0 != generation {
                return None;
            }
            if read.is_ok() && self.is_right(index, bytes) {
                self.set_checked(index, generation, self.now());
                return Some(then(bytes));
            }
            self.drop_wrong(index);
            None
        })
    }

    fn drop_wrong(&self, index: u32) {
        tracing::error!(
            layer = %self.files.name(),
            span = index,
            "span cache: bytes on disk do not match their digest; dropped"
        );
        self.count(|c| &c.corrupt, 1);
        self.files.evict(index);
    }

    /// Whether `bytes` are those of the span: by its table, or else by what was admitted.
    fn is_right(&self, index: u32, bytes: &[u8]) -> bool {
        let of_table = self.table().vouches_for(&self.span(index), bytes);
        of_table.unwrap_or_else(|| self.files.matches(index, bytes))
    }

    /// Checks every span on disk now, and drops those that fail. Returns how many were good and
    /// how many were dropped.
    pub fn verify(&self) -> (u64, u64) {
        let (mut good, mut bad) = (0, 0);
        for index in 0..self.files.map().len() {
            let Some(generation) = self.readable(index) else { continue };
            match self.check(index, generation, |_| ()) {
                Some(()) => good += 1,
                None => bad += 1,
            }
        }
        (good, bad)
    }

    /// Keeps a span that was fetched and checked, where there is room.
    pub(super) fn store(&self, index: u32, bytes: &[u8]) {
        let Some(cache) = self.cache.upgrade() else { return };
        if bytes.len() != self.span(index).len as usize || self.readable(index).is_some() {
            return;
        }
        let len = bytes.len() as u64;
        if !cache.has_room(len) {
            return;
        }
        let Some(claim) = self.files.claim(index) else { return };
        let generation = match self.files.write(&claim, bytes) {
            Ok(generation) => generation,
            Err(error) => return cache.pause(&error),
        };
        let now = cache.now();
        self.files.map().touch(index, now);
        self.set_checked(index, generation, now);
        drop(claim);
        cache.counters().admitted_bytes.add(len);
        self.unsynced.lock().push((index, generation));
        if self.unsynced_bytes.fetch_add(len, Ordering::Relaxed) + len >= SYNC_BATCH {
            self.sync();
        }
    }
}

impl Drop for CachedLayer {
    fn drop(&mut self) {
        self.sync();
    }
}
