use crate::archive::{LayerPath, PathError};
use crate::error::{Classify, Kind};

/// Why an entry has no place in a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TocFault {
    /// Its name, or the one it links to, is no path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A folder above it is something else.
    #[error("{0} is not a directory")]
    NotADirectory(LayerPath),
    /// Symbolic links among its parents lead in circles, or through more than
    /// [`super::MAX_LINKS`] links.
    #[error("too many symbolic links")]
    TooManyLinks,
    /// The whiteout would hide its own folder or one above.
    #[error("invalid whiteout name")]
    InvalidWhiteout,
    /// A hard link to a directory.
    #[error("hard link to the directory {0}")]
    LinkToDirectory(LayerPath),
    /// The target of a symbolic link is empty, holds a NUL or is longer than a path can be.
    #[error("symbolic link with a target of {0} bytes that is no path")]
    LinkTarget(usize),
    /// The layer has more names than [`super::MAX_NAMES`].
    #[error("more than {max} names in a layer", max = super::MAX_NAMES)]
    TooManyNames,
    /// The paths of the layer are together longer than [`super::MAX_PATH_BYTES`].
    #[error("more than {max} bytes of paths in a layer", max = super::MAX_PATH_BYTES)]
    TooManyPathBytes,
    /// The files of the layer have together more extents than [`super::MAX_EXTENTS`].
    #[error("more than {max} extents in a layer", max = super::MAX_EXTENTS)]
    TooManyExtents,
    /// The extended attributes of the layer are together longer than [`super::MAX_XATTR_BYTES`].
    #[error("more than {max} bytes of extended attributes in a layer", max = super::MAX_XATTR_BYTES)]
    TooManyXattrBytes,
}

/// Why a layer has no table of contents, and which entry is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry:?} at offset {offset}: {fault}")]
pub struct TocError {
    /// The name of the entry, lossily as text.
    pub entry: String,
    /// Where its header is in the tar stream, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub fault: TocFault,
}

impl Classify for TocError {
    fn kind(&self) -> Kind {
        match &self.fault {
            TocFault::TooManyNames
            | TocFault::TooManyPathBytes
            | TocFault::TooManyExtents
            | TocFault::TooManyXattrBytes => Kind::ResourceExhausted,
            TocFault::Path(_)
            | TocFault::NotADirectory(_)
            | TocFault::TooManyLinks
            | TocFault::InvalidWhiteout
            | TocFault::LinkToDirectory(_)
            | TocFault::LinkTarget(_) => Kind::DataLoss,
        }
    }
}
