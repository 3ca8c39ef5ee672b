//! One layer: its table of contents, and where in the uncompressed stream each file's bytes are.
//!
//! A [`Toc`] is the same whatever it came from: a streaming pass over a tar, an eStargz or
//! zstd:chunked TOC, a SOCI zTOC, our own layer index. Nothing above knows which.

mod builder;
mod fault;
mod names;
mod toc;

pub use builder::{MAX_EXTENTS, MAX_XATTR_BYTES, TocBuilder};
pub use fault::{TocError, TocFault};
pub use names::{MAX_LINKS, MAX_NAMES, MAX_PATH_BYTES};
pub use toc::{Extent, Inode, Name, Target, Toc};
