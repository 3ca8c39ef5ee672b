use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReadAt;

/// Counts the bytes and calls that pass through to another reader.
#[derive(Debug)]
pub struct CountingReader<R> {
    inner: R,
    bytes: AtomicU64,
    calls: AtomicU64,
}

impl<R: ReadAt> CountingReader<R> {
    /// Counts from zero over `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, bytes: AtomicU64::new(0), calls: AtomicU64::new(0) }
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Reads made so far, failed ones among them.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl<R: ReadAt> ReadAt for CountingReader<R> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let n = self.inner.read_at(buf, offset)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
