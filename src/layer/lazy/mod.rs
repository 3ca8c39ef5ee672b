//! Layers that come with a table of contents: eStargz, zstd:chunked, SOCI.
//!
//! Everything here is a pure function of bytes that somebody else made. What comes out is a [`Toc`]
//! and a [`SpanTable`], as a pass over the blob would give, and nothing above tells the difference.
//! Trust runs from the image's manifest: its annotations vouch for the table of contents, and that
//! for every chunk. Where nothing vouches, or the table of contents is wrong in any way, the layer is
//! not lazy, and read as any other.
//!
//! [`Toc`]: crate::layer::Toc
//! [`SpanTable`]: crate::compress::SpanTable

mod chunks;
mod error;
pub mod estargz;
mod landmark;
mod layer;
mod members;
pub mod soci;
mod toc_json;
pub mod zstd_chunked;

pub use error::{EntryFault, LazyError, ZtocFault};
pub use layer::Lazy;
pub use toc_json::MAX_TOC_JSON;

/// The most files of a foreign table of contents. With this and the next bound the worst JSON of
/// [`MAX_TOC_JSON`] bytes takes less than a GiB of memory.
pub const MAX_MEMBERS: usize = 1 << 20;
/// The most chunks or spans that a foreign table of contents cuts a layer into.
pub const MAX_CHUNKS: usize = 1 << 21;
