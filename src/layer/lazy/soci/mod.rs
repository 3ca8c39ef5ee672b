//! SOCI: an index beside an unchanged layer, its zTOC.
//!
//! A zTOC lists the files by their places in the uncompressed tar, and the points where inflating
//! can start, and has a digest for the compressed bytes of each span between them. It is a
//! flatbuffer of the tables below; a member's number is its slot.
//!
//! | table | members |
//! |---|---|
//! | Ztoc | 0 version, 1 tool, 2 compressed size, 3 uncompressed size, 4 TOC, 5 CompressionInfo |
//! | TOC | 0 FileMetadata |
//! | CompressionInfo | 0 algorithm, 1 last span, 2 digests of spans, 3 checkpoints |
//! | FileMetadata | 0 name, 1 type, 2 offset, 3 size, 4 link, 5 mode, 6 uid, 7 gid, 8 user, 9 group, 10 time, 11 major, 12 minor, 13 PAX records |
//!
//! Source: soci-snapshotter, `ztoc/fbs/ztoc.fbs` and `ztoc/compression`.

mod checkpoints;
mod flatbuffer;
mod spans;
mod ztoc;

use crate::digest::Digest;

use super::estargz::check;
use super::{Lazy, LazyError, ZtocFault};
use flatbuffer::Buffer;
use ztoc::Ztoc;

/// The longest zTOC in bytes.
pub const MAX_ZTOC: u64 = 1 << 30;
/// What newer writers put between the flatbuffer and a list of files to fetch ahead.
const PREFETCH_SEPARATOR: &[u8] = b"---SOCI-PREFETCH---";

/// The layer that the zTOC `bytes`, which must have the digest `expected`, says is in a blob of
/// `blob_size` bytes.
///
/// # Errors
///
/// See [`LazyError`].
pub fn decode(bytes: &[u8], expected: &Digest, blob_size: u64) -> Result<Lazy, LazyError> {
    if bytes.len() as u64 > MAX_ZTOC {
        return Err(LazyError::TooLarge(bytes.len() as u64));
    }
    check(bytes, expected)?;
    let end = bytes.windows(PREFETCH_SEPARATOR.len()).rposition(|w| w == PREFETCH_SEPARATOR);
    let buffer = Buffer::new(&bytes[..end.unwrap_or(bytes.len())]);
    let ztoc = Ztoc::read(&buffer)?;
    if ztoc.compressed_size != blob_size {
        return Err(ZtocFault::Size.into());
    }
    let (table, windows) = spans::table(&ztoc)?;
    let toc = ztoc::files(&buffer, table.size)?;
    Ok(Lazy { toc, table, windows, prefetch: None })
}
