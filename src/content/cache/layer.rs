use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::compress::{DecodeError, Span, SpanError, SpanSource};
use crate::io::ReadAt;

use super::digests::Digests;
use super::flight::{Flights, Turn};
use super::map::Map;
use super::{Counters, LayerCache};

/// Bytes that wait for one `fdatasync` before the map names them.
const SYNC_BATCH: u64 = 32 << 20;
/// How long caching pauses after the disk was full.
const FULL_PAUSE: Duration = Duration::from_secs(10);
/// How often a read fetches anew because what it read was evicted under it.
const MAX_TRIES: u32 = 16;

/// What this process knows of a span, beside the map: nothing.
const UNKNOWN: u32 = u32::MAX;

/// One layer in the cache, before the source it is fetched from.
pub struct CachedLayer {
    far: Arc<dyn SpanSource>,
    cache: Weak<LayerCache>,
    data: File,
    /// `None` where the span table vouches for uncompressed bytes.
    digests: Option<Digests>,
    map: Map,
    /// For each span, the generation in which this process wrote it or checked its digest.
    checked: Vec<AtomicU32>,
    /// For each span, when it was last read, in seconds since the cache was opened.
    pub(super) used: Vec<AtomicU32>,
    started: Instant,
    flights: Flights,
    unsynced: Mutex<Vec<(u32, u32)>>,
    unsynced_bytes: AtomicU64,
    /// Bytes of this layer on disk.
    stored: AtomicU64,
    full_until: Mutex<Option<Instant>>,
    was_full: AtomicBool,
}

/// How much of a layer is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerState {
    /// Uncompressed bytes in the cache.
    pub stored: u64,
    /// Uncompressed bytes in all.
    pub size: u64,
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
        far: Arc<dyn SpanSource>,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        // Held while the two files are looked at or made, so that they always belong together.
        let lock = File::create(dir.join("lock"))?;
        lock.lock()?;
        let table = far.table();
        let data_path = dir.join("data");
        let existing = Map::open(&dir.join("map"), table)?;
        let data = OpenOptions::new().read(true).write(true).open(&data_path);
        let (map, data, new) = match (existing, data) {
            (Some(map), Ok(data)) if data.metadata()?.len() == table.size => (map, data, false),
            _ => {
                let data = tempfile::NamedTempFile::new_in(dir)?;
                data.as_file().set_len(table.size)?;
                let data = data.persist(&data_path)?;
                (Map::create(&dir.join("map"), table, false)?, data, true)
            }
        };
        let open_digests = || Digests::open(&dir.join("digests"), table.spans.len(), new);
        let digests = if table.vouches_for_output() { None } else { Some(open_digests()?) };
        let on_disk = |&(i, _): &(u32, &Span)| map.state(i).1;
        let stored = (0..).zip(&table.spans).filter(on_disk).map(|(_, s)| u64::from(s.len)).sum();
        let words = |value| table.spans.iter().map(|_| AtomicU32::new(value)).collect();
        Ok(Self {
            cache: Arc::downgrade(cache),
            checked: words(UNKNOWN),
            used: words(0),
            started: cache.started,
            flights: Flights::default(),
            unsynced: Mutex::new(Vec::new()),
            unsynced_bytes: AtomicU64::new(0),
            stored: AtomicU64::new(stored),
            full_until: Mutex::new(None),
            was_full: AtomicBool::new(false),
            far,
            data,
            digests,
            map,
        })
    }

    /// How much of the layer is here.
    pub fn state(&self) -> LayerState {
        LayerState { stored: self.stored.load(Ordering::Relaxed), size: self.far.table().size }
    }

    /// Fetches every span that is not here yet, each access point's in one pass.
    ///
    /// # Errors
    ///
    /// The first that the source answers.
    pub fn fill(&self) -> Result<(), SpanError> {
        let spans = &self.far.table().spans;
        let mut next = 0;
        while let Some(first) = (next..self.map.len()).find(|&i| !self.is_here(i)) {
            let point = self.span(first).point;
            let of_point = spans.partition_point(|s| s.point <= point);
            let end = u32::try_from(of_point).unwrap_or(u32::MAX);
            let last = (first..end).rev().find(|&i| !self.is_here(i)).unwrap_or(first);
            self.fetch(last, &mut |_, _| {})?;
            next = end;
        }
        self.sync();
        Ok(())
    }

    /// Makes the spans written so far survive a crash.
    pub fn sync(&self) {
        let batch = std::mem::take(&mut *self.unsynced.lock());
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        if batch.is_empty() {
            return;
        }
        let digests = self.digests.as_ref().map_or(Ok(()), Digests::sync);
        if let Err(error) = self.data.sync_data().and(digests) {
            // Not named by the map: after a restart these spans are fetched again.
            tracing::warn!(%error, "span cache: data could not be synced");
            return;
        }
        for (span, generation) in batch {
            self.map.set_present(span, generation);
        }
    }

    fn span(&self, index: u32) -> Span {
        self.far.table().spans[index as usize]
    }

    fn cache(&self) -> Option<Arc<LayerCache>> {
        self.cache.upgrade()
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64, n: u64) {
        if let Some(cache) = self.cache() {
            LayerCache::count(counter(cache.counters()), n);
        }
    }

    /// The generation in which `span` can be read from disk, if it can.
    fn readable(&self, span: u32) -> Option<u32> {
        let (generation, present) = self.map.state(span);
        let here = present || self.checked[span as usize].load(Ordering::Acquire) == generation;
        here.then_some(generation)
    }

    /// Whether `span` is in the cache.
    pub fn is_here(&self, span: u32) -> bool {
        self.readable(span).is_some()
    }

    /// Reads part of `span` from disk. `None`: it is not there, or was evicted meanwhile.
    fn read_stored(&self, span: u32, buf: &mut [u8], skip: u64) -> Option<()> {
        let generation = self.readable(span)?;
        if self.checked[span as usize].load(Ordering::Acquire) != generation {
            self.check(span, generation)?;
        }
        self.data.read_exact_at(buf, self.span(span).out_offset + skip).ok()?;
        self.touch(span);
        (self.map.state(span).0 == generation).then_some(())
    }

    /// Notes that `span` was used now.
    fn touch(&self, span: u32) {
        let age = u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX);
        self.used[span as usize].store(age.saturating_add(1), Ordering::Relaxed);
    }

    /// Checks a span that another run left on disk; one that fails is dropped.
    fn check(&self, index: u32, generation: u32) -> Option<()> {
        let span = self.span(index);
        let mut bytes = vec![0; span.len as usize];
        let read = self.data.read_exact_at(&mut bytes, span.out_offset);
        if self.map.state(index).0 != generation {
            return None;
        }
        if read.is_ok() && self.is_right(index, &bytes) {
            self.checked[index as usize].store(generation, Ordering::Release);
            return Some(());
        }
        tracing::error!(
            span = index,
            "span cache: bytes on disk do not match their digest; dropped"
        );
        self.count(|c| &c.corrupt, 1);
        self.evict(index);
        None
    }

    /// Whether `bytes` are those of the span: by its table, or else by what was admitted.
    fn is_right(&self, index: u32, bytes: &[u8]) -> bool {
        let of_table = self.far.table().vouches_for(&self.span(index), bytes);
        of_table.unwrap_or_else(|| self.digests.as_ref().is_some_and(|d| d.matches(index, bytes)))
    }

    /// Checks every span on disk now, and drops those that fail. Returns how many were good and
    /// how many were dropped.
    pub fn verify(&self) -> (u64, u64) {
        let (mut good, mut bad) = (0, 0);
        for index in 0..self.map.len() {
            let Some(generation) = self.readable(index) else { continue };
            match self.check(index, generation) {
                Some(()) => good += 1,
                None => bad += 1,
            }
        }
        (good, bad)
    }

    fn store(&self, index: u32, bytes: &[u8]) {
        let span = self.span(index);
        if bytes.len() != span.len as usize || self.readable(index).is_some() || self.is_full() {
            return;
        }
        let (generation, _) = self.map.state(index);
        let noted = self.digests.as_ref().map_or(Ok(()), |digests| digests.put(index, bytes));
        let written = noted.and_then(|()| self.data.write_all_at(bytes, span.out_offset));
        if let Err(error) = written {
            self.pause(&error);
            return;
        }
        self.was_full.store(false, Ordering::Relaxed);
        self.touch(index);
        self.checked[index as usize].store(generation, Ordering::Release);
        self.stored.fetch_add(u64::from(span.len), Ordering::Relaxed);
        self.count(|c| &c.admitted_bytes, u64::from(span.len));
        self.unsynced.lock().push((index, generation));
        let waiting = self.unsynced_bytes.fetch_add(u64::from(span.len), Ordering::Relaxed);
        if waiting + u64::from(span.len) >= SYNC_BATCH {
            self.sync();
        }
    }

    fn is_full(&self) -> bool {
        self.full_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// The disk took no more: reads go on without the cache, which is tried again later.
    fn pause(&self, error: &io::Error) {
        *self.full_until.lock() = Some(Instant::now() + FULL_PAUSE);
        self.count(|c| &c.full, 1);
        if !self.was_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "span cache: cannot be written; reads go on without it");
        }
    }

    /// Fetches `span`, keeps all that comes with it, and shows each to `sink`.
    fn fetch(&self, span: u32, sink: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError> {
        self.count(|c| &c.misses, 1);
        self.far.read_span(span, &mut |index, bytes| {
            self.store(index, bytes);
            sink(index, bytes);
        })?;
        if let Some(cache) = self.cache() {
            cache.keep_to_limit();
        }
        Ok(())
    }

    /// Fills `buf` from `skip` bytes into `span`, from disk or from the source.
    fn read_from(&self, span: u32, buf: &mut [u8], skip: u64) -> Result<(), SpanError> {
        for _ in 0..MAX_TRIES {
            if self.read_stored(span, buf, skip).is_some() {
                self.count(|c| &c.hit_bytes, buf.len() as u64);
                return Ok(());
            }
            match self.flights.begin(self.span(span).point) {
                Turn::Failed(error) => return Err(error),
                Turn::Mine(pilot) if !self.is_here(span) => {
                    let result = self.fetch_into(span, buf, skip);
                    pilot.land(&result);
                    return result;
                }
                Turn::Mine(pilot) => pilot.land(&Ok(())),
                Turn::Landed => {}
            }
        }
        // The disk takes nothing, so that what others fetched is not there: fetch for ourselves.
        self.fetch_into(span, buf, skip)
    }

    fn fetch_into(&self, span: u32, buf: &mut [u8], skip: u64) -> Result<(), SpanError> {
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let end = skip.saturating_add(buf.len());
        let mut copied = false;
        self.fetch(span, &mut |index, bytes| {
            if index == span
                && let Some(part) = bytes.get(skip..end)
            {
                buf.copy_from_slice(part);
                copied = true;
            }
        })?;
        if copied {
            return Ok(());
        }
        Err(SpanError::Decode { span, source: DecodeError::NotDelivered })
    }

    /// Drops `span` from disk.
    pub(super) fn evict(&self, index: u32) {
        let span = self.span(index);
        let was_here = self.readable(index).is_some();
        self.map.evict(index);
        if !was_here {
            return;
        }
        self.stored.fetch_sub(u64::from(span.len), Ordering::Relaxed);
        self.count(|c| &c.evicted_bytes, u64::from(span.len));
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        if let Err(error) =
            rustix::fs::fallocate(&self.data, flags, span.out_offset, u64::from(span.len))
        {
            tracing::warn!(%error, "span cache: space could not be given back");
        }
    }

    /// Drops everything from disk.
    pub(super) fn evict_all(&self) {
        (0..self.map.len()).filter(|&span| self.is_here(span)).for_each(|span| self.evict(span));
    }

    /// The pieces of `[offset, offset + len)` by span: (span, bytes to skip in it, bytes to take).
    fn pieces(&self, offset: u64, len: usize) -> impl Iterator<Item = (u32, u64, usize)> + '_ {
        let table = self.far.table();
        let end = offset.saturating_add(len as u64).min(table.size);
        let mut at = offset;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let index = table.find(at)?;
            let span = self.span(index);
            let skip = at - span.out_offset;
            let take = (u64::from(span.len) - skip).min(end - at);
            at += take;
            Some((index, skip, usize::try_from(take).unwrap_or(usize::MAX)))
        })
    }
}

impl ReadAt for CachedLayer {
    fn size(&self) -> u64 {
        self.far.table().size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        for (span, skip, take) in self.pieces(offset, buf.len()) {
            self.read_from(span, &mut buf[done..done + take], skip).map_err(|e| match e {
                SpanError::Read { source, .. } | SpanError::ReadWindow { source, .. } => source,
                e @ (SpanError::Decode { .. } | SpanError::Mismatch { .. }) => {
                    io::Error::new(io::ErrorKind::InvalidData, e)
                }
            })?;
            done += take;
        }
        Ok(done)
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let mut done = 0;
        for (span, skip, take) in self.pieces(offset, buf.len()) {
            if self.read_stored(span, &mut buf[done..done + take], skip).is_none() {
                return Ok(None);
            }
            done += take;
        }
        self.count(|c| &c.hit_bytes, done as u64);
        Ok(Some(done))
    }
}

impl Drop for CachedLayer {
    fn drop(&mut self) {
        self.sync();
    }
}
