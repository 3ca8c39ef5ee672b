use std::io;
use std::path::PathBuf;

use crate::archive::LayerPath;
use crate::error::{Classify, Kind};

/// Which invariant of a [`Toc`](crate::layer::Toc) is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The names, whiteouts or opaques are not sorted, or one is there twice.
    #[error("it is listed out of order or twice")]
    Order,
    /// A name points past the inodes.
    #[error("its inode is not in the table")]
    Inode,
    /// A name lies below one that is no directory.
    #[error("it lies below something that is no directory")]
    NotADirectory,
    /// Two names share a directory.
    #[error("it is a second name of a directory")]
    DirectoryLink,
    /// The root is no directory.
    #[error("the root is no directory")]
    Root,
    /// Extents overlap, are empty, are not sorted, or reach past the size.
    #[error("its extents overlap or reach past its size")]
    Extents,
    /// A size or offset is above `i64::MAX`.
    #[error("its size or an offset is more than a file can have")]
    Size,
    /// Permission bits above `0o7777`, or nanoseconds above 999,999,999.
    #[error("its mode or time is out of range")]
    Attributes,
    /// A symbolic link target that is empty or longer than 4,095 bytes.
    #[error("its link target is empty or longer than 4095 bytes")]
    LinkTarget,
    /// Xattrs that are not sorted, or whose name or value is out of range.
    #[error("its extended attributes are not sorted or out of range")]
    Xattrs,
}

/// What is wrong with trees.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A layer's table of contents breaks one of its invariants.
    #[error("layer {}: {path}: {fault}", .layer + 1)]
    BrokenToc {
        /// The place of the layer, 0 at the bottom.
        layer: usize,
        /// The path.
        path: LayerPath,
        /// What is wrong.
        fault: Fault,
    },
    /// A hard link to a path that the layers below do not have.
    #[error("layer {}: {path} is a hard link to {target}, which no layer below has", .layer + 1)]
    MissingTarget {
        /// The place of the layer, 0 at the bottom.
        layer: usize,
        /// The link.
        path: LayerPath,
        /// What it links to.
        target: LayerPath,
    },
    /// A hard link to a directory of the layers below.
    #[error("layer {}: {path} is a hard link to {target}, which is a directory", .layer + 1)]
    LinkToDirectory {
        /// The place of the layer, 0 at the bottom.
        layer: usize,
        /// The link.
        path: LayerPath,
        /// What it links to.
        target: LayerPath,
    },
    /// More of something than a tree holds.
    #[error("{what}: more than the {bound} that a tree can hold")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        bound: u64,
    },
    /// A whiteout whose marker has no valid name, in the view of a layer alone.
    #[error("whiteout of {path} cannot be shown as a file")]
    Whiteout {
        /// The path that it hides.
        path: LayerPath,
        /// Why.
        source: crate::archive::PathError,
    },
    /// The layers named for a tree are not as many as were merged.
    #[error("{given} layers named for a tree of {merged}")]
    LayerCount {
        /// How many were named.
        given: usize,
        /// How many were merged.
        merged: usize,
    },
    /// The operating system refused.
    #[error("tree {}", path.display())]
    Io {
        /// The tree file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file that is no tree.
    #[error("{} is not a tree file", path.display())]
    NotATree {
        /// The file.
        path: PathBuf,
    },
    /// A tree file of another version of the format.
    #[error("tree {}: format version {found}, not {}", path.display(), super::VERSION)]
    Version {
        /// The tree file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A tree file whose bytes are not those that were written.
    #[error("tree {} is damaged: {what}", path.display())]
    Damaged {
        /// The tree file.
        path: PathBuf,
        /// What does not match.
        what: &'static str,
    },
    /// An inode number that the tree does not have.
    #[error("inode {0} is not in the tree")]
    NoSuchInode(u32),
    /// A call for directories on something else.
    #[error("inode {0} is not a directory")]
    NotADirectory(u32),
    /// A call for symbolic links on something else.
    #[error("inode {0} is not a symbolic link")]
    NotASymlink(u32),
    /// A path that the tree does not have.
    #[error("no such file in the tree: {0}")]
    NotFound(String),
    /// A path that goes through something that is no directory.
    #[error("a part of the path is not a directory: {0}")]
    ThroughFile(String),
    /// A path with more symbolic links in it than are followed.
    #[error("too many symbolic links: {0}")]
    LinkLoop(String),
}

impl Error {
    /// Whether the file is of no use as it is, so that the tree must be merged and written anew.
    pub fn needs_rebuild(&self) -> bool {
        matches!(self, Error::NotATree { .. } | Error::Version { .. } | Error::Damaged { .. })
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::BrokenToc { .. }
            | Error::MissingTarget { .. }
            | Error::LinkToDirectory { .. }
            | Error::Whiteout { .. }
            | Error::Damaged { .. }
            | Error::NotATree { .. } => Kind::DataLoss,
            Error::Version { .. } => Kind::FailedPrecondition,
            Error::TooMany { .. } => Kind::ResourceExhausted,
            Error::LayerCount { .. }
            | Error::NotADirectory(_)
            | Error::NotASymlink(_)
            | Error::ThroughFile(_)
            | Error::LinkLoop(_) => Kind::InvalidArgument,
            Error::Io { source, .. } => Kind::of_io(source),
            Error::NoSuchInode(_) | Error::NotFound(_) => Kind::NotFound,
        }
    }
}
