use super::error::Error;
use super::layout::Section;
use super::record::{NAME_LEN, NameRecord};
use super::tree_file::Tree;
use crate::archive::FileType;

/// A name of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child<'t> {
    /// The inode that it stands for.
    pub ino: u32,
    /// The name.
    pub name: &'t [u8],
    /// The type of the inode.
    pub file_type: FileType,
    /// The place in [`Tree::layers`] of the layer that the name comes from. That of the inode may
    /// be a lower one, where the name is a hard link to it.
    pub layer: u16,
    /// The position after it, for [`Tree::children`].
    pub next: u64,
}

/// The names of a directory in bytewise order.
#[derive(Debug, Clone)]
pub struct Children<'t> {
    tree: &'t Tree,
    first: u32,
    count: u32,
    position: u32,
}

impl<'t> Children<'t> {
    pub(super) fn new(tree: &'t Tree, first: u32, count: u32, from: u64) -> Self {
        let position = u32::try_from(from).unwrap_or(u32::MAX).min(count);
        Self { tree, first, count, position }
    }

    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Child<'t>>, Error> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let child = self.child(middle)?;
            match child.name.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Some(child)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn child(&self, position: u32) -> Result<Child<'t>, Error> {
        let tree = self.tree;
        let place = self.first.checked_add(position);
        let place = place.ok_or_else(|| tree.damaged("a directory's names are out of range"))?;
        let record = NameRecord::decode(tree.record_at::<NAME_LEN>(Section::Names, place)?);
        let record = record.filter(|record| record.len > 0);
        let record = record.ok_or_else(|| tree.damaged("a name record is none"))?;
        let offset = u64::from(record.offset);
        Ok(Child {
            ino: record.ino,
            name: tree.get(Section::Strings, offset, u64::from(record.len))?,
            file_type: record.file_type,
            layer: record.layer,
            next: u64::from(position) + 1,
        })
    }
}

impl<'t> Iterator for Children<'t> {
    type Item = Result<Child<'t>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.count {
            return None;
        }
        let child = self.child(self.position);
        // After an error the rest is no better.
        self.position = if child.is_ok() { self.position + 1 } else { self.count };
        Some(child)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.count - self.position) as usize))
    }
}
