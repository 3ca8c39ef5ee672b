//! The `map` file: a header of [`HEADER_WORDS`] words, then three words for each of `n` spans, `n`
//! of one kind after the other.
//!
//! | word | holds |
//! |---|---|
//! | 0 | magic `SFcm` |
//! | 1 | version |
//! | 2 | `n` |
//! | 3..7 | the fingerprint of the span table |
//! | 7 | CRC-32C of the lengths |
//! | 8.. | state of each span: the lowest bit says that it is on disk, the rest is its generation |
//! | 8 + n.. | when each span was last read, in seconds since 1970 |
//! | 8 + 2n.. | length of each span in bytes |
//!
//! A map with another header belongs to another index of the blob: its data are dropped. Lengths
//! never change, so that the files of a layer can be kept to a limit by a process that does not
//! have its index.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::compress::SpanTable;
use crate::sys::SharedWords;

const MAGIC: u32 = u32::from_le_bytes(*b"SFcm");
const VERSION: u32 = 2;
const HEADER_WORDS: usize = 8;
/// The most spans of a map that is read without its table, so that no file makes us map much.
const MAX_SPANS: u32 = 1 << 26;

/// Set in a word: the span is on disk.
const PRESENT: u32 = 1;
/// What one eviction adds to a word.
const GENERATION: u32 = 2;

/// Which spans of a layer are on disk, and when they were used.
#[derive(Debug)]
pub(super) struct Map {
    shared: SharedWords,
    spans: usize,
}

impl Map {
    /// Maps the file at `path` if it is the map of `table`. `None`: there is none, or it is of
    /// another index, or damaged.
    pub(super) fn open(path: &Path, table: &SpanTable) -> io::Result<Option<Self>> {
        let Some((file, found)) = open(path)? else { return Ok(None) };
        let lens: Vec<u32> = table.spans.iter().map(|span| span.len).collect();
        if found != header(table.fingerprint(), &lens)? {
            return Ok(None);
        }
        Self::checked(&file, &found)
    }

    /// Maps the file at `path`, whichever table it is of. `None`: there is none, or it is damaged.
    pub(super) fn open_any(path: &Path) -> io::Result<Option<Self>> {
        let Some((file, found)) = open(path)? else { return Ok(None) };
        if found[0] != MAGIC || found[1] != VERSION || found[2] > MAX_SPANS {
            return Ok(None);
        }
        Self::checked(&file, &found)
    }

    fn checked(file: &File, header: &[u32; HEADER_WORDS]) -> io::Result<Option<Self>> {
        let spans = header[2] as usize;
        let words = HEADER_WORDS + 3 * spans;
        if file.metadata()?.len() != words as u64 * 4 {
            return Ok(None);
        }
        let map = Self { shared: SharedWords::map(file, words)?, spans };
        let lens: Vec<u32> = (0..map.len()).map(|span| map.span_len(span)).collect();
        Ok((checksum(&lens) == header[7]).then_some(map))
    }

    /// Makes a map of `table` at `path` in which every span is present, as read at `now`, or none.
    /// A process that has an older file there mapped keeps it.
    pub(super) fn create(path: &Path, table: &SpanTable, present: Option<u32>) -> io::Result<Self> {
        let lens: Vec<u32> = table.spans.iter().map(|span| span.len).collect();
        let count = lens.len();
        let state = if present.is_some() { PRESENT } else { 0 };
        let mut words = header(table.fingerprint(), &lens)?.to_vec();
        words.extend(std::iter::repeat_n(state, count));
        words.extend(std::iter::repeat_n(present.unwrap_or(0), count));
        words.extend(lens);
        let mut new = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
        // Written, not only made long: a store to a page that the full disk has no room for would
        // kill the process.
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        new.write_all(&bytes)?;
        new.as_file().sync_data()?;
        let map = Self { shared: SharedWords::map(new.as_file(), words.len())?, spans: count };
        new.persist(path)?;
        Ok(map)
    }

    /// The fingerprint of the table.
    pub(super) fn fingerprint(&self) -> [u8; 16] {
        let mut print = [0; 16];
        for (bytes, word) in print.chunks_exact_mut(4).zip(&self.shared.words()[3..7]) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        print
    }

    fn word(&self, kind: usize, span: u32) -> &AtomicU32 {
        &self.shared.words()[HEADER_WORDS + kind * self.spans + span as usize]
    }

    /// The generation of `span`, and whether it is on disk.
    pub(super) fn state(&self, span: u32) -> (u32, bool) {
        let word = self.word(0, span).load(Ordering::Acquire);
        (word & !PRESENT, word & PRESENT != 0)
    }

    /// When `span` was last read, in seconds since 1970.
    pub(super) fn used(&self, span: u32) -> u32 {
        self.word(1, span).load(Ordering::Relaxed)
    }

    /// Notes that `span` is read at `now`.
    pub(super) fn touch(&self, span: u32, now: u32) {
        // Loaded first: a page that is not written to needs no writing back.
        if self.used(span) != now {
            self.word(1, span).store(now, Ordering::Relaxed);
        }
    }

    /// The length of `span` in bytes.
    pub(super) fn span_len(&self, span: u32) -> u32 {
        self.word(2, span).load(Ordering::Relaxed)
    }

    /// Says that `span` is on disk, unless it has been evicted since `generation`.
    pub(super) fn set_present(&self, span: u32, generation: u32) {
        let _evicted = self.word(0, span).compare_exchange(
            generation,
            generation | PRESENT,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Says that `span` is no longer on disk; what was read before is void.
    pub(super) fn evict(&self, span: u32) {
        let next = |word: u32| Some((word & !PRESENT).wrapping_add(GENERATION));
        let _always = self.word(0, span).fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }

    /// How many spans there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.spans).unwrap_or(u32::MAX)
    }
}

fn header(fingerprint: [u8; 16], lens: &[u32]) -> io::Result<[u32; HEADER_WORDS]> {
    let too_many = || io::Error::new(io::ErrorKind::InvalidInput, "too many spans");
    let count = u32::try_from(lens.len()).ok().filter(|&n| n <= MAX_SPANS);
    let mut header = [0; HEADER_WORDS];
    header[0] = MAGIC;
    header[1] = VERSION;
    header[2] = count.ok_or_else(too_many)?;
    for (word, b) in header[3..7].iter_mut().zip(fingerprint.chunks_exact(4)) {
        *word = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
    header[7] = checksum(lens);
    Ok(header)
}

fn checksum(lens: &[u32]) -> u32 {
    lens.iter().fold(0, |sum, len| crc32c::crc32c_append(sum, &len.to_le_bytes()))
}

/// The file at `path` and its header; `None` where it is not there, or too short for one.
fn open(path: &Path) -> io::Result<Option<(File, [u32; HEADER_WORDS])>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = [0; HEADER_WORDS * 4];
    match file.read_exact_at(&mut bytes, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut header = [0; HEADER_WORDS];
    for (word, b) in header.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
    }
    Ok(Some((file, header)))
}
