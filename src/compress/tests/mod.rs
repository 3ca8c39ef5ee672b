//! Tests of the whole module: blobs of every shape, scanned and read at random.

mod access;
mod damage;
mod deflate;
mod shapes;
mod sharing;

use std::convert::Infallible;
use std::sync::Arc;

use crate::digest::{Algorithm, Digest};
use crate::io::ReadAt;

use super::*;

/// Small numbers that look random and are the same every time.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from((self.0 >> 33) % bound as u64).unwrap()
    }

    pub(super) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// `n` bytes of a mix that files are made of: words, repeated records, noise, runs of zeros.
pub(super) fn mixed(n: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut out = Vec::with_capacity(n + 8192);
    while out.len() < n {
        let len = 1 + random.below(4000);
        match random.below(8) {
            0 => out.extend(std::iter::repeat_n(0, len * 4)),
            1 => out.extend((0..len).map(|_| random.byte())),
            2 if out.len() > 40_000 => {
                let from = out.len() - 1 - random.below(40_000 - 1);
                let to = (from + len).min(out.len());
                out.extend_from_within(from..to);
            }
            _ => {
                for _ in 0..len / 8 {
                    out.extend_from_slice(format!("{:x} ", random.below(5000)).as_bytes());
                }
            }
        }
    }
    out.truncate(n);
    out
}

pub(super) fn options(span_size: u32) -> ScanOptions {
    ScanOptions {
        span_size,
        limit: 1 << 30,
        blob_algorithm: Algorithm::Sha256,
        diff_algorithm: Algorithm::Sha256,
    }
}

/// Scans `blob`, and checks all that a scan says but the spans themselves.
pub(super) fn index(blob: &Vec<u8>, span_size: u32) -> (Scan, Vec<u8>) {
    let (mut out, mut done) = (Vec::new(), 0);
    let mut progress = |n| {
        assert!(n >= done);
        done = n;
    };
    let scan = scan::<Infallible>(blob, &options(span_size), &mut progress, &mut |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    assert_eq!(done, blob.len() as u64);
    assert_eq!(scan.blob_digest, Digest::sha256(blob));
    assert_eq!(scan.diff_id.digest(), &Digest::sha256(&out));
    check_invariants(&scan.table, blob.len(), out.len(), span_size);
    assert_eq!(SpanTable::decode(&scan.table.encode()).unwrap(), scan.table);
    (scan, out)
}

/// What the type of a span table promises.
pub(super) fn check_invariants(table: &SpanTable, blob: usize, size: usize, span_size: u32) {
    assert_eq!((table.blob_size, table.size), (blob as u64, size as u64));
    let mut end = 0;
    for span in &table.spans {
        assert_eq!(span.out_offset, end);
        assert!(span.len > 0 && span.len <= 2 * span_size);
        end += u64::from(span.len);
        let point = &table.points[span.point as usize];
        assert!(point.out_offset <= span.out_offset);
        let next = table.points.get(span.point as usize + 1);
        assert!(next.is_none_or(|p| p.out_offset > span.out_offset));
    }
    assert_eq!(end, table.size);
    let sorted =
        |a: &AccessPoint, b: &AccessPoint| a.out_offset < b.out_offset && a.in_offset < b.in_offset;
    assert!(table.points.is_sorted_by(sorted));
    assert!(table.points.first().is_none_or(|p| p.out_offset == 0));
    for point in &table.points {
        assert!(table.spans.iter().any(|s| s.out_offset == point.out_offset));
    }
}

pub(super) fn spans(scan: &Scan, blob: Vec<u8>) -> BlobSpans<Vec<u8>> {
    BlobSpans::new(scan.table.clone(), Arc::new(scan.windows.clone()), blob)
}

pub(super) fn reader(scan: &Scan, blob: Vec<u8>) -> SpanReader<BlobSpans<Vec<u8>>> {
    SpanReader::new(spans(scan, blob), 0, Arc::new(SpanCache::new(1 << 20)))
}

/// Reads `blob` in every way and compares with `data`.
pub(super) fn check_blob(blob: &Vec<u8>, data: &[u8], span_size: u32) -> Scan {
    let (scan, out) = index(blob, span_size);
    assert!(out == data, "the scan gives other bytes");
    let spans = spans(&scan, blob.clone());
    for number in (0..u32::try_from(scan.table.spans.len()).unwrap()).rev() {
        let mut last = None;
        spans
            .read_span(number, &mut |n, bytes| {
                let start = usize::try_from(scan.table.spans[n as usize].out_offset).unwrap();
                assert!(bytes == &data[start..start + bytes.len()]);
                last = Some(n);
            })
            .unwrap();
        assert_eq!(last, Some(number));
    }
    let reader = reader(&scan, blob.clone());
    let mut random = Random::new(data.len() as u64);
    for _ in 0..60 {
        let offset = random.below(data.len() + 2);
        let mut buf = vec![0xa5; random.below(3 * span_size as usize)];
        let n = reader.read_at(&mut buf, offset as u64).unwrap();
        let expected = &data[offset.min(data.len())..(offset + buf.len()).min(data.len())];
        assert!(&buf[..n] == expected, "{} bytes at {offset}", buf.len());
    }
    scan
}
