use crate::error::{Classify, Kind};
use crate::sys::inflate::InflateError;

/// Why compressed bytes can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The deflate stream or its gzip wrapper is broken.
    #[error("gzip: {0}")]
    Gzip(#[from] InflateError),
    /// The zstd frame is broken, or asks for more memory than is given.
    #[error("zstd: {0}")]
    Zstd(&'static str),
    /// The bytes end inside of a gzip member or a zstd frame.
    #[error("the compressed stream is cut off")]
    Truncated,
    /// The bytes of a gzip member have another checksum than its trailer says.
    #[error("gzip: the checksum of a member is wrong")]
    MemberChecksum,
    /// A gzip member has another length than its trailer says.
    #[error("gzip: the length of a member is wrong")]
    MemberLength,
    /// What follows the last gzip member is neither a member nor zeros.
    #[error("garbage after the last gzip member")]
    TrailingGarbage,
    /// The window of an access point can't be unpacked.
    #[error("the window of an access point is broken: {0}")]
    Window(&'static str),
    /// The access point is of another codec than the blob.
    #[error("the access point is not one of this codec")]
    WrongPoint,
    /// The span table has no such span.
    #[error("the span table has no such span")]
    NoSuchSpan,
    /// A span has more compressed bytes than are verified as a whole.
    #[error("it has too many compressed bytes to be verified")]
    InputTooLong,
    /// There is no memory for it.
    #[error("there is no memory for it")]
    OutOfMemory,
    /// The source ended without this span, or with fewer bytes than its table says.
    #[error("the source did not hand it over")]
    NotDelivered,
}

impl Classify for DecodeError {
    fn kind(&self) -> Kind {
        match self {
            DecodeError::Gzip(InflateError::OutOfMemory) | DecodeError::OutOfMemory => {
                Kind::ResourceExhausted
            }
            DecodeError::Gzip(InflateError::Refused { .. }) => Kind::Internal,
            DecodeError::InputTooLong => Kind::ResourceExhausted,
            DecodeError::NoSuchSpan => Kind::OutOfRange,
            DecodeError::Gzip(InflateError::Broken(_))
            | DecodeError::Zstd(_)
            | DecodeError::Truncated
            | DecodeError::MemberChecksum
            | DecodeError::MemberLength
            | DecodeError::TrailingGarbage
            | DecodeError::Window(_)
            | DecodeError::WrongPoint
            | DecodeError::NotDelivered => Kind::DataLoss,
        }
    }
}
