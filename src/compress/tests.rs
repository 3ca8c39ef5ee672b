use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::digest::{Algorithm, Digest};
use crate::io::ReadAt;

use super::*;

fn options(span_size: u32) -> ScanOptions {
    ScanOptions {
        span_size,
        limit: 1 << 30,
        blob_algorithm: Algorithm::Sha256,
        diff_algorithm: Algorithm::Sha256,
    }
}

fn index(blob: &Vec<u8>, span_size: u32) -> (Scan, Vec<u8>) {
    let mut out = Vec::new();
    let scan = scan::<std::convert::Infallible>(blob, &options(span_size), &mut |_| (), &mut |b| {
        out.extend_from_slice(b);
        Ok(())
    })
    .unwrap();
    (scan, out)
}

/// Words from a small vocabulary: compressible like text, with matches near and far.
fn words(n: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut out = Vec::with_capacity(n + 16);
    while out.len() < n {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        write!(out, "{:x} ", (state >> 40) % 50_000).unwrap();
    }
    out.truncate(n);
    out
}

fn gzip(data: &[u8], level: u32) -> Vec<u8> {
    let mut e = GzEncoder::new(Vec::new(), Compression::new(level));
    e.write_all(data).unwrap();
    e.finish().unwrap()
}

#[test]
fn a_gzip_blob_reads_the_same_from_every_offset() {
    let data = words(3_000_000);
    let blob = gzip(&data, 6);
    let (scan, out) = index(&blob, 64 << 10);
    assert!(out == data);
    assert_eq!(scan.blob_digest, Digest::sha256(&blob));
    assert_eq!(scan.diff_id.digest(), &Digest::sha256(&data));
    assert!(scan.table.points.len() > 5);
    let cache = Arc::new(SpanCache::new(1 << 20));
    let reader = SpanReader::new(BlobSpans::new(scan.table, blob), 0, cache);
    let mut buf = vec![0; 10_000];
    for offset in (0..data.len()).step_by(7_919) {
        let n = reader.read_at(&mut buf, offset as u64).unwrap();
        assert!(buf[..n] == data[offset..(offset + 10_000).min(data.len())]);
    }
}
