use crate::tree::{DATA_BLOCK, ROOT, Tree};

use super::error::Error;

/// What a stretch of a virtual blob is.
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

/// The virtual blob of a tree: which bytes of which file each of its bytes is.
///
/// Nothing is kept in memory: the places are in the tree's inodes, and are found by binary search.
#[derive(Debug, Clone, Copy)]
pub struct BlobLayout<'t> {
    tree: &'t Tree,
}

impl<'t> BlobLayout<'t> {
    /// The virtual blob of `tree`.
    pub fn of(tree: &'t Tree) -> Self {
        Self { tree }
    }

    /// Its length in bytes, a multiple of 4,096.
    pub fn size(&self) -> u64 {
        self.tree.summary().data_len
    }

    /// What the blob is at `offset`, and from there to where another file, or another part of the
    /// file, begins; `None` at the end of the blob.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`].
    pub fn segment(&self, offset: u64) -> Result<Option<Segment>, Error> {
        if offset >= self.size() {
            return Ok(None);
        }
        let ino = self.owner(offset)?;
        let mut start = self.tree.node(ino)?.data_start;
        for run in self.tree.data_runs(ino)? {
            let run = run?;
            let len = run.blocks.saturating_mul(DATA_BLOCK);
            // Damage aside, the owner's runs start at or before the offset and reach past it.
            let Some(within) = offset.checked_sub(start) else { break };
            if within < len {
                let file_offset = run.block.saturating_mul(DATA_BLOCK).saturating_add(within);
                return Ok(Some(Segment { offset, len: len - within, ino, file_offset }));
            }
            start = start.saturating_add(len);
        }
        Err(crate::tree::Error::NoSuchInode(ino).into())
    }

    /// The last inode whose data starts at or before `offset`: those before it that start at the
    /// same place have none.
    fn owner(&self, offset: u64) -> Result<u32, Error> {
        let (mut low, mut high) = (ROOT, self.tree.summary().inodes);
        while low < high {
            let middle = high - (high - low) / 2;
            if self.tree.node(middle)?.data_start <= offset {
                low = middle
            } else {
                high = middle - 1
            }
        }
        Ok(low)
    }
}
