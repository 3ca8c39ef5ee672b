use super::error::Error;
use super::layout::Section;
use super::record::{Content, EXTENT_LEN, InodeRecord, decode_extent};
use super::tree_file::Tree;

/// A run of a file's data in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where the run is in the file, in bytes.
    pub file_offset: u64,
    /// How long it is, in bytes.
    pub len: u64,
    /// The place in [`Tree::layers`] of its layer.
    pub layer: u16,
    /// Where it is in the address space of the layer's span table, in bytes.
    pub layer_offset: u64,
}

impl Extent {
    /// The file offset after its last byte.
    pub fn end(&self) -> u64 {
        self.file_offset.saturating_add(self.len)
    }
}

/// The runs of a file's data, in the order of the file.
#[derive(Debug, Clone)]
pub struct Extents<'t> {
    tree: &'t Tree,
    layer: u16,
    size: u64,
    at: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// One extent that is the whole file.
    Whole(u64),
    /// Places in the extents.
    Listed {
        next: u32,
        end: u32,
    },
    Nothing,
}

impl<'t> Extents<'t> {
    pub(super) fn new(tree: &'t Tree, record: &InodeRecord, offset: u64) -> Result<Self, Error> {
        let mut extents = Self { tree, layer: record.layer, size: record.size, at: Place::Nothing };
        extents.at = match record.content {
            Content::Whole { layer_offset } if offset < record.size => Place::Whole(layer_offset),
            Content::Extents { first, count } => extents.seek(first, count, offset)?,
            Content::Whole { .. }
            | Content::Hole
            | Content::Folder { .. }
            | Content::Link { .. }
            | Content::Device(_)
            | Content::Fifo => Place::Nothing,
        };
        Ok(extents)
    }

    /// The first of `count` extents from `first` on that ends after `offset`.
    fn seek(&self, first: u32, count: u32, offset: u64) -> Result<Place, Error> {
        let end = first.checked_add(count);
        let end = end.ok_or_else(|| self.tree.damaged("a file's extents are out of range"))?;
        let (mut low, mut high) = (first, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.listed(middle)?.end() > offset { high = middle } else { low = middle + 1 }
        }
        Ok(Place::Listed { next: low, end })
    }

    fn listed(&self, place: u32) -> Result<Extent, Error> {
        let tree = self.tree;
        let found = decode_extent(tree.record_at::<EXTENT_LEN>(Section::Extents, place)?);
        self.checked(found.file_offset, found.len, found.layer_offset)
    }

    fn checked(&self, file_offset: u64, len: u64, layer_offset: u64) -> Result<Extent, Error> {
        let inside = file_offset.checked_add(len).is_some_and(|end| end <= self.size);
        if !inside || layer_offset.checked_add(len).is_none() {
            return Err(self.tree.damaged("an extent leads out of its file or layer"));
        }
        Ok(Extent { file_offset, len, layer: self.layer, layer_offset })
    }
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.at {
            Place::Whole(layer_offset) => {
                self.at = Place::Nothing;
                Some(self.checked(0, self.size, layer_offset))
            }
            Place::Listed { next, end } if next < end => {
                let extent = self.listed(next);
                let next = if extent.is_ok() { next + 1 } else { end };
                self.at = Place::Listed { next, end };
                Some(extent)
            }
            Place::Listed { .. } | Place::Nothing => None,
        }
    }
}
