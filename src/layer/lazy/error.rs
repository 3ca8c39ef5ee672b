use crate::archive::{TarError, TarFault};
use crate::digest::{self, Digest};
use crate::error::{Classify, Kind};
use crate::layer::TocError;

/// Why a layer cannot be read lazily by what its format says.
///
/// The layer itself may be in order: it is then read as any other.
#[derive(Debug, thiserror::Error)]
pub enum LazyError {
    /// The footer is broken, or leads outside of the blob.
    #[error("the footer is broken")]
    Footer,
    /// An annotation has a value that it cannot have.
    #[error("annotation {0} is broken")]
    Annotation(&'static str),
    /// No digest vouches for the table of contents.
    #[error("no digest vouches for the table of contents")]
    NotVouched,
    /// The table of contents is not the one that the image vouches for.
    #[error("the digest of the table of contents is {found}, the image says {expected}")]
    Digest {
        /// What the image says.
        expected: Digest,
        /// What was computed.
        found: Digest,
    },
    /// The table of contents is longer than allowed.
    #[error("a table of contents of {0} bytes is too long")]
    TooLarge(u64),
    /// The table of contents has more of something than is read.
    #[error("a table of contents of more than {limit} {what} is not read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The table of contents does not decompress.
    #[error("the table of contents does not decompress")]
    Decompress,
    /// The archive around the table of contents is broken, or holds something else.
    #[error("the archive of the table of contents: {0}")]
    Archive(#[from] TarError),
    /// The archive around the table of contents holds none.
    #[error("there is no table of contents in its archive")]
    Missing,
    /// The table of contents is no JSON of the right shape.
    #[error("the table of contents: {0}")]
    Json(#[from] serde_json::Error),
    /// The table of contents is of a version that is not known.
    #[error("a table of contents of version {0}")]
    Version(i64),
    /// An entry is broken, or cannot be served from.
    #[error("entry {entry:?}: {fault}")]
    Entry {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// The entries make no layer.
    #[error(transparent)]
    Toc(#[from] TocError),
    /// The zTOC is broken.
    #[error("the zTOC: {0}")]
    Ztoc(#[from] ZtocFault),
}

/// What is wrong with an entry of a foreign table of contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// A type that is not known.
    #[error("unknown type {0:?}")]
    Type(String),
    /// A time that is none.
    #[error("{0:?} is no time")]
    Time(String),
    /// A number leaves the range of what it counts.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// Its name lost bytes that are not UTF-8.
    #[error("its name is not as it was in the archive")]
    LostName,
    /// Its chunks do not follow one another from the start to the end of the file.
    #[error("its chunks do not make up the file")]
    Chunks,
    /// A chunk without a file.
    #[error("a chunk of no file")]
    StrayChunk,
    /// No digest vouches for a chunk.
    #[error("no digest vouches for its content")]
    NoDigest,
    /// A digest is none, or of a function that is not used for chunks.
    #[error(transparent)]
    Digest(#[from] digest::ParseError),
    /// A digest is of a function that is not used for chunks.
    #[error("its digest is not a SHA-256")]
    Algorithm,
    /// A chunk is larger than what can be verified at once.
    #[error("a chunk of {0} bytes cannot be verified at once")]
    ChunkTooLarge(u64),
    /// With it there are more chunks than are read.
    #[error("more than {0} chunks are not read")]
    TooManyChunks(usize),
    /// It has more PAX records than an archive can hold.
    #[error("its records are too long")]
    Records,
    /// Two chunks share a place and differ.
    #[error("its content overlaps that of another")]
    Overlap,
    /// Its data are outside of the part of the blob that holds data.
    #[error("its content is outside of the blob")]
    Outside,
    /// It is a sparse file, which the format says too little of.
    #[error("a sparse file, of which the format says too little")]
    Sparse,
    /// Its extended attributes are broken.
    #[error(transparent)]
    Xattr(#[from] TarFault),
}

/// What is wrong with a zTOC of SOCI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ZtocFault {
    /// The flatbuffer leads outside of itself.
    #[error("it leads outside of itself at byte {0}")]
    Bounds(usize),
    /// A part that it must have is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A compression that is not known.
    #[error("unknown compression {0}")]
    Compression(i8),
    /// The sizes are not those of the layer.
    #[error("it is of another layer: the size differs")]
    Size,
    /// The access points are not as long as their number says.
    #[error("the checkpoints are cut off, or of an unknown version")]
    Checkpoints,
    /// The access points are out of order or outside of the layer.
    #[error("the checkpoints are out of order or outside of the layer")]
    Order,
    /// There are not as many digests as spans.
    #[error("there are not as many digests as spans")]
    Digests,
    /// There are more spans than are read.
    #[error("it has too many spans")]
    TooMany,
    /// A span is longer than what can be verified at once.
    #[error("a span of {0} bytes cannot be verified at once")]
    SpanTooLarge(u64),
}

impl Classify for LazyError {
    fn kind(&self) -> Kind {
        match self {
            LazyError::NotVouched => Kind::FailedPrecondition,
            LazyError::TooLarge(_) | LazyError::TooMany { .. } => Kind::ResourceExhausted,
            LazyError::Version(_) => Kind::NotImplemented,
            LazyError::Toc(e) => e.kind(),
            LazyError::Footer
            | LazyError::Annotation(_)
            | LazyError::Digest { .. }
            | LazyError::Decompress
            | LazyError::Archive(_)
            | LazyError::Missing
            | LazyError::Json(_)
            | LazyError::Entry { .. }
            | LazyError::Ztoc(_) => Kind::DataLoss,
        }
    }
}
