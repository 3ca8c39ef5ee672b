#![expect(clippy::cast_possible_truncation, reason = "small numbers of the tests")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::compress::{
    AccessPoint, Codec, Span, SpanDigest, SpanError, SpanSource, SpanTable, Start,
};
use crate::digest::Digest;
use crate::io::ReadAt;

use super::{LayerCache, TraceStore};

const SPAN: usize = 1000;

/// The table of a plain layer with spans of these lengths, each with a point of its own; its digests
/// are of nothing.
pub(super) fn table_of(lens: &[u32]) -> SpanTable {
    let mut table = SpanTable {
        codec: Codec::Plain,
        blob_size: 0,
        size: 0,
        points: Vec::new(),
        spans: Vec::new(),
        windows_size: 0,
        span_digest: SpanDigest::Blake3,
    };
    for (point, &len) in (0..).zip(lens) {
        let (out_offset, digest) = (table.size, [len.to_le_bytes()[0]; 32]);
        let start = Start::Plain;
        table.points.push(AccessPoint { out_offset, in_offset: out_offset, skip: 0, start });
        table.spans.push(Span { out_offset, len, point, digest });
        table.size += u64::from(len);
    }
    table.blob_size = table.size;
    table
}

/// A layer of plain bytes that counts its reads and can be switched off.
pub(super) struct Far {
    table: SpanTable,
    bytes: Vec<u8>,
    reads: AtomicU32,
    down: AtomicBool,
}

impl Far {
    pub(super) fn new(size: usize) -> Arc<Self> {
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
        let mut table = table_of(&bytes.chunks(SPAN).map(|c| c.len() as u32).collect::<Vec<_>>());
        for (span, bytes) in table.spans.iter_mut().zip(bytes.chunks(SPAN)) {
            span.digest = *blake3::hash(bytes).as_bytes();
        }
        Arc::new(Self { table, bytes, reads: AtomicU32::new(0), down: AtomicBool::new(false) })
    }

    fn reads(&self) -> u32 {
        self.reads.load(Ordering::SeqCst)
    }
}

impl SpanSource for Far {
    fn table(&self) -> &SpanTable {
        &self.table
    }

    fn read_span(&self, span: u32, sink: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(SpanError::Read { offset: 0, source: std::io::ErrorKind::TimedOut.into() });
        }
        let s = self.table.spans[span as usize];
        let at = s.out_offset as usize;
        sink(span, &self.bytes[at..at + s.len as usize]);
        Ok(())
    }
}

fn digest() -> Digest {
    Digest::sha256(b"layer")
}

fn read(layer: &dyn ReadAt, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let n = layer.read_at(&mut buf, offset)?;
    buf.truncate(n);
    Ok(buf)
}

#[test]
fn a_span_is_fetched_once_and_then_read_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(10_500);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    let mut buf = [0; 100];
    assert_eq!(layer.try_read_at(&mut buf, 950).unwrap(), None);
    assert_eq!(read(&*layer, 950, 100).unwrap(), far.bytes[950..1050]);
    assert_eq!(far.reads(), 2);
    assert_eq!(layer.try_read_at(&mut buf, 950).unwrap(), Some(100));
    assert_eq!(buf[..], far.bytes[950..1050]);
    assert_eq!(read(&*layer, 0, 20_000).unwrap(), far.bytes);
    assert_eq!(far.reads(), 11);
    assert_eq!(read(&*layer, 10_500, 5).unwrap(), b"");
}

#[test]
fn a_restart_needs_no_source() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(10_500);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    cache.layer(&digest(), far.clone()).unwrap().fill().unwrap();
    drop(cache);
    far.down.store(true, Ordering::SeqCst);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(layer.state().stored, 10_500);
    assert_eq!(read(&*layer, 0, 10_500).unwrap(), far.bytes);
}

#[test]
fn a_byte_flipped_on_disk_is_found_and_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(3000);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    cache.layer(&digest(), far.clone()).unwrap().fill().unwrap();
    drop(cache);
    let data = dir.path().join(format!("sha256-{}", digest().hex())).join("data");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[1500] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(read(&*layer, 0, 3000).unwrap(), far.bytes);
    assert_eq!(far.reads(), 4);
    assert_eq!(cache.counters().corrupt.get(), 1);
    assert_eq!(layer.verify(), (3, 0));
}

#[test]
fn an_error_is_not_cached() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(3000);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    far.down.store(true, Ordering::SeqCst);
    assert!(read(&*layer, 0, 10).is_err());
    far.down.store(false, Ordering::SeqCst);
    assert_eq!(read(&*layer, 0, 10).unwrap(), far.bytes[..10]);
}

#[test]
fn the_limit_holds_and_the_least_recently_used_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(100_000);
    let cache = LayerCache::open(dir.path(), 32_000, None).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(read(&*layer, 0, 100_000).unwrap(), far.bytes);
    assert!(cache.stored() <= 32_000, "{}", cache.stored());
    assert!(cache.stored() > 16_000);
    assert_eq!(read(&*layer, 0, 100_000).unwrap(), far.bytes);
}

#[test]
fn readers_and_eviction_at_once_never_see_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(40_000);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..3usize {
            let (layer, far) = (&layer, &far);
            scope.spawn(move || {
                for i in 0..3000usize {
                    let at = (i * 977 + seed * 131) % 39_000;
                    assert_eq!(read(&**layer, at as u64, 900).unwrap(), far.bytes[at..at + 900]);
                }
            });
        }
        scope.spawn(|| (0..60).for_each(|_| cache.remove(&digest()).unwrap()));
    });
}

#[test]
fn another_index_of_the_blob_starts_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    cache.layer(&digest(), Far::new(3000)).unwrap().fill().unwrap();
    let other = Far::new(4000);
    let layer = cache.layer(&digest(), other.clone()).unwrap();
    assert_eq!(layer.state().stored, 0);
    assert_eq!(read(&*layer, 0, 4000).unwrap(), other.bytes);
}

#[test]
fn a_layer_taken_in_whole_needs_no_source() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(10_500);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let mut ingest = cache.ingest(&digest()).unwrap();
    far.bytes.chunks(777).for_each(|piece| ingest.write(piece));
    assert!(ingest.finish(&far.table).unwrap());
    far.down.store(true, Ordering::SeqCst);
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(layer.state().stored, 10_500);
    assert_eq!(read(&*layer, 0, 10_500).unwrap(), far.bytes);
}

#[test]
fn a_layer_taken_in_halfway_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(3000);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let mut ingest = cache.ingest(&digest()).unwrap();
    ingest.write(&far.bytes[..1000]);
    assert!(!ingest.finish(&far.table).unwrap());
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(layer.state().stored, 0);
    assert_eq!(read(&*layer, 0, 3000).unwrap(), far.bytes);
}

/// The time of the tests that look at what was used when.
static CLOCK: AtomicU32 = AtomicU32::new(1000);

#[test]
fn the_layer_read_longest_ago_goes_first_be_it_closed_or_open_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let open = || LayerCache::with_clock(dir.path(), 30_000, None, || CLOCK.load(Ordering::SeqCst));
    // As two processes have it.
    let (cache, elsewhere) = (open().unwrap(), open().unwrap());
    let names: Vec<Digest> = (0..4_u8).map(|i| Digest::sha256(&[i])).collect();
    let far = Far::new(10_000);
    let closed = cache.layer(&names[0], far.clone()).unwrap();
    closed.fill().unwrap();
    drop(closed);
    CLOCK.fetch_add(100, Ordering::SeqCst);
    let other = elsewhere.layer(&names[1], far.clone()).unwrap();
    other.fill().unwrap();
    CLOCK.fetch_add(100, Ordering::SeqCst);
    let layers: Vec<_> = names[2..].iter().map(|n| cache.layer(n, far.clone()).unwrap()).collect();
    layers[0].fill().unwrap();
    CLOCK.fetch_add(100, Ordering::SeqCst);
    // The closed one is read no more; the one open elsewhere is.
    assert_eq!(read(&*other, 0, 10_000).unwrap(), far.bytes);
    CLOCK.fetch_add(100, Ordering::SeqCst);
    layers[1].fill().unwrap();
    let stored: HashMap<_, _> =
        cache.layers().iter().map(|l| (l.digest().clone(), l.stored())).collect();
    assert!(stored[&names[0]] <= 2000, "{stored:?}");
    assert_eq!((stored[&names[1]], stored[&names[3]]), (10_000, 10_000));
    assert!(cache.stored() <= 30_000 && elsewhere.stored() == cache.stored());
    // Who has an evicted layer open fetches it again.
    cache.prune(0);
    let reads = far.reads();
    assert_eq!(other.try_read_at(&mut [0; 10], 0).unwrap(), None);
    assert_eq!(read(&*other, 0, 10_000).unwrap(), far.bytes);
    assert_eq!(far.reads(), reads + 10);
}

#[test]
fn what_is_being_read_stays_and_reads_go_on_without_room() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::with_clock(dir.path(), 10_000, None, || 5).unwrap();
    let far = Far::new(50_000);
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(read(&*layer, 0, 50_000).unwrap(), far.bytes);
    assert_eq!(cache.counters().evicted_spans.get(), 0);
    assert!(cache.counters().full.get() > 0);
    assert!((1..=10_000).contains(&cache.stored()), "{}", cache.stored());
    assert_eq!(layer.try_read_at(&mut [0; 5], 0).unwrap(), Some(5));
    assert_eq!(read(&*layer, 0, 50_000).unwrap(), far.bytes);
}

#[test]
fn a_full_disk_is_no_failure_of_reads() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let far = Far::new(5000);
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    cache.pause(&std::io::ErrorKind::StorageFull.into());
    assert_eq!(read(&*layer, 0, 5000).unwrap(), far.bytes);
    assert_eq!((layer.state().stored, cache.counters().full.get()), (0, 1));
    *cache.full_until.lock() = None;
    assert_eq!(read(&*layer, 0, 5000).unwrap(), far.bytes);
    assert_eq!(layer.state().stored, 5000);
}

#[test]
fn a_layer_says_once_that_it_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let layer = cache.layer(&digest(), Far::new(5000)).unwrap();
    read(&*layer, 0, 10).unwrap();
    assert!(!layer.is_complete());
    layer.fill().unwrap();
    layer.fill().unwrap();
    assert!(layer.is_complete());
    assert_eq!(cache.counters().completed.get(), 1);
}

#[test]
fn a_byte_flipped_under_an_open_layer_is_found_by_verify_in_any_process() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let far = Far::new(3000);
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    layer.fill().unwrap();
    let data = dir.path().join(format!("sha256-{}", digest().hex())).join("data");
    let file = std::fs::OpenOptions::new().write(true).open(&data).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", 2100).unwrap();
    let other = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    assert_eq!(other.layer(&digest(), far.clone()).unwrap().verify(), (2, 1));
    let reads = far.reads();
    assert_eq!(read(&*layer, 0, 3000).unwrap(), far.bytes);
    assert_eq!(far.reads(), reads + 1);
}

#[test]
fn layers_that_nobody_reads_are_removed_with_their_folders() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let far = Far::new(3000);
    let other = Digest::sha256(b"other");
    cache.layer(&digest(), far.clone()).unwrap().fill().unwrap();
    let open = cache.layer(&other, far.clone()).unwrap();
    open.fill().unwrap();
    assert_eq!(cache.layers().iter().map(|l| l.is_in_use()).filter(|used| *used).count(), 1);
    assert_eq!(cache.prune(3000), 3000);
    assert_eq!(cache.prune(0), 3000);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "the one that is open");
    assert_eq!(read(&*open, 0, 3000).unwrap(), far.bytes);
}

#[test]
fn one_process_uses_what_another_has_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let open = || LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let (cache, elsewhere) = (open(), open());
    let (far, none) = (Far::new(5000), Far::new(5000));
    none.down.store(true, Ordering::SeqCst);
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    let other = elsewhere.layer(&digest(), none.clone()).unwrap();
    // Not from the start on: that would be run ahead of.
    read(&*layer, 2000, 1500).unwrap();
    layer.sync();
    assert_eq!(read(&*other, 2000, 1500).unwrap(), far.bytes[2000..3500]);
    assert!(read(&*other, 0, 5000).is_err());
    // A second source of the same layer helps out.
    let _same = elsewhere.layer(&digest(), far.clone()).unwrap();
    assert_eq!(read(&*other, 0, 5000).unwrap(), far.bytes);
}

#[test]
fn reading_in_order_is_run_ahead_of() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let far = Far::new(400_000);
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    for at in (0..50_000).step_by(1000) {
        assert_eq!(read(&*layer, at as u64, 1000).unwrap(), far.bytes[at..at + 1000]);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while !layer.is_here(90) {
        assert!(Instant::now() < deadline, "nothing came ahead");
        std::thread::yield_now();
    }
    assert!(cache.counters().ahead_bytes.get() > 0);
    assert!(!layer.is_here(399));
}

#[test]
fn what_is_expected_is_fetched_before_anybody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(20_000);
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    read(&*layer, 3500, 10).unwrap();
    layer.expect(2500, 2000);
    let until = Instant::now() + Duration::from_secs(10);
    while layer.state().stored < 3000 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    let here: Vec<u32> = (0..20).filter(|span| layer.is_here(*span)).collect();
    assert_eq!(here, [2, 3, 4]);
    assert_eq!(far.reads(), 3);
    for (offset, len) in [(20_000, 1), (0, 0), (u64::MAX, 5)] {
        layer.expect(offset, len);
    }
    layer.expect(19_500, u64::MAX);
    while !layer.is_here(19) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(far.reads(), 4);
}

#[test]
fn a_start_is_recorded_and_the_next_one_has_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let traces = tempfile::tempdir().unwrap();
    let open =
        || LayerCache::open(dir.path(), u64::MAX, Some(TraceStore::new(traces.path()))).unwrap();
    let far = Far::new(100_000);
    let cache = open();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    cache.start(&[(digest(), layer.clone())], true);
    for span in [70, 3, 45] {
        read(&*layer, span * 1000, 10).unwrap();
    }
    cache.keep(true);
    drop(layer);
    cache.remove(&digest()).unwrap();
    let cache = open();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    cache.start(&[(digest(), layer.clone())], true);
    let deadline = Instant::now() + Duration::from_secs(20);
    while ![70, 3, 45].iter().all(|span| layer.is_here(*span)) {
        assert!(Instant::now() < deadline, "the trace was not replayed");
        std::thread::yield_now();
    }
    assert_eq!(cache.counters().misses.get(), 0);
}

#[test]
fn what_dead_writers_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    let folder = cache.layer_dir(&digest());
    std::fs::create_dir(&folder).unwrap();
    let (old, new) = (folder.join(".old"), folder.join(".new"));
    for path in [&old, &new] {
        std::fs::write(path, "half").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(600);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    let _cache = LayerCache::open(dir.path(), u64::MAX, None).unwrap();
    assert!(!old.exists() && new.exists());
}
