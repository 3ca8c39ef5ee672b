//! Where everything of an image goes, before a byte is written.
//!
//! ```text
//! block 0   superblock, device slot, what the image was made of
//! block 1   inodes in the order of their numbers, each followed by its attributes and then by the
//!           indexes of its chunks, the target of a symbolic link, or the last block of a directory
//!           where that fits; no inode that fits in a block with what follows it lies in two
//! then      attributes that several inodes share
//! then      the other blocks of directories and long symbolic links, in the order of their inodes
//! ```
//!
//! Per inode, four bytes are kept, and twelve per directory.

use crate::archive::FileType;
use crate::tree::{DataChunks, Node, Tree};

use super::error::Error;
use super::folder::Folder;
use super::format::{
    BLOCK, INDEX_ALIGN, INDEX_LEN, INODE_LEN, NO_BLOCK, SLOT, XATTR_HEADER_LEN, is_device,
};
use super::xattrs::SharedXattrs;

/// How far the inodes may reach: where their numbers stop to fit in 32 bits.
const MAX_INODE_AREA: u64 = SLOT << 32;

/// What follows an inode and its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing, and no blocks either.
    Nothing,
    /// The indexes of these chunks.
    Indexes(DataChunks),
    /// The target of a symbolic link of this length.
    Target(u64),
    /// The target of a symbolic link in a block of its own.
    FarTarget,
    /// The last block of a directory.
    Tail(Folder),
    /// Nothing; all blocks of the directory are elsewhere.
    FarFolder(Folder),
}

impl Payload {
    /// What follows the inode `ino`, whose attributes are `xattr_len` bytes long.
    pub(super) fn of(
        tree: &Tree,
        ino: u32,
        node: &Node,
        folder: Option<Folder>,
        xattr_len: u64,
    ) -> Result<Self, Error> {
        let room = BLOCK.saturating_sub(INODE_LEN + xattr_len);
        Ok(match (node.file_type, folder) {
            (FileType::Regular, _) if node.size > 0 => {
                Payload::Indexes(tree.data_runs(ino)?.chunks())
            }
            (FileType::Symlink, _) if node.size <= room => Payload::Target(node.size),
            (FileType::Symlink, _) => Payload::FarTarget,
            (FileType::Directory, Some(folder)) => {
                let tail = u64::from(folder.tail_len);
                // Near whenever it fits: where data come past the page cache (`directio`), so do
                // the blocks that are elsewhere, and each costs a wait for the disk.
                if tail <= room { Payload::Tail(folder) } else { Payload::FarFolder(folder) }
            }
            (
                FileType::Regular
                | FileType::Directory
                | FileType::CharDevice
                | FileType::BlockDevice
                | FileType::Fifo,
                _,
            ) => Payload::Nothing,
        })
    }

    /// How many bytes it takes after the inode and `xattr_len` bytes of attributes, the gap
    /// before it included.
    pub(super) fn len(&self, xattr_len: u64) -> u64 {
        match self {
            Payload::Nothing | Payload::FarTarget | Payload::FarFolder(_) => 0,
            Payload::Indexes(chunks) => {
                let at = INODE_LEN + xattr_len;
                at.next_multiple_of(INDEX_ALIGN) - at + chunks.count() * INDEX_LEN
            }
            Payload::Target(len) => *len,
            Payload::Tail(folder) => u64::from(folder.tail_len),
        }
    }

    /// How many blocks it takes elsewhere.
    pub(super) fn far_blocks(&self) -> u64 {
        match self {
            Payload::Nothing | Payload::Indexes(_) | Payload::Target(_) => 0,
            Payload::FarTarget => 1,
            Payload::Tail(folder) => u64::from(folder.full_blocks),
            Payload::FarFolder(folder) => u64::from(folder.full_blocks) + 1,
        }
    }
}

/// Where everything of an image goes.
pub(super) struct Plan<'t> {
    /// The number of each inode in the image: its place in units of [`SLOT`].
    pub(super) nids: Vec<u32>,
    /// The directories, in the order of their inodes.
    pub(super) folders: Vec<Folder>,
    /// Attributes that several inodes share.
    pub(super) shared: SharedXattrs<'t>,
    /// The first block of the shared attributes.
    pub(super) shared_block: u32,
    /// The first block of directories and long symbolic links.
    pub(super) far_block: u32,
    /// The blocks of the image.
    pub(super) blocks: u32,
    /// The blocks of the virtual blob.
    pub(super) data_blocks: u32,
}

impl<'t> Plan<'t> {
    /// Measures `tree`.
    pub(super) fn of(tree: &'t Tree) -> Result<Self, Error> {
        let shared = SharedXattrs::of(tree)?;
        let inodes = tree.summary().inodes;
        let mut nids = Vec::with_capacity(inodes as usize);
        let mut folders = Vec::new();
        let (mut at, mut far_blocks) = (BLOCK, 0);
        for ino in 1..=inodes {
            let node = tree.node(ino)?;
            if !is_device(node.device) {
                let (major, minor) = (node.device.major, node.device.minor);
                return Err(Error::Device { ino, major, minor });
            }
            let xattr_len = if node.has_xattrs { shared.body(ino)?.len() } else { 0 };
            let is_folder = node.file_type == FileType::Directory;
            let folder = is_folder.then(|| Folder::of(tree, ino)).transpose()?;
            folders.extend(folder);
            let payload = Payload::of(tree, ino, &node, folder, xattr_len)?;
            let len = INODE_LEN + xattr_len + payload.len(xattr_len);
            let place = place_of(at, len);
            let nid = u32::try_from(place / SLOT);
            nids.push(nid.map_err(|_| too_many("bytes of inodes", MAX_INODE_AREA))?);
            at = place + len;
            far_blocks += payload.far_blocks();
        }
        // `fsck.erofs` (erofs-utils 1.5) reads the header of attributes after each inode, also after
        // one that has none: the last one must not be the end of the image.
        let shared_block = (at + XATTR_HEADER_LEN).div_ceil(BLOCK);
        let far_block = shared_block + shared.len().div_ceil(BLOCK);
        Ok(Self {
            nids,
            folders,
            shared_block: block("blocks of an image", shared_block)?,
            far_block: block("blocks of an image", far_block)?,
            blocks: block("blocks of an image", far_block + far_blocks)?,
            data_blocks: block("blocks of data", tree.summary().data_len.div_ceil(BLOCK))?,
            shared,
        })
    }
}

/// Where an inode of `len` bytes, all that follows it included, goes from `at` on.
fn place_of(at: u64, len: u64) -> u64 {
    let place = at.next_multiple_of(SLOT);
    let crosses = place / BLOCK != (place + len - 1) / BLOCK;
    if crosses { place.next_multiple_of(BLOCK) } else { place }
}

/// A number of blocks that can be told from none.
fn block(what: &'static str, number: u64) -> Result<u32, Error> {
    let bound = u64::from(NO_BLOCK);
    u32::try_from(number).ok().filter(|n| *n < NO_BLOCK).ok_or(too_many(what, bound))
}

fn too_many(what: &'static str, bound: u64) -> Error {
    Error::TooMany { what, bound }
}
