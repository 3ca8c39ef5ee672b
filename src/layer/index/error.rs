use crate::archive::PathError;
use crate::compress::TableError;
use crate::error::{Classify, Kind};

/// Why bytes are no layer index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// They do not start as one does.
    #[error("not a layer index")]
    Magic,
    /// They are of a version that is not known.
    #[error("layer index of version {0}")]
    Version(u32),
    /// They end too early.
    #[error("the layer index is cut off")]
    Truncated,
    /// They go on where they should end.
    #[error("the layer index holds bytes that belong to nothing")]
    Trailing,
    /// The checksum of a part is wrong.
    #[error("checksum mismatch in the {0} of the layer index")]
    Checksum(&'static str),
    /// A number leaves the range of what it counts.
    #[error("{0} out of range in the layer index")]
    Range(&'static str),
    /// A value is none of those that there are, or stands in the wrong place.
    #[error("invalid {0} in the layer index")]
    Invalid(&'static str),
    /// The TOC is longer than the format allows.
    #[error("the TOC of {0} bytes is too long for a layer index")]
    TooLarge(u64),
    /// The zstd frame of the TOC is broken.
    #[error("the TOC of the layer index does not decompress")]
    Zstd,
    /// A path is none.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The span table is broken.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl Classify for FormatError {
    fn kind(&self) -> Kind {
        match self {
            FormatError::Version(_) => Kind::FailedPrecondition,
            FormatError::TooLarge(_) => Kind::ResourceExhausted,
            FormatError::Magic
            | FormatError::Truncated
            | FormatError::Trailing
            | FormatError::Checksum(_)
            | FormatError::Range(_)
            | FormatError::Invalid(_)
            | FormatError::Zstd
            | FormatError::Path(_)
            | FormatError::Table(_) => Kind::DataLoss,
        }
    }
}
