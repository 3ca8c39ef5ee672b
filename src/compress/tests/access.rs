//! What a read costs.

use crate::io::CountingReader;

use super::shapes::{Shape, gzip, pack};
use super::*;

#[test]
fn a_cold_read_takes_only_the_compressed_bytes_of_its_span() {
    let data = mixed(4 << 20, 5);
    let blob = gzip(&data, 6);
    let (scan, _) = index(&blob, 128 << 10);
    let table = scan.table;
    let number = table.find(2 << 20).unwrap();
    let range = table.compressed_range(number).unwrap();
    let blob = Arc::new(CountingReader::new(blob));
    let cache = Arc::new(SpanCache::new(1 << 20));
    let reader =
        SpanReader::new(BlobSpans::new(table, Arc::new(scan.windows), Arc::clone(&blob)), 0, cache);
    let mut buf = [0; 4096];
    reader.read_exact_at(&mut buf, 2 << 20).unwrap();
    assert!(buf == data[2 << 20..(2 << 20) + 4096]);
    assert!(blob.bytes() <= range.end - range.start);
    let before = blob.bytes();
    reader.read_exact_at(&mut buf, (2 << 20) + 1).unwrap();
    assert_eq!(blob.bytes(), before, "the second read is answered from memory");
}

#[test]
fn only_what_is_in_memory_is_read_without_waiting() {
    let data = mixed(300_000, 6);
    let blob = gzip(&data, 6);
    let (scan, _) = index(&blob, SPAN_SIZE_MIN);
    let second = scan.table.spans[1].out_offset;
    let reader = reader(&scan, blob);
    let mut buf = [0; 100];
    assert_eq!(reader.try_read_at(&mut buf, second - 50).unwrap(), None);
    reader.read_exact_at(&mut buf[..1], second).unwrap();
    assert_eq!(reader.try_read_at(&mut buf, second).unwrap(), Some(100));
    assert_eq!(reader.try_read_at(&mut buf, second - 50).unwrap(), None);
    reader.read_exact_at(&mut buf[..1], second - 1).unwrap();
    assert_eq!(reader.try_read_at(&mut buf, second - 50).unwrap(), Some(100));
    let start = usize::try_from(second).unwrap() - 50;
    assert!(buf == data[start..start + 100]);
    assert_eq!(reader.try_read_at(&mut buf, 300_000).unwrap(), Some(0));
    assert_eq!(reader.read_at(&mut buf, u64::MAX).unwrap(), 0);
}

#[test]
fn a_cache_stays_within_its_bound_whatever_is_read() {
    let data = mixed(3 << 20, 7);
    let cache = Arc::new(SpanCache::new(1 << 20));
    for (layer, shape) in (0..).zip([Shape::Gzip(6), Shape::Zstd, Shape::Plain]) {
        let blob = pack(shape, &data);
        let (scan, _) = index(&blob, 64 << 10);
        let reader = SpanReader::new(
            BlobSpans::new(scan.table, Arc::new(scan.windows), blob),
            layer,
            Arc::clone(&cache),
        );
        let mut buf = vec![0; 100_000];
        for offset in (0..data.len()).step_by(buf.len()) {
            let n = reader.read_at(&mut buf, offset as u64).unwrap();
            assert!(buf[..n] == data[offset..offset + n]);
            assert!(cache.bytes() <= 1 << 20);
        }
    }
    assert!(cache.bytes() > 1 << 19, "the cache holds something");
}

#[test]
fn layers_that_share_a_cache_never_see_each_others_bytes() {
    let cache = Arc::new(SpanCache::new(1 << 20));
    let readers: Vec<_> = (0..4)
        .map(|layer| {
            let data = mixed(80_000, 100 + u64::from(layer));
            let blob = gzip(&data, 6);
            let (scan, _) = index(&blob, SPAN_SIZE_MIN);
            (
                SpanReader::new(
                    BlobSpans::new(scan.table, Arc::new(scan.windows), blob),
                    layer,
                    Arc::clone(&cache),
                ),
                data,
            )
        })
        .collect();
    for _ in 0..2 {
        for (reader, data) in &readers {
            let mut buf = vec![0; data.len()];
            reader.read_exact_at(&mut buf, 0).unwrap();
            assert!(&buf == data);
        }
    }
}

#[test]
fn spans_that_share_a_point_are_decoded_once_when_read_in_order() {
    let data = mixed(2 << 20, 8);
    let blob = pack(Shape::Zstd, &data);
    let (scan, _) = index(&blob, SPAN_SIZE_MIN);
    assert_eq!(scan.table.points.len(), 1);
    let count = u32::try_from(scan.table.spans.len()).unwrap();
    let size = blob.len() as u64;
    let blob = Arc::new(CountingReader::new(blob));
    let spans = BlobSpans::new(scan.table, Arc::new(scan.windows), Arc::clone(&blob));
    for number in 0..count {
        let mut seen = Vec::new();
        spans.read_span(number, &mut |n, _| seen.push(n)).unwrap();
        assert_eq!(seen, [number]);
    }
    assert!(blob.bytes() <= size);
    let mut seen = Vec::new();
    spans.read_span(3, &mut |n, _| seen.push(n)).unwrap();
    assert_eq!(seen, [0, 1, 2, 3], "going back starts over");
    spans.read_span(5, &mut |n, _| seen.push(n)).unwrap();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
}
