//! The virtual blob of a tree as a file: inode 0 of the tree's slot.
//!
//! It holds the content of every file of the tree at a multiple of 4 KiB, zeros between them
//! ([`crate::tree::Tree::segment`]). Nobody stores it: a read finds the files that it meets and
//! reads them. It is what an EROFS image of the tree takes its data from.

use crate::archive::{Device, FileType, Timestamp};

use super::read::{Part, clip};
use super::tree_calls::failed;
use super::{Attr, Error, MountedTree, NodeId};

/// The inode number of the virtual blob, which no file of a tree has.
pub(super) const BLOB: u32 = 0;

impl NodeId {
    /// The virtual blob of the tree in `slot`.
    pub const fn blob(slot: u32) -> Self {
        Self::new(slot, BLOB)
    }

    /// Whether it is a virtual blob.
    pub(super) fn is_blob(self) -> bool {
        self.ino() == BLOB
    }
}

impl MountedTree {
    /// Fills `buf` from `offset` of the virtual blob, however long that takes, and says how many
    /// bytes there were: fewer than asked for only at its end.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::NoLayer`], [`Error::Tree`].
    pub fn read_blob(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        // The slot says nothing here but in an error.
        self.read(NodeId::blob(0), offset, buf)
    }

    /// The length of the virtual blob in bytes: whole blocks.
    pub fn blob_size(&self) -> u64 {
        self.tree.summary().data_len
    }

    pub(super) fn blob_attr(&self, node: NodeId) -> Attr {
        let size = self.blob_size();
        Attr {
            node,
            file_type: FileType::Regular,
            // Of the content of all files, also of those that only their owner may read.
            mode: 0o400,
            nlink: 1,
            uid: 0,
            gid: 0,
            size,
            blocks: size / 512,
            mtime: Timestamp::default(),
            device: Device::default(),
        }
    }

    /// Cuts the read of `buf` at `offset` of the virtual blob into parts and gives them to `each`,
    /// until it says `false`. Returns how many bytes of `buf` are in the blob.
    pub(super) fn blob_parts(
        &self,
        node: NodeId,
        offset: u64,
        buf: &mut [u8],
        each: &mut dyn FnMut(Part<'_>) -> Result<bool, Error>,
    ) -> Result<usize, Error> {
        let wanted = clip(self.blob_size().saturating_sub(offset), buf.len());
        let mut rest = &mut buf[..wanted];
        for segment in self.tree.segments(offset) {
            if rest.is_empty() {
                break;
            }
            let segment = segment.map_err(|e| failed(node, e))?;
            let (piece, tail) = rest.split_at_mut(clip(segment.len, rest.len()));
            let size = self.tree.node(segment.ino).map_err(|e| failed(node, e))?.size;
            let inside = clip(size.saturating_sub(segment.file_offset), piece.len());
            let (data, gap) = piece.split_at_mut(inside);
            let file = NodeId::new(node.slot(), segment.ino);
            let goes_on = self.file_parts(file, segment.file_offset, data, each)?
                && (gap.is_empty() || each(Part::Hole(gap))?);
            if !goes_on {
                break;
            }
            rest = tail;
        }
        Ok(wanted)
    }
}
