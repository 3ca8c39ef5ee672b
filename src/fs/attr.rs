use crate::archive::{Device, FileType, Timestamp};

use super::NodeId;

/// How long a kernel may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// For ever: what it tells of is immutable.
    Immutable,
    /// Not at all: trees come and go there.
    Volatile,
}

/// An answer, and how long it stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// How long it may be kept.
    pub validity: Validity,
}

impl<T> Answer<T> {
    pub(super) fn immutable(value: T) -> Self {
        Self { value, validity: Validity::Immutable }
    }

    pub(super) fn volatile(value: T) -> Self {
        Self { value, validity: Validity::Volatile }
    }
}

/// What `stat` tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Its node; also its inode number.
    pub node: NodeId,
    /// What kind of file it is.
    pub file_type: FileType,
    /// Permission, setuid, setgid and sticky bits: at most `0o7777`.
    pub mode: u16,
    /// How many names it has; 2 and the number of folders in it for a directory.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The length of a regular file's content or of a link's target in bytes.
    pub size: u64,
    /// How many blocks of 512 bytes an unpacked copy takes.
    pub blocks: u64,
    /// Last modification; also given as last access and last change.
    pub mtime: Timestamp,
    /// The device number of a device node, else 0:0.
    pub device: Device,
}

/// One name of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The name, `.` and `..` among them.
    pub name: &'a [u8],
    /// What it names.
    pub node: NodeId,
    /// What kind of file that is.
    pub file_type: FileType,
    /// Where to go on after this name; never 0.
    pub next: u64,
}

/// What `statfs` tells. Nothing is free, and no figure of what is there is zero: the kubelet takes
/// a filesystem of no capacity for a broken one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statfs {
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks of content, at least 1.
    pub blocks: u64,
    /// Inodes, at least 1.
    pub files: u64,
    /// The longest name in bytes.
    pub name_max: u32,
}
