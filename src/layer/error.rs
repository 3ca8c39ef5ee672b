use crate::archive::TarError;
use crate::compress::ScanError;
use crate::digest::{DiffId, Digest};
use crate::error::{Classify, Kind};

use super::TocError;

/// Why the uncompressed bytes of a blob are no layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// They are no tar archive.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry of the archive has no place in a layer.
    #[error(transparent)]
    Toc(#[from] TocError),
}

impl Classify for EntryError {
    fn kind(&self) -> Kind {
        match self {
            EntryError::Tar(e) => e.kind(),
            EntryError::Toc(e) => e.kind(),
        }
    }
}

/// Why there is no index of a layer.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The blob is longer or shorter than its descriptor says.
    #[error("layer {digest}: the blob has {found} bytes, its descriptor says {expected}")]
    Size {
        /// The layer's blob.
        digest: Digest,
        /// What the descriptor says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The blob is not the one that its descriptor names.
    #[error("layer {expected}: the digest of the blob is {found}")]
    Digest {
        /// What the descriptor says.
        expected: Digest,
        /// What was computed.
        found: Digest,
    },
    /// The uncompressed layer is not the one that the image's configuration names.
    #[error("layer {digest}: the diffID is {found}, the image's configuration says {expected}")]
    DiffId {
        /// The layer's blob.
        digest: Digest,
        /// What the configuration says.
        expected: DiffId,
        /// What was computed.
        found: DiffId,
    },
    /// The layer is encrypted.
    #[error("layer {digest}: encrypted layers ({media_type}) are not supported")]
    Encrypted {
        /// The layer's blob.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// The blob has the right digest and is broken nevertheless, or could not be read.
    #[error("layer {digest}: {source}")]
    Scan {
        /// The layer's blob.
        digest: Digest,
        /// What is wrong.
        source: ScanError<EntryError>,
    },
}

impl Classify for BuildError {
    fn kind(&self) -> Kind {
        match self {
            BuildError::Size { .. } | BuildError::Digest { .. } | BuildError::DiffId { .. } => {
                Kind::DataLoss
            }
            BuildError::Encrypted { .. } => Kind::NotImplemented,
            BuildError::Scan { source, .. } => source.kind(),
        }
    }
}
