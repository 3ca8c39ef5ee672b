use std::io::{self, Write};

use super::format::{BLOCK, BLOCK_LEN};

const BUFFER_LEN: usize = 256 * 1024;

/// A buffered output that knows its place and the checksum (crc32c) of what went through it.
pub(super) struct Output<'w, W> {
    out: &'w mut W,
    buffer: Vec<u8>,
    flushed: u64,
    checksum: u32,
}

impl<'w, W: Write> Output<'w, W> {
    pub(super) fn new(out: &'w mut W) -> Self {
        Self { out, buffer: Vec::with_capacity(BUFFER_LEN), flushed: 0, checksum: 0 }
    }

    fn place(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Writes zeros up to `place`, which is not before what was written.
    pub(super) fn fill_to(&mut self, place: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
        while self.place() < place {
            let gap = (place - self.place()).min(BLOCK);
            self.write_all(&ZEROS[..usize::try_from(gap).unwrap_or(0)])?;
        }
        Ok(())
    }

    /// Writes zeros up to the end of the block.
    pub(super) fn fill_block(&mut self) -> io::Result<()> {
        self.fill_to(self.place().next_multiple_of(BLOCK))
    }

    /// Leaves what was written so far out of the checksum.
    pub(super) fn restart_checksum(&mut self) -> io::Result<()> {
        self.drain()?;
        self.checksum = 0;
        Ok(())
    }

    /// Writes what is left and returns the checksum.
    pub(super) fn finish(mut self) -> io::Result<u32> {
        self.drain()?;
        Ok(self.checksum)
    }

    fn drain(&mut self) -> io::Result<()> {
        self.checksum = crc32c::crc32c_append(self.checksum, &self.buffer);
        self.out.write_all(&self.buffer)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl<W: Write> Write for Output<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == BUFFER_LEN {
            self.drain()?;
        }
        let n = bytes.len().min(BUFFER_LEN - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.out.flush()
    }
}
