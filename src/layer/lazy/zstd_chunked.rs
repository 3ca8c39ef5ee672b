//! zstd:chunked: a zstd layer in which every file, or piece of one, is a frame, with a table of
//! contents in a skippable frame at the end.
//!
//! There are two variants, which differ in footer and annotations: that of stargz-snapshotter and
//! that of containers/storage. Both have eStargz's table of contents. The tar-split of the second
//! serves to make the archive again, which reading files does not need.

use std::collections::BTreeMap;

use crate::compress::Codec;
use crate::digest::Digest;

use super::chunks::{LIMITS, Payload, layer};
use super::estargz::check;
use super::landmark::{Landmark, is_hidden};
use super::toc_json::MAX_TOC_JSON;
use super::{Lazy, LazyError};

/// How many bytes at the end of a blob hold its footer, whichever it is.
pub const FOOTER_SIZE: usize = 64;

/// Digest of the compressed table of contents, by containers/storage.
pub const MANIFEST_CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// Place of the table of contents, by containers/storage.
pub const MANIFEST_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// Digest of the compressed table of contents, by stargz-snapshotter.
pub const STARGZ_MANIFEST_CHECKSUM: &str = "io.containers.zstd-chunked.manifest-checksum";
/// Place of the table of contents, by stargz-snapshotter.
pub const STARGZ_MANIFEST_POSITION: &str = "io.containers.zstd-chunked.manifest-position";

/// The last bytes of stargz-snapshotter's footer of 40 bytes.
const STARGZ_MAGIC: &[u8; 8] = b"GnUlInUx";
/// The last bytes of containers/storage's footer of 64 bytes.
const STORAGE_MAGIC: &[u8; 8] = b"GNUlInUx";
/// What a table of contents in JSON is called in footers and annotations.
const TYPE_JSON: u64 = 1;
/// The length of the header of a skippable frame, which stands before the table of contents.
const FRAME_HEADER: u64 = 8;

/// Where in a blob the table of contents is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Where its zstd frame begins, behind the header of the skippable frame around it.
    pub offset: u64,
    /// The length of its zstd frame in bytes.
    pub len: u64,
    /// Its length in bytes once decompressed.
    pub raw_len: u64,
}

impl Position {
    /// The position that the annotations of a layer's descriptor say, and the digest of the
    /// compressed table of contents that they vouch for; `None` where there are none.
    ///
    /// # Errors
    ///
    /// [`LazyError::Annotation`] for broken ones.
    pub fn from_annotations(
        annotations: &BTreeMap<String, String>,
        blob_size: u64,
    ) -> Result<Option<(Self, Digest)>, LazyError> {
        let pairs = [
            (MANIFEST_POSITION, MANIFEST_CHECKSUM),
            (STARGZ_MANIFEST_POSITION, STARGZ_MANIFEST_CHECKSUM),
        ];
        for (position, checksum) in pairs {
            let (Some(place), Some(digest)) =
                (annotations.get(position), annotations.get(checksum))
            else {
                continue;
            };
            let numbers: Vec<u64> =
                place.split(':').map_while(|number| number.parse().ok()).collect();
            let [offset, len, raw_len, TYPE_JSON] = numbers[..] else {
                return Err(LazyError::Annotation(position));
            };
            let place = Self { offset, len, raw_len }.checked(blob_size);
            let place = place.ok_or(LazyError::Annotation(position))?;
            let digest = digest.parse().map_err(|_| LazyError::Annotation(checksum))?;
            return Ok(Some((place, digest)));
        }
        Ok(None)
    }

    /// The position that the footer at the end of a blob of `blob_size` bytes says, of which `tail`
    /// are the last [`FOOTER_SIZE`], or all; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`LazyError::Footer`] for one that leads out of the blob.
    pub fn from_footer(tail: &[u8], blob_size: u64) -> Result<Option<Self>, LazyError> {
        let len = match tail.last_chunk::<8>() {
            Some(STARGZ_MAGIC) => 40,
            Some(STORAGE_MAGIC) => 64,
            _ => return Ok(None),
        };
        let footer = tail.len().checked_sub(len).map(|start| &tail[start..]);
        let numbers = footer.ok_or(LazyError::Footer)?.as_chunks::<8>().0;
        let [offset, len, raw_len, TYPE_JSON, ..] =
            numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect::<Vec<_>>()[..]
        else {
            return Err(LazyError::Footer);
        };
        let place = Self { offset, len, raw_len };
        place.checked(blob_size).map(Some).ok_or(LazyError::Footer)
    }

    fn checked(self, blob_size: u64) -> Option<Self> {
        let end = self.offset.checked_add(self.len)?;
        (self.offset >= FRAME_HEADER && self.len > 0 && end <= blob_size).then_some(self)
    }

    /// Where in the blob the files end.
    pub fn payload_end(&self) -> u64 {
        self.offset - FRAME_HEADER
    }
}

/// What vouches for a table of contents.
#[derive(Debug, Clone, Copy)]
pub enum Vouched<'a> {
    /// The digest of its zstd frame ([`MANIFEST_CHECKSUM`]).
    Compressed(&'a Digest),
    /// The digest of its JSON ([`super::estargz::TOC_DIGEST`]).
    Raw(&'a Digest),
}

/// The JSON of the table of contents in `frame`: the bytes of the blob that `position` says. It is
/// checked to have the digest that `vouched` says.
///
/// # Errors
///
/// See [`LazyError`]; what is used of memory is bounded by [`MAX_TOC_JSON`].
pub fn toc_json(
    frame: &[u8],
    position: &Position,
    vouched: Vouched<'_>,
) -> Result<Vec<u8>, LazyError> {
    if position.raw_len > MAX_TOC_JSON {
        return Err(LazyError::TooLarge(position.raw_len));
    }
    if let Vouched::Compressed(digest) = vouched {
        check(frame, digest)?;
    }
    let len = usize::try_from(position.raw_len).map_err(|_| LazyError::Decompress)?;
    let json = zstd::bulk::decompress(frame, len).map_err(|_| LazyError::Decompress)?;
    if json.len() != len {
        return Err(LazyError::Decompress);
    }
    if let Vouched::Raw(digest) = vouched {
        check(&json, digest)?;
    }
    Ok(json)
}

/// The layer that the table of contents `json`, already checked, says is in a blob of `blob_size`
/// bytes, whose files end at `payload_end`.
///
/// # Errors
///
/// See [`LazyError`].
pub fn decode(json: &[u8], blob_size: u64, payload_end: u64) -> Result<Lazy, LazyError> {
    let payload = Payload { codec: Codec::Zstd, blob_size, end: payload_end.min(blob_size) };
    let mut landmark = Landmark::default();
    let (toc, table) = layer(json, payload, LIMITS, &is_hidden, &mut |e| landmark.see(e))?;
    let prefetch = landmark.prefetch(payload.end);
    Ok(Lazy { toc, table, windows: Vec::new(), prefetch })
}
