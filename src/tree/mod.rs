//! The merged tree of a chain of layers: what a container sees, immutable, keyed by chain ID.
//!
//! [`merge`] is pure; what it gives is written once to a file that [`Tree::open`] maps into memory.

mod blocks;
mod check;
mod error;
mod extents;
mod folder;
mod layout;
mod lower;
mod merge;
mod merged;
mod raw;
mod record;
mod resolve;
mod run;
mod tree_file;
mod write;
mod xattrs;

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "small numbers, and any other error fails the test"
)]
mod tests;

pub use check::{
    MAX_FILE_SIZE, MAX_INODES, MAX_LAYERS, MAX_LINK_TARGET, MAX_XATTR_NAME, MAX_XATTR_VALUE,
    MAX_XATTRS,
};
pub use error::{Error, Fault};
pub use extents::{Extent, Extents};
pub use folder::{Child, Children};
pub use merge::merge;
pub use merged::Merged;
pub use raw::raw;
pub use record::Layer;
pub use resolve::{MAX_LINKS, Place};
pub use tree_file::{Node, ROOT, Summary, Tree};
pub use xattrs::Xattrs;

/// The version of the tree file's format.
pub const VERSION: u32 = 1;
