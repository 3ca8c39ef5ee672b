use std::borrow::Cow;

use crate::layer::{Inode, Toc};

use super::lower::Origin;

/// One inode of a merged tree; its number is its place plus one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MergedInode {
    /// Where its attributes and content are; `None` for a directory that layers only imply.
    pub(super) origin: Option<Origin>,
    /// The layer that it comes from.
    pub(super) layer: u16,
    /// Link count.
    pub(super) nlink: u32,
    /// A directory's: the number of the folder it is in, its own for the root; else 0.
    pub(super) parent: u32,
    /// A directory's: the place of its first name.
    pub(super) first: u32,
    /// A directory's: how many names it has.
    pub(super) count: u32,
}

/// One name of a merged tree: a component of a path of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MergedName {
    /// The inode number it stands for.
    pub(super) ino: u32,
    /// The place in [`Toc::names`] of a path that the name is a component of.
    pub(super) at: u32,
    /// The layer of that path.
    pub(super) layer: u16,
    /// Where in the path the name starts.
    pub(super) offset: u16,
    /// The length of the name in bytes.
    pub(super) len: u8,
}

/// What a merge gives: the shape of a tree over the layers it was made from.
///
/// Inode numbers are a function of the layers alone: the root is 1; the folders are taken in
/// depth-first order, and each gives the next numbers to the inodes that its names, in bytewise
/// order, are the first to name. So what is together in a folder is together in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged<'a> {
    pub(super) layers: Vec<Cow<'a, Toc>>,
    pub(super) inodes: Vec<MergedInode>,
    pub(super) names: Vec<MergedName>,
    /// Whether `trusted.overlay.*` and `user.overlay.*` attributes are left out.
    pub(super) hides_overlay_xattrs: bool,
}

impl Merged<'_> {
    /// How many inodes there are, the root among them.
    pub fn inodes(&self) -> usize {
        self.inodes.len()
    }

    /// How many names there are; the root has none.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// How many layers were merged.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn source(&self, inode: &MergedInode) -> Option<&Inode> {
        let origin = inode.origin?;
        self.layers.get(usize::from(origin.layer))?.inodes.get(origin.inode as usize)
    }

    pub(super) fn name(&self, name: &MergedName) -> &[u8] {
        let path = &self.layers[usize::from(name.layer)].names[name.at as usize].path;
        let start = usize::from(name.offset);
        &path.as_bytes()[start..start + usize::from(name.len)]
    }
}
