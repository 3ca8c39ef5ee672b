use super::data::DATA_BLOCK;
use super::error::Error;
use super::tree_file::{ROOT, Tree};

/// What a stretch of the virtual blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the blob, in bytes.
    pub offset: u64,
    /// Its length in bytes; never 0.
    pub len: u64,
    /// The file that it is of.
    pub ino: u32,
    /// Where it starts in that file, in bytes. What lies past the end of the file reads as zeros.
    pub file_offset: u64,
}

impl Tree {
    /// What the virtual blob ([`Tree::data_runs`]) is at `offset`, and from there to where another
    /// file, or another part of the file, begins; `None` at the end of the blob.
    ///
    /// Nothing is kept in memory for this: the places are in the inodes, and are found by binary
    /// search; a file with holes is gone through run by run.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`].
    pub fn segment(&self, offset: u64) -> Result<Option<Segment>, Error> {
        if offset >= self.summary().data_len {
            return Ok(None);
        }
        let ino = self.owner(offset)?;
        let mut start = self.node(ino)?.data_start;
        for run in self.data_runs(ino)? {
            let run = run?;
            let len = run.blocks.saturating_mul(DATA_BLOCK);
            let Some(within) = offset.checked_sub(start) else { break };
            if within < len {
                let file_offset = run.block.saturating_mul(DATA_BLOCK).saturating_add(within);
                return Ok(Some(Segment { offset, len: len - within, ino, file_offset }));
            }
            start = start.saturating_add(len);
        }
        Err(self.damaged("a place of the virtual blob is in no file"))
    }

    /// The last inode whose data starts at or before `offset`: those before it that start at the
    /// same place have none.
    fn owner(&self, offset: u64) -> Result<u32, Error> {
        let (mut low, mut high) = (ROOT, self.summary().inodes);
        while low < high {
            let middle = high - (high - low) / 2;
            if self.node(middle)?.data_start <= offset {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }
}
