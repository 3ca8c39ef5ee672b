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

/// The stretches of a virtual blob from a place on, in order and without a gap.
pub struct Segments<'t> {
    tree: &'t Tree,
    next: Result<Option<Place>, Error>,
}

/// Where a segment begins.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    /// The file that it is of, if that has data there.
    ino: u32,
}

impl Tree {
    /// What the virtual blob ([`Tree::data_runs`]) is at `offset`, and from there to where another
    /// file, or another part of the file, begins; `None` at the end of the blob.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`].
    pub fn segment(&self, offset: u64) -> Result<Option<Segment>, Error> {
        self.segments(offset).next().transpose()
    }

    /// What the virtual blob is from `offset` on.
    ///
    /// Nothing is kept in memory for this: the places are in the inodes, and the first is found by
    /// binary search; a file with holes is gone through run by run. The iterator ends after its
    /// first error, which is [`Error::Damaged`].
    pub fn segments(&self, offset: u64) -> Segments<'_> {
        let is_inside = offset < self.summary().data_len;
        let next = if is_inside { self.owner(offset).map(Some) } else { Ok(None) };
        Segments { tree: self, next: next.map(|ino| ino.map(|ino| Place { offset, ino })) }
    }

    /// The last inode whose data starts at or before `offset`: those before it that start at the
    /// same place have none.
    fn owner(&self, offset: u64) -> Result<u32, Error> {
        let (mut low, mut high) = (ROOT, self.summary().inodes);
        while low < high {
            let middle = high - (high - low) / 2;
            if self.data_start(middle)? <= offset {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    /// The stretch of the file `ino` at `offset` of the virtual blob; `None` after its data.
    fn segment_of(&self, ino: u32, offset: u64) -> Result<Option<Segment>, Error> {
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
        Ok(None)
    }
}

impl Segments<'_> {
    /// The stretch at `place` or, where its file has no data left, of the next file that has.
    fn at(&self, place: Place) -> Result<Segment, Error> {
        let Place { offset, ino } = place;
        for ino in ino..=self.tree.summary().inodes {
            if let Some(segment) = self.tree.segment_of(ino, offset)? {
                return Ok(segment);
            }
        }
        Err(self.tree.damaged("a place of the virtual blob is in no file"))
    }
}

impl Iterator for Segments<'_> {
    type Item = Result<Segment, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = match std::mem::replace(&mut self.next, Ok(None)) {
            Ok(place) => place?,
            Err(e) => return Some(Err(e)),
        };
        let segment = self.at(place);
        if let Ok(segment) = &segment {
            let offset = segment.offset.saturating_add(segment.len);
            let is_inside = offset < self.tree.summary().data_len;
            self.next = Ok(is_inside.then_some(Place { offset, ino: segment.ino }));
        }
        Some(segment)
    }
}
