//! # Invariants
//!
//! - `names` is sorted by path, each path at most once; the root may be among them.
//! - every folder above a name is either in `names` as a directory or in no list at all (implied).
//! - `whiteouts` and `opaques` are sorted, each path once. A path may be in `whiteouts` and in
//!   `names`: the layer hides the lower one and brings its own.
//! - an inode that several names share is a set of hard links.

use crate::archive::{DataRun, LayerPath, Metadata};

/// A run of a file's bytes in the uncompressed layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where the run is in the file, in bytes.
    pub file_offset: u64,
    /// How long it is, in bytes; never 0.
    pub len: u64,
    /// Where it is in the address space of the layer's span table, in bytes.
    pub layer_offset: u64,
}

impl From<DataRun> for Extent {
    fn from(run: DataRun) -> Self {
        Self { file_offset: run.file_offset, len: run.len, layer_offset: run.stream_offset }
    }
}

/// One inode of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Type, mode, owner, times, xattrs.
    pub metadata: Metadata,
    /// The size of a regular file in bytes, else 0.
    pub size: u64,
    /// Where a regular file's data is, sorted by file offset, not overlapping. What no extent
    /// covers is a hole that reads as zeros.
    pub extents: Vec<Extent>,
    /// The target of a symbolic link, verbatim, else empty.
    pub link_target: Vec<u8>,
}

/// What a name of a layer stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The inode at this place of [`Toc::inodes`].
    Inode(u32),
    /// A hard link to what the layers below have at this path.
    Lower(LayerPath),
}

/// A path of a layer and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The path.
    pub path: LayerPath,
    /// What is there.
    pub target: Target,
}

/// The table of contents of one layer. See the module for its invariants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toc {
    /// The inodes, in the order in which the layer first names them.
    pub inodes: Vec<Inode>,
    /// The names, sorted by path.
    pub names: Vec<Name>,
    /// Paths of the layers below that this layer hides, with all that is below them.
    pub whiteouts: Vec<LayerPath>,
    /// Folders whose content in the layers below this layer hides.
    pub opaques: Vec<LayerPath>,
}
