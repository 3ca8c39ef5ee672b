//! The merged tree of a chain of layers: what a container sees, immutable, keyed by chain ID.
//!
//! [`follow`] and [`merge`] are pure; what they give is written once to a file that [`Tree::open`] maps into memory.
//! [`raw`] gives one layer alone, its whiteouts to be seen.
//!
//! # Invariants
//!
//! - Inode numbers are 1 (the root) to [`Summary::inodes`], and a function of the layers alone, as
//!   is every byte of the file: see [`Merged`].
//! - A directory's names are sorted bytewise; a position in it is a number of names.
//! - The inodes' data, in the order of their numbers, makes one virtual blob ([`Tree::data_runs`],
//!   [`Tree::segment`]).
//! - A file of this version whose checksums match is still not trusted: every reference in it is
//!   checked against its bounds, so that no file makes a call panic or run for ever.
//!
//! There are no locks: a tree never changes, and what is noted about checked blocks is atomic.

mod blocks;
mod check;
mod data;
mod error;
mod extents;
mod folder;
mod follow;
mod layout;
mod lower;
mod merge;
mod merged;
mod raw;
mod record;
mod resolve;
mod run;
mod segment;
mod tree_file;
mod write;
mod xattrs;

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "small numbers, and any other error fails the test"
)]
pub(crate) mod tests;

pub use check::{
    MAX_FILE_SIZE, MAX_INODES, MAX_LAYERS, MAX_LINK_TARGET, MAX_XATTR_NAME, MAX_XATTR_VALUE,
    MAX_XATTRS,
};
pub use data::{DATA_BLOCK, DataChunks, DataRun, DataRuns, MAX_CHUNK_BITS};
pub use error::{Error, Fault};
pub use extents::{Extent, Extents};
pub use folder::{Child, Children};
pub use follow::follow;
pub use merge::merge;
pub use merged::Merged;
pub use raw::raw;
pub use record::Layer;
pub use resolve::{MAX_LINKS, Place};
pub use segment::{Segment, Segments};
pub use tree_file::{Node, ROOT, Summary, Tree};
pub use xattrs::Xattrs;

/// The version of the tree file's format.
pub const VERSION: u32 = 2;
