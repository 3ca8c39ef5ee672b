//! The `map` file: a header of [`HEADER_WORDS`] words, then one word a span.
//!
//! | word | holds |
//! |---|---|
//! | 0 | magic `SFcm` |
//! | 1 | version |
//! | 2 | number of spans |
//! | 3..7 | the first 16 bytes of the BLAKE3 of the span table's offsets and digests |
//!
//! A map with another header belongs to another index of the blob: its data are dropped.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::compress::SpanTable;
use crate::sys::SharedWords;

const MAGIC: u32 = u32::from_le_bytes(*b"SFcm");
const VERSION: u32 = 1;
const HEADER_WORDS: usize = 8;

/// Set in a word: the span is on disk.
const PRESENT: u32 = 1;
/// What one eviction adds to a word.
const GENERATION: u32 = 2;

/// Which spans of a layer are on disk.
#[derive(Debug)]
pub(super) struct Map {
    shared: SharedWords,
}

impl Map {
    /// Maps the file at `path` if it is the map of `table`. `None`: there is none, or it is of
    /// another index, or damaged.
    pub(super) fn open(path: &Path, table: &SpanTable) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let words = HEADER_WORDS + table.spans.len();
        if file.metadata()?.len() != words as u64 * 4 || read_header(&file)? != header(table)? {
            return Ok(None);
        }
        Ok(Some(Self { shared: SharedWords::map(&file, words)? }))
    }

    /// Makes a map of `table` at `path` in which every span is `present`, or none. A process that
    /// has an older file there mapped keeps it.
    pub(super) fn create(path: &Path, table: &SpanTable, present: bool) -> io::Result<Self> {
        let words = HEADER_WORDS + table.spans.len();
        let new = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
        new.as_file().set_len(words as u64 * 4)?;
        let map = Self { shared: SharedWords::map(new.as_file(), words)? };
        for (word, value) in map.shared.words().iter().zip(header(table)?) {
            word.store(value, Ordering::Relaxed);
        }
        if present {
            let spans = &map.shared.words()[HEADER_WORDS..];
            spans.iter().for_each(|word| word.store(PRESENT, Ordering::Relaxed));
        }
        map.shared.sync()?;
        new.persist(path)?;
        Ok(map)
    }

    fn word(&self, span: u32) -> &AtomicU32 {
        &self.shared.words()[HEADER_WORDS + span as usize]
    }

    /// The generation of `span`, and whether it is on disk.
    pub(super) fn state(&self, span: u32) -> (u32, bool) {
        let word = self.word(span).load(Ordering::Acquire);
        (word & !PRESENT, word & PRESENT != 0)
    }

    /// Says that `span` is on disk, unless it has been evicted since `generation`.
    pub(super) fn set_present(&self, span: u32, generation: u32) {
        let _evicted = self.word(span).compare_exchange(
            generation,
            generation | PRESENT,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Says that `span` is no longer on disk; what was read before is void.
    pub(super) fn evict(&self, span: u32) {
        let next = |word: u32| Some((word & !PRESENT).wrapping_add(GENERATION));
        let _always = self.word(span).fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }

    /// How many spans there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.shared.words().len() - HEADER_WORDS).unwrap_or(u32::MAX)
    }
}

fn header(table: &SpanTable) -> io::Result<[u32; HEADER_WORDS]> {
    let too_many = |_| io::Error::new(io::ErrorKind::InvalidInput, "too many spans");
    let mut hasher = blake3::Hasher::new();
    for span in &table.spans {
        hasher.update(&span.out_offset.to_le_bytes());
        hasher.update(&span.len.to_le_bytes());
        hasher.update(&span.digest);
    }
    let print = hasher.finalize();
    let mut header = [0; HEADER_WORDS];
    header[0] = MAGIC;
    header[1] = VERSION;
    header[2] = u32::try_from(table.spans.len()).map_err(too_many)?;
    for (word, bytes) in header[3..7].iter_mut().zip(print.as_bytes().chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Ok(header)
}

fn read_header(file: &File) -> io::Result<[u32; HEADER_WORDS]> {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; HEADER_WORDS * 4];
    file.read_exact_at(&mut bytes, 0)?;
    let mut header = [0; HEADER_WORDS];
    for (word, b) in header.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
    }
    Ok(header)
}
