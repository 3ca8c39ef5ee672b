//! Random access in compressed blobs: gzip access points, zstd frames, plain bytes.
//!
//! A blob's uncompressed stream is cut into *spans* of a few hundred KiB. An *access point* is a
//! place in the blob where decoding can start; each span belongs to the last access point at or
//! before its start. A [`SpanTable`] holds both, with a digest of every span's uncompressed bytes,
//! so that what any source decodes is checked before it is used. What decoding in the middle of a
//! gzip member refers to is kept apart, as packed sparse *windows*.
//!
//! The usual case is one span an access point. Where a blob has no place to start for long (a
//! single-frame zstd blob, one endless deflate block), several spans share a point, and decoding
//! one of them passes over those before it.

mod blob;
mod cache;
mod cutter;
mod decoder;
mod digests;
mod encoding;
mod error;
mod flight;
mod gzip;
mod indexer;
mod leb128;
mod pages;
mod reader;
mod scan;
mod seal;
mod sniff;
mod source;
mod start_trace;
mod stream;
mod table;
mod trace;
mod trailer;
mod windows;
mod zstd;

pub use blob::BlobSpans;
pub use cache::{CACHE_SIZE, SpanCache};
pub use decoder::Decoder;
pub use encoding::{GROUP_LEN_MAX, SPAN_LEN_MAX, TableError};
pub use error::DecodeError;
pub use reader::SpanReader;
pub use scan::{SPAN_SIZE, SPAN_SIZE_MAX, SPAN_SIZE_MIN, Scan, ScanError, ScanOptions, scan};
pub use sniff::{SNIFF_LEN, sniff};
pub use source::{SpanError, SpanSource};
pub use start_trace::{StartTrace, TRACE_READS_MAX, TraceError, TracedRead};
pub use table::{AccessPoint, Codec, Span, SpanDigest, SpanTable, Start, Window};
pub use windows::pack_windows;

#[cfg(test)]
mod tests;
