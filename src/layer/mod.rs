//! One layer: its table of contents, and where in the uncompressed stream each file's bytes are.
//!
//! A [`Toc`] is the same whatever it came from: a streaming pass over a tar, an eStargz or
//! zstd:chunked TOC, a SOCI zTOC, our own layer index. Nothing above knows which.

mod build;
mod builder;
mod error;
mod fault;
mod index;
pub mod lazy;
mod names;
mod toc;

pub use build::{BuildOptions, Expected, LAYER_SIZE_LIMIT, build_index};
pub(crate) use builder::xattr_cost;
pub use builder::{MAX_EXTENTS, MAX_XATTR_BYTES, TocBuilder};
pub use error::{BuildError, EntryError};
pub use fault::{TocError, TocFault};
pub use index::{
    Bundle, FormatError, Identity, IndexStore, LayerIndex, MAX_BUNDLE, Origin, StoreError,
    StoredTable, WindowsApart,
};
pub use names::{MAX_LINKS, MAX_NAMES, MAX_PATH_BYTES};
pub use toc::{Extent, Inode, Name, Target, Toc};
