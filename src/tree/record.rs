//! The fixed-size records of the tree file, to and from bytes.

use crate::archive::{Device, FileType, Metadata, Timestamp};
use crate::digest::{Algorithm, DiffId, Digest};

use super::check::{MAX_FILE_SIZE, MAX_LINK_TARGET, MAX_NANOS};
use super::layout::{u16_at, u32_at, u64_at};

/// The length of an inode record in bytes.
pub(super) const INODE_LEN: usize = 64;
/// The length of a name record in bytes.
pub(super) const NAME_LEN: usize = 12;
/// The length of an extent record in bytes.
pub(super) const EXTENT_LEN: usize = 24;
/// The length of a layer record in bytes: two digests.
pub(super) const LAYER_LEN: usize = 2 * DIGEST_LEN;
const DIGEST_LEN: usize = 68;

/// What is behind an inode, by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A regular file without any data.
    Hole,
    /// A regular file whose data is one run of the layer.
    Whole { layer_offset: u64 },
    /// A regular file with other extents.
    Extents { first: u32, count: u32 },
    /// A directory.
    Folder { first: u32, count: u32, parent: u32 },
    /// A symbolic link; its size is the length of the target.
    Link { offset: u32 },
    /// A device node.
    Device(Device),
    /// A named pipe.
    Fifo,
}

/// An inode record.
///
/// ```text
/// 0 type u8, 1 content u8, 2 mode u16, 4 uid u32, 8 gid u32, 12 links u32, 16 mtime i64,
/// 24 nanoseconds u32, 28 xattrs u32, 32 size u64, 40 layer u16, 44 a u32, 48 b u32, 52 c u32,
/// 56 data start u64
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InodeRecord {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    pub(super) mtime: Timestamp,
    /// The place of the set of xattrs in its section in units of 4 bytes, plus one; 0 for none.
    pub(super) xattrs: u32,
    pub(super) size: u64,
    pub(super) layer: u16,
    /// Where in the virtual blob its data is, or that of the next inode that has any.
    pub(super) data_start: u64,
    pub(super) file_type: FileType,
    pub(super) content: Content,
}

impl InodeRecord {
    /// A record with what a layer says of the inode.
    pub(super) fn of(metadata: &Metadata, content: Content) -> Self {
        Self {
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            nlink: 1,
            mtime: metadata.mtime,
            xattrs: 0,
            size: 0,
            layer: 0,
            data_start: 0,
            file_type: metadata.file_type,
            content,
        }
    }

    pub(super) fn encode(&self) -> [u8; INODE_LEN] {
        let low = |n: u64| u32::try_from(n & 0xffff_ffff).unwrap_or(0);
        let (content, a, b, c) = match self.content {
            Content::Hole => (0, 0, 0, 0),
            Content::Whole { layer_offset } => (1, low(layer_offset), low(layer_offset >> 32), 0),
            Content::Extents { first, count } => (2, first, count, 0),
            Content::Folder { first, count, parent } => (3, first, count, parent),
            Content::Link { offset } => (4, offset, 0, 0),
            Content::Device(device) => (5, device.major, device.minor, 0),
            Content::Fifo => (6, 0, 0, 0),
        };
        let mut out = [0; INODE_LEN];
        out[0] = type_code(self.file_type);
        out[1] = content;
        out[2..4].copy_from_slice(&self.mode.to_le_bytes());
        out[16..24].copy_from_slice(&self.mtime.secs.to_le_bytes());
        out[32..40].copy_from_slice(&self.size.to_le_bytes());
        out[40..42].copy_from_slice(&self.layer.to_le_bytes());
        out[56..].copy_from_slice(&self.data_start.to_le_bytes());
        let words = [
            (4, self.uid),
            (8, self.gid),
            (12, self.nlink),
            (24, self.mtime.nanos),
            (28, self.xattrs),
            (44, a),
            (48, b),
            (52, c),
        ];
        for (at, word) in words {
            out[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// `None` for bytes that no record encodes to, or whose values are out of range.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let record = Self::decode_any(bytes)?;
        let max_size = match record.content {
            Content::Hole | Content::Whole { .. } | Content::Extents { .. } => MAX_FILE_SIZE,
            Content::Link { .. } => MAX_LINK_TARGET as u64,
            Content::Folder { .. } | Content::Device(_) | Content::Fifo => 0,
        };
        let is_possible =
            record.mode <= 0o7777 && record.mtime.nanos <= MAX_NANOS && record.size <= max_size;
        is_possible.then_some(record)
    }

    /// The field alone, of a record that may be none.
    pub(super) fn data_start(bytes: &[u8; INODE_LEN]) -> u64 {
        u64_at(bytes, 56)
    }

    fn decode_any(bytes: &[u8]) -> Option<Self> {
        let (a, b, c) = (u32_at(bytes, 44), u32_at(bytes, 48), u32_at(bytes, 52));
        let file_type = type_of(bytes[0])?;
        let content = match (bytes[1], file_type) {
            (0, FileType::Regular) => Content::Hole,
            (1, FileType::Regular) => {
                Content::Whole { layer_offset: u64::from(a) | u64::from(b) << 32 }
            }
            (2, FileType::Regular) => Content::Extents { first: a, count: b },
            (3, FileType::Directory) => Content::Folder { first: a, count: b, parent: c },
            (4, FileType::Symlink) => Content::Link { offset: a },
            (5, FileType::CharDevice | FileType::BlockDevice) => {
                Content::Device(Device { major: a, minor: b })
            }
            (6, FileType::Fifo) => Content::Fifo,
            _ => return None,
        };
        Some(Self {
            file_type,
            content,
            mode: u16_at(bytes, 2),
            uid: u32_at(bytes, 4),
            gid: u32_at(bytes, 8),
            nlink: u32_at(bytes, 12),
            mtime: Timestamp { secs: u64_at(bytes, 16).cast_signed(), nanos: u32_at(bytes, 24) },
            xattrs: u32_at(bytes, 28),
            size: u64_at(bytes, 32),
            layer: u16_at(bytes, 40),
            data_start: u64_at(bytes, 56),
        })
    }
}

/// A name record: 0 where the name is in the strings u32, 4 inode u32, 8 layer u16, 10 length u8,
/// 11 type u8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameRecord {
    pub(super) offset: u32,
    pub(super) ino: u32,
    pub(super) layer: u16,
    pub(super) len: u8,
    pub(super) file_type: FileType,
}

impl NameRecord {
    pub(super) fn encode(&self) -> [u8; NAME_LEN] {
        let mut out = [0; NAME_LEN];
        out[..4].copy_from_slice(&self.offset.to_le_bytes());
        out[4..8].copy_from_slice(&self.ino.to_le_bytes());
        out[8..10].copy_from_slice(&self.layer.to_le_bytes());
        out[10] = self.len;
        out[11] = type_code(self.file_type);
        out
    }

    /// `None` for bytes that no record encodes to.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            offset: u32_at(bytes, 0),
            ino: u32_at(bytes, 4),
            layer: u16_at(bytes, 8),
            len: bytes[10],
            file_type: type_of(bytes[11])?,
        })
    }
}

/// An extent record, as the extents of a layer: three u64.
pub(super) fn encode_extent(extent: &crate::layer::Extent) -> [u8; EXTENT_LEN] {
    let mut out = [0; EXTENT_LEN];
    out[..8].copy_from_slice(&extent.file_offset.to_le_bytes());
    out[8..16].copy_from_slice(&extent.len.to_le_bytes());
    out[16..].copy_from_slice(&extent.layer_offset.to_le_bytes());
    out
}

/// The extent that `bytes` encode.
pub(super) fn decode_extent(bytes: &[u8]) -> crate::layer::Extent {
    crate::layer::Extent {
        file_offset: u64_at(bytes, 0),
        len: u64_at(bytes, 8),
        layer_offset: u64_at(bytes, 16),
    }
}

/// One layer of a tree: what it is called by, bottom first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// The digest of its blob.
    pub blob: Digest,
}

impl Layer {
    pub(super) fn encode(&self) -> [u8; LAYER_LEN] {
        let mut out = [0; LAYER_LEN];
        let digests = [self.diff_id.digest(), &self.blob];
        for (field, digest) in out.chunks_exact_mut(DIGEST_LEN).zip(digests) {
            field[0] = match digest.algorithm() {
                Algorithm::Sha256 => 1,
                Algorithm::Sha512 => 2,
            };
            field[4..4 + digest.as_bytes().len()].copy_from_slice(digest.as_bytes());
        }
        out
    }

    /// `None` for bytes that no record encodes to.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let digest = |at: usize| {
            let algorithm = match bytes[at] {
                1 => Algorithm::Sha256,
                2 => Algorithm::Sha512,
                _ => return None,
            };
            Digest::from_bytes(algorithm, bytes.get(at + 4..at + 4 + algorithm.len())?)
        };
        Some(Self { diff_id: DiffId::new(digest(0)?), blob: digest(DIGEST_LEN)? })
    }
}

fn type_code(file_type: FileType) -> u8 {
    match file_type {
        FileType::Regular => 1,
        FileType::Directory => 2,
        FileType::Symlink => 3,
        FileType::CharDevice => 4,
        FileType::BlockDevice => 5,
        FileType::Fifo => 6,
    }
}

fn type_of(code: u8) -> Option<FileType> {
    Some(match code {
        1 => FileType::Regular,
        2 => FileType::Directory,
        3 => FileType::Symlink,
        4 => FileType::CharDevice,
        5 => FileType::BlockDevice,
        6 => FileType::Fifo,
        _ => return None,
    })
}
