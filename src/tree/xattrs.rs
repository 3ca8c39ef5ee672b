//! Sets of extended attributes: each set once in the file, however many inodes have it.
//!
//! A set is a count u32, then for each attribute, sorted by name: name length u32, value length
//! u32, name, value, zeros up to a multiple of 4.

use std::collections::HashMap;

use crate::archive::Xattr;
use crate::layer::Inode;

use super::error::Error;
use super::layout::{Section, u32_at};
use super::tree_file::Tree;

/// The most bytes that all sets take together: 4 GiB.
const MAX_POOL: u64 = 1 << 32;

/// The prefixes of attributes that a kernel overlay above the tree would take for its own.
const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// The sets of all inodes of a tree.
pub(super) struct XattrPool<'a> {
    hides_overlay: bool,
    places: HashMap<Vec<&'a Xattr>, u32>,
    bytes: Vec<u8>,
}

impl<'a> XattrPool<'a> {
    /// An empty pool; with `hides_overlay`, overlay attributes do not enter it.
    pub(super) fn new(hides_overlay: bool) -> Self {
        Self { hides_overlay, places: HashMap::new(), bytes: Vec::new() }
    }

    /// Adds the set of `inode` if it is new.
    pub(super) fn add(&mut self, inode: &'a Inode) -> Result<(), Error> {
        let set = self.visible(inode);
        if set.is_empty() || self.places.contains_key(&set) {
            return Ok(());
        }
        let len: usize = set.iter().map(|x| encoded_len(x)).sum::<usize>() + 4;
        if (self.bytes.len() + len) as u64 > MAX_POOL {
            return Err(Error::TooMany { what: "bytes of extended attributes", bound: MAX_POOL });
        }
        let place = count(self.bytes.len() / 4) + 1;
        self.bytes.extend_from_slice(&count(set.len()).to_le_bytes());
        for xattr in &set {
            self.bytes.extend_from_slice(&count(xattr.name.len()).to_le_bytes());
            self.bytes.extend_from_slice(&count(xattr.value.len()).to_le_bytes());
            self.bytes.extend_from_slice(&xattr.name);
            self.bytes.extend_from_slice(&xattr.value);
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        }
        self.places.insert(set, place);
        Ok(())
    }

    /// What the record of `inode` says of its set: 0 for none.
    pub(super) fn place(&self, inode: &'a Inode) -> u32 {
        if inode.metadata.xattrs.is_empty() {
            return 0;
        }
        self.places.get(&self.visible(inode)).copied().unwrap_or(0)
    }

    /// All sets.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn visible(&self, inode: &'a Inode) -> Vec<&'a Xattr> {
        let of_overlay = |x: &Xattr| OVERLAY_PREFIXES.iter().any(|p| x.name.starts_with(p));
        let xattrs = inode.metadata.xattrs.iter();
        xattrs.filter(|x| !(self.hides_overlay && of_overlay(x))).collect()
    }
}

fn encoded_len(xattr: &Xattr) -> usize {
    8 + (xattr.name.len() + xattr.value.len()).next_multiple_of(4)
}

/// Lengths and places that the bounds of a checked TOC and of the pool keep below 2^32.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The extended attributes of an inode: names and values, sorted by name.
#[derive(Debug, Clone)]
pub struct Xattrs<'t> {
    tree: &'t Tree,
    offset: u64,
    left: u32,
}

impl<'t> Xattrs<'t> {
    /// The set that an inode record names by `place`.
    pub(super) fn new(tree: &'t Tree, place: u32) -> Result<Self, Error> {
        let Some(place) = place.checked_sub(1) else {
            return Ok(Self { tree, offset: 0, left: 0 });
        };
        let offset = u64::from(place) * 4;
        let left = u32_at(tree.get(Section::Xattrs, offset, 4)?, 0);
        Ok(Self { tree, offset: offset + 4, left })
    }

    fn read(&mut self) -> Result<(&'t [u8], &'t [u8]), Error> {
        let lengths = self.tree.get(Section::Xattrs, self.offset, 8)?;
        let (name, value) = (u64::from(u32_at(lengths, 0)), u64::from(u32_at(lengths, 4)));
        let bytes = self.tree.get(Section::Xattrs, self.offset + 8, name + value)?;
        self.offset += 8 + (name + value).next_multiple_of(4);
        let name = usize::try_from(name).unwrap_or(usize::MAX);
        bytes.split_at_checked(name).ok_or_else(|| self.tree.damaged("an attribute is cut"))
    }
}

impl<'t> Iterator for Xattrs<'t> {
    type Item = Result<(&'t [u8], &'t [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read();
        if read.is_err() {
            self.left = 0;
        }
        Some(read)
    }
}
