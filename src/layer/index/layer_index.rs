use crate::compress::SpanTable;
use crate::digest::{DiffId, Digest};
use crate::layer::Toc;

use super::{FormatError, Origin, decode, encode};

/// Which layer an index is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The digest of the blob.
    pub digest: Digest,
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The media type that the manifest gives the blob.
    pub media_type: String,
    /// Where the index comes from.
    pub origin: Origin,
}

/// All that reading files of a layer out of its blob needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerIndex {
    /// Which layer it is of.
    pub identity: Identity,
    /// Its files, and where in the span table's stream their bytes are.
    pub toc: Toc,
    /// How to decode any part of that stream.
    pub table: SpanTable,
    /// The packed windows that the span table refers to.
    pub windows: Vec<u8>,
}

impl LayerIndex {
    /// The index as the bytes of a file, with checksums of every part.
    ///
    /// # Errors
    ///
    /// [`FormatError::TooLarge`] for a layer that the format cannot hold.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        encode::encode(self)
    }

    /// The index that `file` holds.
    ///
    /// # Errors
    ///
    /// See [`FormatError`]. Any bytes may be given; what is used of memory is bounded by the bounds
    /// of a layer, and by the length of `file` as far as the TOC does not compress better than
    /// other data of its kind.
    pub fn decode(file: &[u8]) -> Result<Self, FormatError> {
        decode::decode(file)
    }

    /// How many bytes of the uncompressed stream must be decoded at most to get at one of them.
    ///
    /// About a span or two in a layer that can be read lazily; all of a blob that has no place to
    /// start but its own, such as a single zstd frame.
    pub fn longest_run(&self) -> u64 {
        self.table.longest_run()
    }
}
