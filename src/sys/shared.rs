//! A file of 32-bit words that several processes share through one mapping.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU32;

/// The words of a file, mapped shared: a store is seen by every process that maps the file.
///
/// The file must not be made shorter while it is mapped; the caller owns its folder.
#[derive(Debug)]
pub struct SharedWords {
    map: memmap2::MmapMut,
    len: usize,
}

impl SharedWords {
    /// Maps the first `len` words of `file`, which must be open for reading and writing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where the file is shorter; else those of `mmap`.
    pub fn map(file: &File, len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(4).filter(|&b| b > 0).ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "file is shorter than its map",
            ));
        }
        // SAFETY: the mapping is only ever seen as atomics, so that changes by other processes are
        // no data race; that the file is not truncated is the caller's promise.
        let map = unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(file)? };
        Ok(Self { map, len })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU32] {
        // SAFETY: the mapping is page-aligned, lives as long as `self`, holds `len` words, and
        // every bit pattern is a valid u32. Nothing hands out a plain reference into it.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU32>(), self.len) }
    }

    /// Writes the mapping back to the file and waits for it.
    ///
    /// # Errors
    ///
    /// Those of `msync`.
    pub fn sync(&self) -> io::Result<()> {
        self.map.flush()
    }
}
