#![expect(clippy::cast_possible_truncation, reason = "small numbers of the tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::compress::{
    AccessPoint, Codec, Span, SpanDigest, SpanError, SpanSource, SpanTable, Start,
};
use crate::digest::Digest;
use crate::io::ReadAt;

use super::LayerCache;

const SPAN: usize = 1000;

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
        let spans = bytes
            .chunks(SPAN)
            .enumerate()
            .map(|(i, c)| Span {
                out_offset: (i * SPAN) as u64,
                len: c.len() as u32,
                point: i as u32,
                digest: *blake3::hash(c).as_bytes(),
            })
            .collect::<Vec<_>>();
        let points = spans
            .iter()
            .map(|s| AccessPoint {
                out_offset: s.out_offset,
                in_offset: s.out_offset,
                skip: 0,
                start: Start::Plain,
            })
            .collect();
        let size = size as u64;
        let table = SpanTable {
            codec: Codec::Plain,
            blob_size: size,
            size,
            points,
            spans,
            windows_size: 0,
            span_digest: SpanDigest::Blake3,
        };
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
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
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
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
    cache.layer(&digest(), far.clone()).unwrap().fill().unwrap();
    drop(cache);
    far.down.store(true, Ordering::SeqCst);
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(layer.state().stored, 10_500);
    assert_eq!(read(&*layer, 0, 10_500).unwrap(), far.bytes);
}

#[test]
fn a_byte_flipped_on_disk_is_found_and_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(3000);
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
    cache.layer(&digest(), far.clone()).unwrap().fill().unwrap();
    drop(cache);
    let data = dir.path().join(format!("sha256-{}", digest().hex())).join("data");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[1500] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(read(&*layer, 0, 3000).unwrap(), far.bytes);
    assert_eq!(far.reads(), 4);
    assert_eq!(cache.counters().corrupt.load(Ordering::SeqCst), 1);
    assert_eq!(layer.verify(), (3, 0));
}

#[test]
fn an_error_is_not_cached() {
    let dir = tempfile::tempdir().unwrap();
    let far = Far::new(3000);
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
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
    let cache = LayerCache::open(dir.path(), 32_000).unwrap();
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
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
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
        scope.spawn(|| (0..60).for_each(|_| layer.evict_all()));
    });
}

#[test]
fn another_index_of_the_blob_starts_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
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
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
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
    let cache = LayerCache::open(dir.path(), u64::MAX).unwrap();
    let mut ingest = cache.ingest(&digest()).unwrap();
    ingest.write(&far.bytes[..1000]);
    assert!(!ingest.finish(&far.table).unwrap());
    let layer = cache.layer(&digest(), far.clone()).unwrap();
    assert_eq!(layer.state().stored, 0);
    assert_eq!(read(&*layer, 0, 3000).unwrap(), far.bytes);
}
