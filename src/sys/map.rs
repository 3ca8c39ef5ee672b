//! Read-only memory maps of immutable files.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;

/// A whole regular file mapped read-only, as it was when it was mapped.
///
/// Only for files of the state root: they are written under a temporary name, renamed and never
/// changed afterwards. A file that another program shortens while it is mapped makes the kernel
/// raise SIGBUS on access; contents must be verified by the user of the map.
pub struct Map(memmap2::Mmap);

impl Map {
    /// Maps all of `file`, which may be closed afterwards; an empty file gives an empty map.
    ///
    /// # Errors
    ///
    /// Those of `fstat` and `mmap`; `InvalidInput` for what is not a regular file.
    pub fn new(file: &File) -> io::Result<Self> {
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // SAFETY: the map is private and read-only, and every file that is given here is immutable
        // by the protocol above, so the bytes behind the shared slice do not change.
        unsafe { memmap2::Mmap::map(file) }.map(Self)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_map_shows_the_file_and_outlives_its_name() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"content").unwrap();
        let map = Map::new(file.as_file()).unwrap();
        file.close().unwrap();
        assert_eq!(&map[..], b"content");
    }

    #[test]
    fn an_empty_file_is_an_empty_map_and_a_folder_is_none() {
        assert!(Map::new(&tempfile::tempfile().unwrap()).unwrap().is_empty());
        assert!(Map::new(&File::open("/").unwrap()).is_err());
    }
}
