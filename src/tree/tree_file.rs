use std::fs::File;
use std::path::{Path, PathBuf};

use crate::archive::{Device, FileType, Timestamp};
use crate::digest::{ChainId, DiffId, chain_ids};
use crate::sys::Map;

use super::blocks::{Blocks, Bytes, Damage};
use super::check::{MAX_INODES, MAX_LAYERS};
use super::error::Error;
use super::extents::Extents;
use super::folder::{Child, Children};
use super::layout::{BadHeader, Header, Section};
use super::merged::Merged;
use super::record::{Content, INODE_LEN, InodeRecord, LAYER_LEN, Layer, NAME_LEN};
use super::xattrs::Xattrs;

/// The number of the root of every tree.
pub const ROOT: u32 = 1;

/// The attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// The kind of file.
    pub file_type: FileType,
    /// Permission, setuid, setgid and sticky bits: at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Link count; a directory's is 2 and one for each subdirectory.
    pub nlink: u32,
    /// The size of a regular file, the length of a symbolic link's target, else 0; in bytes.
    pub size: u64,
    /// Last modification.
    pub mtime: Timestamp,
    /// The device number of a device node, else 0:0.
    pub device: Device,
    /// The place in [`Tree::layers`] of the layer that the attributes and the content come from;
    /// of a directory that no layer lists, the topmost that has something in it.
    pub layer: u16,
    /// Whether there are extended attributes.
    pub has_xattrs: bool,
    /// Where the file's data starts in the virtual blob ([`Tree::data_runs`]), in bytes; of what
    /// has none, where that of the next inode with any does.
    pub data_start: u64,
}

/// What a tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Inodes, the root among them; their numbers are 1 to this.
    pub inodes: u32,
    /// Names; the root has none.
    pub names: u32,
    /// Directories, the root among them.
    pub directories: u32,
    /// The sizes of all regular files, each inode once.
    pub bytes: u64,
    /// The length of the virtual blob ([`Tree::data_runs`]) in bytes; `u64::MAX` if it were more.
    pub data_len: u64,
    /// Layers.
    pub layers: usize,
    /// Whether any inode has extended attributes.
    pub has_xattrs: bool,
}

/// A merged tree in a mapped file.
///
/// Opening it reads only the header, the layers and the checksums; everything else is checked
/// against its checksum when it is first touched, and every reference in it against its bounds.
/// What does not match is [`Error::Damaged`], never a wrong answer. All calls take `&self` and may
/// run at once; none allocates more than its result, blocks on a lock or depends on the number
/// of files but for the logarithm in [`Tree::lookup`].
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    blocks: Blocks,
    layers: Vec<Layer>,
    summary: Summary,
}

impl Tree {
    /// Writes `merged` as the tree file `path`, atomically; `layers` say what its layers are
    /// called, bottom first. The same merge and layers always give the same bytes.
    ///
    /// # Errors
    ///
    /// [`Error::LayerCount`], [`Error::TooMany`] past a bound of the format, [`Error::Io`].
    pub fn write(merged: &Merged<'_>, layers: &[Layer], path: &Path) -> Result<(), Error> {
        super::write::write(merged, layers, path)
    }

    /// A tree in memory, for one that no file is to be kept of.
    ///
    /// # Errors
    ///
    /// As [`Tree::write`].
    pub fn in_memory(merged: &Merged<'_>, layers: &[Layer]) -> Result<Self, Error> {
        Self::from_bytes(super::write::encode(merged, layers)?)
    }

    /// Maps the tree file `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::NotATree`], [`Error::Version`] or [`Error::Damaged`] for a file
    /// that must be written anew ([`Error::needs_rebuild`]).
    pub fn open(path: &Path) -> Result<Self, Error> {
        let map = File::open(path).and_then(|file| Map::new(&file));
        let map = map.map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::new(Bytes::Mapped(map), path)
    }

    /// The tree whose file would hold `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Tree::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        Self::new(Bytes::Owned(bytes), Path::new("(memory)"))
    }

    fn new(bytes: Bytes, path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let header = match Header::decode(&bytes) {
            Ok(header) => header,
            Err(BadHeader::NotATree) => return Err(Error::NotATree { path }),
            Err(BadHeader::Version(found)) => return Err(Error::Version { path, found }),
            Err(BadHeader::Damaged(what)) => return Err(Error::Damaged { path, what }),
        };
        let blocks = Blocks::new(bytes, header);
        match contents(&blocks) {
            Ok((layers, summary)) => Ok(Self { path, blocks, layers, summary }),
            Err(what) => Err(Error::Damaged { path, what }),
        }
    }

    /// What the tree holds.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The chain ID of the layers; `None` where there are none.
    pub fn chain_id(&self) -> Option<ChainId> {
        let diff_ids: Vec<DiffId> = self.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        chain_ids(&diff_ids).pop()
    }

    /// A checksum of all that the tree holds: trees of the same layers that have the same one are
    /// the same.
    pub fn fingerprint(&self) -> u32 {
        self.blocks.header().checksums_crc
    }

    /// Checks every byte of the file against the checksums.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`].
    pub fn verify(&self) -> Result<(), Error> {
        self.blocks.check_all().map_err(|what| self.damaged(what))
    }

    /// The attributes of the inode `ino`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInode`], [`Error::Damaged`].
    pub fn node(&self, ino: u32) -> Result<Node, Error> {
        let record = self.record(ino)?;
        let device = match record.content {
            Content::Device(device) => device,
            Content::Hole
            | Content::Whole { .. }
            | Content::Extents { .. }
            | Content::Folder { .. }
            | Content::Link { .. }
            | Content::Fifo => Device::default(),
        };
        Ok(Node {
            file_type: record.file_type,
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            nlink: record.nlink,
            size: record.size,
            mtime: record.mtime,
            device,
            layer: record.layer,
            has_xattrs: record.xattrs != 0,
            data_start: record.data_start,
        })
    }

    /// The inode that `name` stands for in the directory `dir`; `None` where it has none.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInode`] and [`Error::NotADirectory`] of `dir`, [`Error::Damaged`].
    pub fn lookup(&self, dir: u32, name: &[u8]) -> Result<Option<u32>, Error> {
        Ok(self.find(dir, name)?.map(|child| child.ino))
    }

    /// As [`Tree::lookup`], with all that the directory says of the name.
    ///
    /// # Errors
    ///
    /// As [`Tree::lookup`].
    pub fn find(&self, dir: u32, name: &[u8]) -> Result<Option<Child<'_>>, Error> {
        self.children(dir, 0)?.find(name)
    }

    /// The names of the directory `dir` in bytewise order, from the position `from` on: 0 for the
    /// first, else a [`Child::next`]. A position past the end gives nothing.
    ///
    /// # Errors
    ///
    /// As [`Tree::lookup`].
    pub fn children(&self, dir: u32, from: u64) -> Result<Children<'_>, Error> {
        match self.record(dir)?.content {
            Content::Folder { first, count, .. } => Ok(Children::new(self, first, count, from)),
            Content::Hole
            | Content::Whole { .. }
            | Content::Extents { .. }
            | Content::Link { .. }
            | Content::Device(_)
            | Content::Fifo => Err(Error::NotADirectory(dir)),
        }
    }

    /// The directory that the directory `dir` is in; the root is in itself.
    ///
    /// # Errors
    ///
    /// As [`Tree::lookup`].
    pub fn parent(&self, dir: u32) -> Result<u32, Error> {
        match self.record(dir)?.content {
            Content::Folder { parent, .. } => Ok(parent),
            Content::Hole
            | Content::Whole { .. }
            | Content::Extents { .. }
            | Content::Link { .. }
            | Content::Device(_)
            | Content::Fifo => Err(Error::NotADirectory(dir)),
        }
    }

    /// The target of the symbolic link `ino`, verbatim.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInode`], [`Error::NotASymlink`], [`Error::Damaged`].
    pub fn link_target(&self, ino: u32) -> Result<&[u8], Error> {
        let record = self.record(ino)?;
        let Content::Link { offset } = record.content else {
            return Err(Error::NotASymlink(ino));
        };
        self.get(Section::Strings, u64::from(offset), record.size)
    }

    /// The extended attributes of `ino`, sorted by name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInode`], [`Error::Damaged`].
    pub fn xattrs(&self, ino: u32) -> Result<Xattrs<'_>, Error> {
        Xattrs::new(self, self.record(ino)?.xattrs)
    }

    /// A number that just those inodes have in common whose extended attributes are all the same;
    /// `None` for one that has none.
    ///
    /// # Errors
    ///
    /// As [`Tree::xattrs`].
    pub fn xattr_set(&self, ino: u32) -> Result<Option<u32>, Error> {
        Ok(self.record(ino)?.xattrs.checked_sub(1))
    }

    /// The value of the extended attribute `name` of `ino`; `None` where it has none.
    ///
    /// # Errors
    ///
    /// As [`Tree::xattrs`].
    pub fn xattr(&self, ino: u32, name: &[u8]) -> Result<Option<&[u8]>, Error> {
        self.xattrs(ino)?
            .find_map(|found| match found {
                Ok((other, value)) => (other == name).then_some(Ok(value)),
                Err(e) => Some(Err(e)),
            })
            .transpose()
    }

    /// Where the data of the file `ino` is, from the extent on that holds or follows the byte at
    /// `offset`. What no extent covers reads as zeros; what is no regular file has none.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInode`], [`Error::Damaged`].
    pub fn extents(&self, ino: u32, offset: u64) -> Result<Extents<'_>, Error> {
        Extents::new(self, &self.record(ino)?, offset)
    }

    pub(super) fn record(&self, ino: u32) -> Result<InodeRecord, Error> {
        let place = ino.checked_sub(1).filter(|place| *place < self.summary.inodes);
        let place = place.ok_or(Error::NoSuchInode(ino))?;
        let bytes = self.blocks.record::<INODE_LEN>(Section::Inodes, place);
        let record = InodeRecord::decode(bytes.map_err(|what| self.damaged(what))?);
        record.ok_or_else(|| self.damaged("an inode record is none"))
    }

    /// Where the data of `ino` start in the virtual blob, and nothing else of its record.
    pub(super) fn data_start(&self, ino: u32) -> Result<u64, Error> {
        let place = ino.checked_sub(1).filter(|place| *place < self.summary.inodes);
        let place = place.ok_or(Error::NoSuchInode(ino))?;
        Ok(InodeRecord::data_start(self.record_at::<INODE_LEN>(Section::Inodes, place)?))
    }

    pub(super) fn record_at<const N: usize>(
        &self,
        section: Section,
        place: u32,
    ) -> Result<&[u8; N], Error> {
        self.blocks.record(section, place).map_err(|what| self.damaged(what))
    }

    pub(super) fn get(&self, section: Section, offset: u64, len: u64) -> Result<&[u8], Error> {
        self.blocks.get(section, offset, len).map_err(|what| self.damaged(what))
    }

    pub(super) fn damaged(&self, what: Damage) -> Error {
        Error::Damaged { path: self.path.clone(), what }
    }
}

fn contents(blocks: &Blocks) -> Result<(Vec<Layer>, Summary), Damage> {
    let count = |section, len, bound: usize, what: Damage| {
        let count = blocks.count(section, len);
        u32::try_from(count).ok().filter(|n| *n as usize <= bound).ok_or(what)
    };
    let layers = count(Section::Layers, LAYER_LEN, MAX_LAYERS, "too many layers")?;
    let inodes = count(Section::Inodes, INODE_LEN, MAX_INODES, "too many inodes")?;
    let names = count(Section::Names, NAME_LEN, MAX_INODES, "too many names")?;
    let layers = (0..layers)
        .map(|place| {
            let bytes = blocks.record::<LAYER_LEN>(Section::Layers, place)?;
            Layer::decode(bytes).ok_or("a layer record is none")
        })
        .collect::<Result<Vec<Layer>, Damage>>()?;
    let header = blocks.header();
    let summary = Summary {
        inodes,
        names,
        directories: header.directories,
        bytes: header.bytes,
        data_len: header.data_len,
        layers: layers.len(),
        has_xattrs: header.section(Section::Xattrs).len > 0,
    };
    if inodes == 0 { Err("there is no root") } else { Ok((layers, summary)) }
}
