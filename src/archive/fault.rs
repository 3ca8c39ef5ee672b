use crate::error::{Classify, Kind};

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarFault {
    /// A block that should be a header is none.
    #[error("header checksum does not match: not a tar header")]
    Checksum,
    /// A zero block is followed by something that is not one.
    #[error("a lone zero block inside of the archive")]
    LoneZeroBlock,
    /// The stream ends inside of a header or of data.
    #[error("the archive ends in the middle of a member")]
    Truncated,
    /// A number field holds no number.
    #[error("{0} is not a number")]
    BadNumber(&'static str),
    /// A number is outside of what it can be.
    #[error("{field} {value} is out of range")]
    OutOfRange {
        /// Which number.
        field: &'static str,
        /// What it is.
        value: i64,
    },
    /// The type flag is not one that a layer may hold.
    #[error("unknown member type {:?}", char::from(*.0))]
    UnknownType(u8),
    /// An extension header is larger than [`super::MAX_EXTENSION`].
    #[error("extension header of {0} bytes is larger than {max}", max = super::MAX_EXTENSION)]
    ExtensionTooLarge(u64),
    /// The records of a PAX header are no records.
    #[error("malformed PAX record")]
    PaxRecord,
    /// A PAX record has a value that it cannot have.
    #[error("PAX record {0:?} has a malformed value")]
    PaxValue(String),
    /// An extended attribute has a name or a value that Linux does not allow (xattr(7)).
    #[error("extended attribute {name:?} with a value of {len} bytes")]
    Xattr {
        /// Its name.
        name: String,
        /// The length of its value.
        len: usize,
    },
    /// The sparse map is broken, or is not that of the data that follow.
    #[error("sparse file: {0}")]
    Sparse(SparseFault),
    /// The parser has failed before and takes nothing any more.
    #[error("the archive was given up after an error")]
    GivenUp,
}

/// What is wrong with a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SparseFault {
    /// A version of the PAX format that is not known.
    #[error("unknown version of the format")]
    Version,
    /// The map is not a list of numbers, or its length is not what was announced.
    #[error("malformed map")]
    Map,
    /// The map has more runs than [`super::MAX_RUNS`].
    #[error("more than {max} runs", max = super::MAX_RUNS)]
    TooManyRuns,
    /// Runs overlap, are out of order or lead outside of the file.
    #[error("runs are out of order or outside of the file")]
    Order,
    /// The runs together are longer or shorter than the stored data.
    #[error("the map does not cover the stored data exactly")]
    Coverage,
    /// A member that can hold no data has a map.
    #[error("not a regular file")]
    NotRegular,
}

/// What is wrong with an archive, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tar member {entry:?} at offset {offset}: {fault}")]
pub struct TarError {
    /// The member that was being read, lossily as text; empty where none is.
    pub entry: String,
    /// Where in the tar stream, in bytes: the block at fault, or the end where it came too early.
    pub offset: u64,
    /// What is wrong.
    pub fault: TarFault,
}

impl Classify for TarError {
    fn kind(&self) -> Kind {
        match &self.fault {
            TarFault::ExtensionTooLarge(_) | TarFault::Sparse(SparseFault::TooManyRuns) => {
                Kind::ResourceExhausted
            }
            TarFault::GivenUp => Kind::FailedPrecondition,
            TarFault::Checksum
            | TarFault::LoneZeroBlock
            | TarFault::Truncated
            | TarFault::BadNumber(_)
            | TarFault::OutOfRange { .. }
            | TarFault::UnknownType(_)
            | TarFault::PaxRecord
            | TarFault::PaxValue(_)
            | TarFault::Xattr { .. }
            | TarFault::Sparse(_) => Kind::DataLoss,
        }
    }
}
