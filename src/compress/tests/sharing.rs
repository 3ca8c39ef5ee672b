//! Many threads on one reader, and what they learn of a failure.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::shapes::{Shape, gzip, pack};
use super::*;

/// Counts decodes, and lets them take long enough to be waited for.
struct Slow<S> {
    inner: S,
    decodes: AtomicU32,
    fail: AtomicBool,
}

impl<S: SpanSource> SpanSource for Slow<S> {
    fn table(&self) -> &SpanTable {
        self.inner.table()
    }

    fn read_span(&self, span: u32, sink: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError> {
        self.decodes.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        if self.fail.load(Ordering::SeqCst) {
            return Err(SpanError::Read { offset: 7, source: io::ErrorKind::TimedOut.into() });
        }
        self.inner.read_span(span, sink)
    }
}

fn slow(shape: Shape, data: &[u8]) -> SpanReader<Slow<BlobSpans<Vec<u8>>>> {
    let blob = pack(shape, data);
    let (scan, _) = index(&blob, SPAN_SIZE_MIN);
    let inner = BlobSpans::new(scan.table, Arc::new(scan.windows), blob);
    let source = Slow { inner, decodes: AtomicU32::new(0), fail: AtomicBool::new(false) };
    SpanReader::new(source, 0, Arc::new(SpanCache::new(4 << 20)))
}

/// What `threads` threads get that start to read 1000 bytes at the same time.
fn read_together(
    reader: &impl ReadAt,
    threads: usize,
    offset: impl Fn(usize) -> u64 + Sync,
) -> Vec<io::Result<Vec<u8>>> {
    let start = Barrier::new(threads);
    let read = |i: usize| {
        start.wait();
        let mut buf = vec![0; 1000];
        reader.read_exact_at(&mut buf, offset(i)).map(|()| buf)
    };
    std::thread::scope(|scope| {
        let read = &read;
        let threads: Vec<_> = (0..threads).map(|i| scope.spawn(move || read(i))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

#[test]
fn threads_that_miss_on_one_span_share_one_decode() {
    let data = mixed(100_000, 21);
    let reader = slow(Shape::Gzip(6), &data);
    for bytes in read_together(&reader, 8, |_| 40_000) {
        assert!(bytes.unwrap() == data[40_000..41_000]);
    }
    assert_eq!(reader.source().decodes.load(Ordering::SeqCst), 1);
}

#[test]
fn threads_that_miss_on_one_run_of_spans_get_the_right_ones() {
    let data = mixed(400_000, 22);
    let reader = slow(Shape::Zstd, &data);
    assert_eq!(reader.source().table().points.len(), 1);
    let offset = |i: usize| i as u64 * 49_000;
    for (i, bytes) in read_together(&reader, 8, offset).into_iter().enumerate() {
        assert!(bytes.unwrap() == data[i * 49_000..i * 49_000 + 1000]);
    }
}

#[test]
fn threads_on_different_spans_do_not_wait_for_each_other() {
    let data = mixed(800_000, 23);
    let reader = slow(Shape::Gzip(6), &data);
    let start = std::time::Instant::now();
    for (i, bytes) in read_together(&reader, 8, |i| i as u64 * 99_000).into_iter().enumerate() {
        assert!(bytes.unwrap() == data[i * 99_000..i * 99_000 + 1000]);
    }
    let decodes = reader.source().decodes.load(Ordering::SeqCst);
    assert!(decodes >= 8);
    assert!(start.elapsed() < Duration::from_millis(100) * decodes);
}

#[test]
fn an_error_is_told_to_those_who_waited_and_not_remembered() {
    let data = mixed(100_000, 24);
    let reader = slow(Shape::Gzip(6), &data);
    reader.source().fail.store(true, Ordering::SeqCst);
    for outcome in read_together(&reader, 4, |_| 0) {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("blob bytes at 7"), "{error}");
    }
    reader.source().fail.store(false, Ordering::SeqCst);
    let mut buf = [0; 1000];
    reader.read_exact_at(&mut buf, 0).unwrap();
    assert!(buf == data[..1000]);
}

/// Fails every `period`th read.
struct Flaky {
    blob: Vec<u8>,
    reads: AtomicU32,
    period: u32,
}

impl ReadAt for Flaky {
    fn size(&self) -> u64 {
        self.blob.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.reads.fetch_add(1, Ordering::SeqCst).is_multiple_of(self.period) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.blob.read_at(buf, offset)
    }
}

#[test]
fn a_read_that_fails_once_works_the_next_time() {
    let data = mixed(600_000, 25);
    let blob = gzip(&data, 6);
    let (scan, _) = index(&blob, SPAN_SIZE_MIN);
    let flaky = Flaky { blob, reads: AtomicU32::new(0), period: 7 };
    let spans = BlobSpans::new(scan.table, Arc::new(scan.windows), flaky);
    let reader = SpanReader::new(spans, 0, Arc::new(SpanCache::new(1 << 20)));
    let (mut buf, mut failures) = (vec![0; 20_000], 0);
    for offset in (0..data.len() - buf.len()).step_by(buf.len()) {
        while let Err(e) = reader.read_exact_at(&mut buf, offset as u64) {
            assert_eq!(e.kind(), io::ErrorKind::ConnectionReset);
            failures += 1;
            assert!(failures < 1000);
        }
        assert!(buf == data[offset..offset + buf.len()]);
    }
    assert!(failures > 3);
}

#[test]
fn a_scan_that_cannot_read_says_where() {
    let blob = gzip(&mixed(400_000, 26), 6);
    let flaky = Flaky { blob, reads: AtomicU32::new(1), period: 3 };
    let scan = scan::<Infallible>(&flaky, &options(SPAN_SIZE_MIN), &mut |_| (), &mut |_| Ok(()));
    let Err(ScanError::Read { offset, source }) = scan else { panic!("{scan:?}") };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
    assert!(offset > 0);
}

/// A source that panics while others wait.
struct Panics(BlobSpans<Vec<u8>>, AtomicBool);

impl SpanSource for Panics {
    fn table(&self) -> &SpanTable {
        self.0.table()
    }

    fn read_span(&self, span: u32, sink: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError> {
        if self.1.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(100));
            panic!("on purpose");
        }
        self.0.read_span(span, sink)
    }
}

#[test]
fn a_thread_that_panics_leaves_nobody_waiting() {
    let data = mixed(50_000, 27);
    let blob = gzip(&data, 6);
    let (scan, _) = index(&blob, SPAN_SIZE_MIN);
    let source =
        Panics(BlobSpans::new(scan.table, Arc::new(scan.windows), blob), AtomicBool::new(true));
    let reader = SpanReader::new(source, 0, Arc::new(SpanCache::new(1 << 20)));
    let outcomes = std::thread::scope(|scope| {
        let read = || {
            let mut buf = vec![0; 1000];
            reader.read_exact_at(&mut buf, 0).map(|()| buf).unwrap()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(read)).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    assert_eq!(outcomes.iter().filter(|o| o.is_err()).count(), 1);
    assert!(outcomes.into_iter().flatten().all(|bytes| bytes == data[..1000]));
}
