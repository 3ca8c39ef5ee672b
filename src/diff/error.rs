use std::io;

use crate::archive::{PathError, TarError, TarWriteError};
use crate::digest::DiffId;
use crate::error::{Classify, Kind};

/// Why a layer could not be applied or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The layer could not be read or decompressed.
    #[error("layer: {0}")]
    Stream(io::Error),
    /// The archive is broken.
    #[error("layer: {0}")]
    Archive(#[from] TarError),
    /// An entry has a name that is no path inside of the root.
    #[error("layer: {0}")]
    Path(#[from] PathError),
    /// A whiteout names its own folder or one above.
    #[error("layer entry {entry:?} is an invalid whiteout")]
    Whiteout {
        /// The name of the entry, lossily as text.
        entry: String,
    },
    /// A hard link names what does not exist.
    #[error("layer entry {path}: hard link to {target}, which does not exist")]
    LinkTarget {
        /// The entry.
        path: String,
        /// What it links to.
        target: String,
    },
    /// A hard link names a directory.
    #[error("layer entry {path}: hard link to {target}, which is a directory")]
    LinkToDirectory {
        /// The entry.
        path: String,
        /// What it links to.
        target: String,
    },
    /// A path leads through more symbolic links than Linux follows.
    #[error("{path}: too many symbolic links")]
    TooManyLinks {
        /// The path.
        path: String,
    },
    /// The uncompressed layer is larger than the caller allows.
    #[error("layer is larger than the {limit} bytes that are allowed")]
    TooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// A layer below was renamed or copied by parts by overlayfs (`redirect_dir`, `metacopy`).
    #[error(
        "{path} has the overlayfs attribute {attribute}, which only a mounted overlay resolves"
    )]
    Overlay {
        /// The file or folder.
        path: String,
        /// The attribute.
        attribute: String,
    },
    /// A system call failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A mount is not one that a layer can be applied to.
    #[error("mount of type {fs_type}: {reason}")]
    Mount {
        /// The type of the mount.
        fs_type: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What was unpacked is not what the image says.
    #[error("layer has diffID {found}, its image says {expected}")]
    DiffId {
        /// The diffID in the image's configuration.
        expected: DiffId,
        /// The diffID of what was unpacked.
        found: DiffId,
    },
    /// A name has a meaning of its own in layers.
    #[error("{path}: a file whose name starts with .wh. cannot be part of a layer")]
    ReservedName {
        /// The file.
        path: String,
    },
    /// A file changed while it was being read.
    #[error("{path} changed while it was being read")]
    Changed {
        /// The file.
        path: String,
    },
    /// A merged tree could not be read.
    #[error(transparent)]
    Tree(#[from] crate::tree::Error),
    /// The layer could not be written.
    #[error("layer: {0}")]
    Write(#[from] TarWriteError),
}

impl Error {
    /// Wraps what the system answered to `action` on `path`.
    pub(super) fn io(
        action: &'static str,
        path: impl std::fmt::Display,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_string(), source }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Stream(e) | Error::Io { source: e, .. } => Kind::of_io(e),
            Error::Archive(e) => e.kind(),
            Error::Path(e) => e.kind(),
            Error::Tree(e) => e.kind(),
            Error::Write(e) => e.kind(),
            Error::Whiteout { .. }
            | Error::LinkTarget { .. }
            | Error::LinkToDirectory { .. }
            | Error::TooManyLinks { .. }
            | Error::ReservedName { .. } => Kind::InvalidArgument,
            Error::TooLarge { .. } => Kind::ResourceExhausted,
            Error::Overlay { .. } => Kind::FailedPrecondition,
            Error::Mount { .. } => Kind::NotImplemented,
            Error::DiffId { .. } => Kind::DataLoss,
            Error::Changed { .. } => Kind::Aborted,
        }
    }
}
