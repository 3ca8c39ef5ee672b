use crate::content;
use crate::diff;
use crate::digest::{ChainId, DiffId, Digest};
use crate::error::{Classify, Kind};
use crate::snapshot;

/// Why an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A layer's blob could not be had.
    #[error("layer {digest}: {source}")]
    Content {
        /// The layer's blob.
        digest: Digest,
        /// What the store answered.
        source: content::Error,
    },
    /// The folder of locks cannot be used.
    #[error("lock {path}: {source}")]
    Lock {
        /// The lock.
        path: std::path::PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A snapshot could not be made.
    #[error("snapshot {name}: {source}")]
    Snapshot {
        /// The chain ID that it is to be named by.
        name: ChainId,
        /// What the snapshotter answered.
        source: Box<snapshot::Error>,
    },
    /// A layer could not be applied.
    #[error("layer {digest}: {source}")]
    Apply {
        /// The layer's blob.
        digest: Digest,
        /// What is wrong.
        source: Box<diff::Error>,
    },
    /// A snapshot is mounted in a way that nothing can be applied to.
    #[error("snapshot {name} has {count} mounts, one is needed to unpack a layer")]
    Mounts {
        /// The chain ID that it is to be named by.
        name: ChainId,
        /// How many mounts there are.
        count: usize,
    },
    /// The uncompressed layer is not the one that the image's configuration names.
    #[error("layer {digest}: wrong diffID {found}, the image's configuration says {expected}")]
    DiffId {
        /// The layer's blob.
        digest: Digest,
        /// What the configuration says.
        expected: DiffId,
        /// What was computed.
        found: DiffId,
    },
    /// The blob is not the one that its descriptor names.
    #[error("layer {expected}: the digest of the blob is {found}")]
    Digest {
        /// What the descriptor says.
        expected: Digest,
        /// What was computed.
        found: Digest,
    },
}

impl Classify for UnpackError {
    fn kind(&self) -> Kind {
        match self {
            UnpackError::Content { source, .. } => source.kind(),
            UnpackError::Lock { source, .. } => Kind::of_io(source),
            UnpackError::Snapshot { source, .. } => source.kind(),
            UnpackError::Apply { source, .. } => source.kind(),
            UnpackError::Mounts { .. } => Kind::FailedPrecondition,
            UnpackError::DiffId { .. } | UnpackError::Digest { .. } => Kind::DataLoss,
        }
    }
}
