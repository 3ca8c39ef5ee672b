//! One layer: its table of contents, and where in the uncompressed stream each file's bytes are.
//!
//! A [`Toc`] is the same whatever it came from: a streaming pass over a tar, an eStargz or
//! zstd:chunked TOC, a SOCI zTOC, our own layer index. Nothing above knows which.

mod toc;

pub use toc::{Extent, Inode, Name, Target, Toc};
