//! Positioned readers: bytes with a size, read at any offset by many threads at once.
//!
//! There is no cursor and no lock: a reader is shared behind an `Arc` and every call names its
//! offset, so parallel reads of one blob never serialise.

mod atomic;
mod counting;
mod file;
mod section;
mod verifying;

pub use atomic::AtomicFile;
pub use counting::CountingReader;
pub use file::FileReader;
pub use section::Section;
pub use verifying::{Found, VerifyingReader};

use std::io;
use std::sync::Arc;

/// Bytes of a known size that can be read at any offset.
pub trait ReadAt: Send + Sync {
    /// The number of bytes there are.
    fn size(&self) -> u64;

    /// Reads into `buf` from `offset` and returns how many bytes were read.
    ///
    /// Fewer than `buf.len()` bytes, 0 among them, are returned only at the end of the reader.
    ///
    /// # Errors
    ///
    /// Whatever the source below answers; nothing is promised about `buf` then.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` where the reader ends before `buf` is full; else as [`ReadAt::read_at`].
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let n = self.read_at(buf, offset)?;
        if n == buf.len() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{n} of {} bytes at offset {offset} of {}", buf.len(), self.size()),
        ))
    }

    /// Reads from `offset` only what needs no waiting (no network, no decoding).
    ///
    /// `None`: not to be had at once; the caller then uses [`ReadAt::read_at`] from a thread that
    /// may wait.
    ///
    /// # Errors
    ///
    /// As [`ReadAt::read_at`].
    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let _ = (buf, offset);
        Ok(None)
    }

    /// Says that the `len` bytes at `offset` will be read soon: whoever fetches them from afar may
    /// begin. Never waits.
    fn expect(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buf, offset)
    }
    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        (**self).try_read_at(buf, offset)
    }
    fn expect(&self, offset: u64, len: u64) {
        (**self).expect(offset, len);
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let n = buf.len().min(self.len() - start);
        buf[..n].copy_from_slice(&self[start..start + n]);
        Ok(n)
    }
}

/// A sequential [`io::Read`] over a [`ReadAt`].
#[derive(Debug)]
pub struct Cursor<R> {
    reader: R,
    offset: u64,
}

impl<R: ReadAt> Cursor<R> {
    /// A cursor at the start of `reader`.
    pub fn new(reader: R) -> Self {
        Self::at(reader, 0)
    }

    /// A cursor at `offset` of `reader`.
    pub fn at(reader: R, offset: u64) -> Self {
        Self { reader, offset }
    }
}

impl<R: ReadAt> io::Read for Cursor<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read_at(buf, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}
