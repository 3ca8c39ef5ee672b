use std::io;

use crate::digest::DiffId;
use crate::error::{Classify, Kind};
use crate::tree;

use super::NodeId;

/// Why a filesystem call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node is of a tree that is not here (any more), or of no inode of its tree.
    #[error("node {0} does not exist")]
    Stale(NodeId),
    /// The directory has no such name.
    #[error("no such name in directory {0}")]
    NotFound(NodeId),
    /// The node has names below it only if it is a directory.
    #[error("node {0} is not a directory")]
    NotADirectory(NodeId),
    /// The node is a directory where a file is needed.
    #[error("node {0} is a directory")]
    IsADirectory(NodeId),
    /// The node is of a kind that has no content, or is no symbolic link.
    #[error("node {0} is of another kind")]
    WrongType(NodeId),
    /// The node has no such extended attribute.
    #[error("node {0} has no such attribute")]
    NoData(NodeId),
    /// No data or hole lies at or after the offset.
    #[error("node {node} has nothing at or after offset {offset}")]
    NoSuchOffset {
        /// The file.
        node: NodeId,
        /// From where it was looked for, in bytes.
        offset: u64,
    },
    /// The name is longer than any file's.
    #[error("a name of {0} bytes is too long")]
    NameTooLong(usize),
    /// Nothing here can be changed.
    #[error("the filesystem is read-only")]
    ReadOnly,
    /// The tree file is damaged.
    #[error("node {node}: {source}")]
    Tree {
        /// The node that was asked for.
        node: NodeId,
        /// What is wrong with the tree.
        source: tree::Error,
    },
    /// The tree names a layer that it was not mounted with.
    #[error("node {node} is in layer {layer} of {layers}")]
    NoLayer {
        /// The file.
        node: NodeId,
        /// The place of the layer, 0 for the lowest.
        layer: usize,
        /// How many layers there are.
        layers: usize,
    },
    /// The bytes of a file are not to be had.
    #[error("node {node}: {len} bytes at {offset} of layer {diff_id}: {source}")]
    Read {
        /// The file.
        node: NodeId,
        /// The layer.
        diff_id: DiffId,
        /// Where in the layer, in bytes.
        offset: u64,
        /// How many bytes.
        len: usize,
        /// What the layer's reader says.
        source: io::Error,
    },
    /// The slot is taken by another tree.
    #[error("slot {0} is taken")]
    SlotTaken(u32),
    /// The name is taken in the virtual root.
    #[error("{0} is there already")]
    NameTaken(String),
    /// Every slot number has been given out once.
    #[error("no slot is left")]
    NoSlots,
}

impl Error {
    /// The errno of a system call that fails for this reason.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Stale(_) => libc::ESTALE,
            Error::NotFound(_) => libc::ENOENT,
            Error::NotADirectory(_) => libc::ENOTDIR,
            Error::IsADirectory(_) => libc::EISDIR,
            Error::WrongType(_) => libc::EINVAL,
            Error::NoData(_) => libc::ENODATA,
            Error::NoSuchOffset { .. } => libc::ENXIO,
            Error::NameTooLong(_) => libc::ENAMETOOLONG,
            Error::ReadOnly => libc::EROFS,
            Error::Tree { .. } | Error::NoLayer { .. } | Error::Read { .. } => libc::EIO,
            Error::SlotTaken(_) | Error::NameTaken(_) => libc::EEXIST,
            Error::NoSlots => libc::ENOSPC,
        }
    }

    /// Whether the fault is the filesystem's and not the caller's: worth a line in the log.
    pub fn is_fault(&self) -> bool {
        self.errno() == libc::EIO
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Stale(_) | Error::NotFound(_) | Error::NoData(_) => Kind::NotFound,
            Error::NotADirectory(_)
            | Error::IsADirectory(_)
            | Error::WrongType(_)
            | Error::NameTooLong(_) => Kind::InvalidArgument,
            Error::NoSuchOffset { .. } => Kind::OutOfRange,
            Error::ReadOnly => Kind::PermissionDenied,
            Error::Tree { source, .. } => source.kind(),
            Error::NoLayer { .. } => Kind::DataLoss,
            Error::Read { source, .. } => Kind::of_io(source),
            Error::SlotTaken(_) | Error::NameTaken(_) => Kind::AlreadyExists,
            Error::NoSlots => Kind::ResourceExhausted,
        }
    }
}
