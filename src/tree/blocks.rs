//! The bytes of a tree file, each block checked against its checksum when it is first touched.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::Map;

use super::layout::{BLOCK_LEN, HEADER_LEN, Header, Section, u32_at};

/// Where the bytes are.
#[derive(Debug)]
pub(super) enum Bytes {
    /// In a mapped file.
    Mapped(Map),
    /// In memory.
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// What a failed access says of the file.
pub(super) type Damage = &'static str;

/// The body of a tree file.
///
/// No lock: a block's bit in `checked` is set after its checksum matched, and two threads that
/// check one block at once come to the same result.
#[derive(Debug)]
pub(super) struct Blocks {
    bytes: Bytes,
    header: Header,
    checked: Box<[AtomicU64]>,
}

impl Blocks {
    /// The body of the file `bytes` with this header.
    pub(super) fn new(bytes: Bytes, header: Header) -> Self {
        let blocks = usize::try_from(header.checksums.len / 4).unwrap_or(0);
        let checked = (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { bytes, header, checked }
    }

    /// The header.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// How many records of `len` bytes `section` holds.
    pub(super) fn count(&self, section: Section, len: usize) -> u64 {
        self.header.section(section).len / len as u64
    }

    /// The record of `N` bytes at `place` of `section`.
    pub(super) fn record<const N: usize>(
        &self,
        section: Section,
        place: u32,
    ) -> Result<&[u8; N], Damage> {
        let bytes = self.get(section, u64::from(place) * N as u64, N as u64)?;
        bytes.first_chunk().ok_or("a record is cut")
    }

    /// `len` bytes from `offset` of `section`.
    pub(super) fn get(&self, section: Section, offset: u64, len: u64) -> Result<&[u8], Damage> {
        let stretch = self.header.section(section);
        let end = offset.checked_add(len).filter(|end| *end <= stretch.len);
        let end = end.ok_or("a reference leads out of its section")?;
        let place = |at: u64| usize::try_from(stretch.offset + at).unwrap_or(usize::MAX);
        let (start, end) = (place(offset), place(end));
        let bytes = self.bytes.get(start..end).ok_or("a section leads out of the file")?;
        if !bytes.is_empty() {
            let first = (start - HEADER_LEN) / BLOCK_LEN;
            let last = (end - 1 - HEADER_LEN) / BLOCK_LEN;
            (first..=last).try_for_each(|block| self.check(block))?;
        }
        Ok(bytes)
    }

    /// Checks every block.
    pub(super) fn check_all(&self) -> Result<(), Damage> {
        let blocks = usize::try_from(self.header.checksums.len / 4).unwrap_or(0);
        (0..blocks).try_for_each(|block| self.check(block))
    }

    fn check(&self, block: usize) -> Result<(), Damage> {
        let word = self.checked.get(block / 64).ok_or("a block has no checksum")?;
        let bit = 1 << (block % 64);
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let checksums = usize::try_from(self.header.checksums.offset).unwrap_or(usize::MAX);
        let start = HEADER_LEN + block * BLOCK_LEN;
        let end = checksums.min(start + BLOCK_LEN);
        let bytes = self.bytes.get(start..end).ok_or("a block leads out of the file")?;
        if crc32c::crc32c(bytes) != u32_at(&self.bytes, checksums + 4 * block) {
            return Err("a block does not match its checksum");
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }
}
