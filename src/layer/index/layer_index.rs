use std::sync::Arc;

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
    /// The packed windows that the span table refers to; nothing where they are `apart`.
    pub windows: Vec<u8>,
    /// Where the windows are, if not here.
    pub apart: Option<WindowsApart>,
}

/// Packed windows in a blob of their own: most of an index are windows, and a start needs few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsApart {
    /// The blob.
    pub blob: Digest,
    /// The BLAKE3 of each packed group in it, in order.
    pub groups: Arc<[[u8; 32]]>,
}

impl WindowsApart {
    /// The blob of the windows of `table` as a table of its groups; `None` if `table` has others.
    pub fn table(&self, table: &SpanTable) -> Option<SpanTable> {
        let groups: Vec<_> = table.window_groups().collect();
        if groups.len() != self.groups.len() {
            return None;
        }
        let lens = groups.iter().map(|group| u32::try_from(group.end - group.start).ok());
        let pieces = lens.zip(self.groups.iter()).map(|(len, digest)| Some((len?, *digest)));
        Some(SpanTable::of_pieces(pieces.collect::<Option<Vec<_>>>()?))
    }
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

    /// The same index with its windows apart, and these as the content of a blob; nothing where
    /// there are none, or they are apart already.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`] where the span table refers to windows that are not there.
    pub fn split(mut self) -> Result<(Self, Vec<u8>), FormatError> {
        let windows = std::mem::take(&mut self.windows);
        if windows.is_empty() {
            return Ok((self, windows));
        }
        let place = |at: u64| usize::try_from(at).map_err(|_| FormatError::Invalid("windows"));
        let digest = |group: std::ops::Range<u64>| {
            let group = windows.get(place(group.start)?..place(group.end)?);
            Ok(blake3::hash(group.ok_or(FormatError::Invalid("windows"))?).into())
        };
        let groups = self.table.window_groups().map(digest).collect::<Result<_, FormatError>>()?;
        self.apart = Some(WindowsApart { blob: Digest::sha256(&windows), groups });
        Ok((self, windows))
    }

    /// How many bytes of the uncompressed stream must be decoded at most to get at one of them.
    ///
    /// About a span or two in a layer that can be read lazily; all of a blob that has no place to
    /// start but its own, such as a single zstd frame.
    pub fn longest_run(&self) -> u64 {
        self.table.longest_run()
    }
}
