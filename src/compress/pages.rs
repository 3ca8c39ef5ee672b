use std::io;
use std::ops::Deref;

use memmap2::{MmapMut, MmapOptions};

/// Bytes in pages of their own, which go back to the system when they are dropped.
///
/// Spans are of many sizes, live for long and are dropped by other threads than made them: on the
/// heap they leave holes of more than twice the bytes that are held.
#[derive(Debug)]
pub(super) struct Pages(MmapMut);

impl Pages {
    /// A copy of `bytes`, which are not empty.
    ///
    /// # Errors
    ///
    /// Those of `mmap`.
    pub(super) fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let mut pages = MmapOptions::new().len(bytes.len()).populate().map_anon()?;
        pages.copy_from_slice(bytes);
        Ok(Self(pages))
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
