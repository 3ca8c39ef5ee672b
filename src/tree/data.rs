//! The virtual blob of a tree: the data of all its files, one after the other in the order of
//! their inode numbers, each file at a multiple of 4 KiB.
//!
//! Nobody stores it. It is an address space that a filesystem with extents (EROFS) can point into
//! and that is answered by reading the files. A file takes part in *chunks*: 4 KiB times a power
//! of two. Of a file that is one extent, or whose holes are small, the whole is there; else the
//! chunks that hold no data are left out. How large its chunks are and which of them hold data is
//! a function of the file's size and extents alone.

use super::error::Error;
use super::extents::Extents;
use super::record::Content;
use super::tree_file::Tree;

/// What data is aligned to in the virtual blob, in bytes.
pub const DATA_BLOCK: u64 = 4096;
/// The largest [`DataChunks::bits`]: chunks of 8 TiB.
pub const MAX_CHUNK_BITS: u8 = 31;
/// How many chunks a file with holes is cut into at most, unless its chunks are the largest.
const MAX_CHUNKS: u64 = 16_384;

/// How a file is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataChunks {
    /// A chunk is [`DATA_BLOCK`] times two to the power of this.
    pub bits: u8,
    /// The blocks of the file, the last one rounded up.
    pub blocks: u64,
}

impl DataChunks {
    /// The chunks of a file of `size` bytes, which has holes or is dense.
    pub(super) fn of(size: u64, has_holes: bool) -> Self {
        let blocks = size.div_ceil(DATA_BLOCK);
        let most = if has_holes { MAX_CHUNKS } else { 1 };
        let bits = (0..MAX_CHUNK_BITS).find(|bits| blocks <= most << bits);
        Self { bits: bits.unwrap_or(MAX_CHUNK_BITS), blocks }
    }

    /// How many chunks there are.
    pub fn count(&self) -> u64 {
        self.blocks.div_ceil(1 << self.bits)
    }

    /// The run of chunks that the bytes from `start` to `end` lie in.
    fn run_of(&self, start: u64, end: u64) -> DataRun {
        let chunk = DATA_BLOCK << self.bits;
        let start = (start / chunk) << self.bits;
        let end = (end.div_ceil(chunk) << self.bits).min(self.blocks);
        DataRun { block: start, blocks: end - start }
    }
}

/// A run of a file's chunks that hold data, in units of [`DATA_BLOCK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRun {
    /// Where it is in the file; the start of a chunk.
    pub block: u64,
    /// How long it is: whole chunks, but for the end of the file.
    pub blocks: u64,
}

/// Joins the chunks of sorted extents, given as start and end in bytes, into runs.
pub(super) struct Runs<I> {
    chunks: DataChunks,
    extents: I,
    open: Option<DataRun>,
}

impl<I> Runs<I> {
    pub(super) fn new(chunks: DataChunks, extents: I) -> Self {
        Self { chunks, extents, open: None }
    }
}

impl<I: Iterator<Item = Result<(u64, u64), E>>, E> Iterator for Runs<I> {
    type Item = Result<DataRun, E>;

    fn next(&mut self) -> Option<Self::Item> {
        for extent in self.extents.by_ref() {
            let next = match extent {
                Ok((start, end)) => self.chunks.run_of(start, end),
                Err(e) => return Some(Err(e)),
            };
            match self.open.replace(next) {
                Some(run) if next.block <= run.block + run.blocks => {
                    let end = (next.block + next.blocks).max(run.block + run.blocks);
                    self.open = Some(DataRun { block: run.block, blocks: end - run.block });
                }
                Some(run) => return Some(Ok(run)),
                None => {}
            }
        }
        self.open.take().map(Ok)
    }
}

/// The runs of a file in the virtual blob, in the order of the file.
pub struct DataRuns<'t>(Runs<Spans<'t>>);

impl DataRuns<'_> {
    /// How the file is cut.
    pub fn chunks(&self) -> DataChunks {
        self.0.chunks
    }
}

impl Iterator for DataRuns<'_> {
    type Item = Result<DataRun, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// Where extents start and end.
struct Spans<'t>(Extents<'t>);

impl Iterator for Spans<'_> {
    type Item = Result<(u64, u64), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|extent| (extent.file_offset, extent.end())))
    }
}

impl Tree {
    /// The runs of the file `ino` in the virtual blob, where they follow each other from
    /// [`Node::data_start`](super::Node::data_start) on. What is no regular file has none.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInode`], [`Error::Damaged`].
    pub fn data_runs(&self, ino: u32) -> Result<DataRuns<'_>, Error> {
        let record = self.record(ino)?;
        let has_holes = matches!(record.content, Content::Extents { .. });
        let chunks = DataChunks::of(record.size, has_holes);
        Ok(DataRuns(Runs::new(chunks, Spans(Extents::new(self, &record, 0)?))))
    }
}
