use std::io;

use super::ReadAt;

/// A sub-range of another reader, as a reader of its own.
#[derive(Debug, Clone)]
pub struct Section<R> {
    inner: R,
    start: u64,
    len: u64,
}

impl<R: ReadAt> Section<R> {
    /// The `len` bytes of `inner` from `start`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where the range is not inside `inner`.
    pub fn new(inner: R, start: u64, len: u64) -> io::Result<Self> {
        match start.checked_add(len) {
            Some(end) if end <= inner.size() => Ok(Self { inner, start, len }),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("section {start}+{len} is outside of {} bytes", inner.size()),
            )),
        }
    }

    /// `buf` cut to what the section holds from `offset`.
    fn clip<'a>(&self, buf: &'a mut [u8], offset: u64) -> &'a mut [u8] {
        let left = self.len.saturating_sub(offset);
        let n = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        &mut buf[..n]
    }
}

impl<R: ReadAt> ReadAt for Section<R> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let buf = self.clip(buf, offset);
        if buf.is_empty() {
            return Ok(0);
        }
        self.inner.read_at(buf, self.start + offset)
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let buf = self.clip(buf, offset);
        if buf.is_empty() {
            return Ok(Some(0));
        }
        self.inner.try_read_at(buf, self.start + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_reads_only_its_range() {
        let s = Section::new(b"hello world".to_vec(), 6, 5).unwrap();
        let mut buf = [0; 16];
        assert_eq!(s.read_at(&mut buf, 0).unwrap(), 5);
        assert_eq!(&buf[..5], b"world");
        assert_eq!(s.read_at(&mut buf, 4).unwrap(), 1);
        assert_eq!(s.read_at(&mut buf, 5).unwrap(), 0);
        assert_eq!(s.read_at(&mut buf, u64::MAX).unwrap(), 0);
    }

    #[test]
    fn section_outside_of_its_reader_is_refused() {
        assert!(Section::new(vec![0; 4], 2, 3).is_err());
        assert!(Section::new(vec![0; 4], u64::MAX, 2).is_err());
    }
}
