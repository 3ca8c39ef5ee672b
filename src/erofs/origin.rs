//! What an image says of itself where EROFS has nothing: the rest of the first block.
//!
//! ```text
//! 1280  magic "stratafs", version u32, crc32c u32 of all blocks but the first, length u64,
//!       SHA-256 of the tree's fingerprint and layers
//! ```
//!
//! The superblock's checksum covers it.

use crate::digest::Digest;
use crate::tree::Tree;

use super::format::FREE_AT;

/// The version of the writer: another one makes other bytes of the same tree.
pub const VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"stratafs";
const LEN: usize = 56;

/// What an image was made of and by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    version: u32,
    checksum: u32,
    len: u64,
    tree: [u8; 32],
}

impl Origin {
    /// What an image of `tree` says that has this length and checksum.
    pub(super) fn of(tree: &Tree, len: u64, checksum: u32) -> Self {
        let mut identity = format!("{VERSION} {:08x}", tree.fingerprint());
        for layer in tree.layers() {
            identity.push_str(&format!(" {}", layer.diff_id));
        }
        let digest = Digest::sha256(identity.as_bytes());
        let tree = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        Self { version: VERSION, checksum, len, tree }
    }

    /// Whether both are of one tree and one version.
    pub(super) fn is_of_same_tree(&self, other: &Self) -> bool {
        (self.version, self.tree) == (other.version, other.tree)
    }

    /// The length of the image in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The checksum of all blocks but the first.
    pub(super) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// A name for the superblock: the tree's, in the form of a random UUID (RFC 9562, version 8).
    pub(super) fn uuid(&self) -> [u8; 16] {
        let mut uuid = self.tree.first_chunk::<16>().copied().unwrap_or_default();
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }

    /// Puts it into a first block.
    pub(super) fn put(&self, block: &mut [u8]) {
        let out = &mut block[FREE_AT..FREE_AT + LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[12..16].copy_from_slice(&self.checksum.to_le_bytes());
        out[16..24].copy_from_slice(&self.len.to_le_bytes());
        out[24..].copy_from_slice(&self.tree);
    }

    /// What a first block says; `None` where it says nothing.
    pub(super) fn read(block: &[u8]) -> Option<Self> {
        let fields = block.get(FREE_AT..FREE_AT + LEN)?.strip_prefix(&MAGIC)?;
        let (version, fields) = fields.split_first_chunk()?;
        let (checksum, fields) = fields.split_first_chunk()?;
        let (len, fields) = fields.split_first_chunk()?;
        Some(Self {
            version: u32::from_le_bytes(*version),
            checksum: u32::from_le_bytes(*checksum),
            len: u64::from_le_bytes(*len),
            tree: *fields.first_chunk()?,
        })
    }
}
