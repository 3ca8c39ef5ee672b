use std::io;
use std::path::{Path, PathBuf};

use super::filter::ParseError;
use super::info::{MAX_KEY, MAX_LABEL};
use super::{Kind, LayerError};
use crate::digest::ChainId;
use crate::error::{Classify, Kind as ErrorKind};
use crate::sys::mount;

/// Why a call on snapshots failed, with the snapshot by its key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no snapshot of this key.
    #[error("snapshot {key:?} does not exist")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The parent that was asked for does not exist.
    #[error("parent snapshot {parent:?} does not exist")]
    ParentNotFound {
        /// The name of the parent.
        parent: String,
    },
    /// The parent that was asked for is active or a view.
    #[error("snapshot {parent:?} is {kind} and cannot be a parent: only committed ones can")]
    ParentNotCommitted {
        /// The key of the parent.
        parent: String,
        /// What it is.
        kind: Kind,
    },
    /// As [`Error::ParentNotCommitted`], for the parent that a commit puts below.
    #[error("snapshot {parent:?} is {kind} and cannot become a parent: only committed ones can")]
    RebaseParentNotCommitted {
        /// The key of the parent.
        parent: String,
        /// What it is.
        kind: Kind,
    },
    /// A commit names a parent other than that of the active snapshot.
    #[error("active snapshot {key:?} has parent {old:?}, which a commit cannot change to {new:?}")]
    ParentFixed {
        /// The key of the active snapshot.
        key: String,
        /// Its parent.
        old: String,
        /// The parent that the commit names.
        new: String,
    },
    /// The key or name is taken.
    #[error("snapshot {key:?} exists already")]
    Exists {
        /// The key or name.
        key: String,
    },
    /// Only active snapshots can be committed.
    #[error("snapshot {key:?} is {kind}, not active: it cannot be committed")]
    NotActive {
        /// The key.
        key: String,
        /// What it is.
        kind: Kind,
    },
    /// Only active snapshots and views can be mounted.
    #[error("snapshot {key:?} is committed, not active or view: make a view of it to mount it")]
    NotMountable {
        /// The key.
        key: String,
    },
    /// Other snapshots stand on this one.
    #[error("cannot remove snapshot {key:?} with child {child:?}")]
    HasChild {
        /// The key.
        key: String,
        /// One of those that have it as their parent.
        child: String,
    },
    /// Only labels can be updated.
    #[error("cannot update field {field:?} of snapshot {key:?}: only labels can be")]
    FixedField {
        /// The key.
        key: String,
        /// The path of the field.
        field: String,
    },
    /// A key or name is empty.
    #[error("a snapshot needs a key that is not empty")]
    EmptyKey,
    /// A key or name is longer than [`MAX_KEY`].
    #[error("a key of {len} bytes is too long: at most {MAX_KEY} are allowed")]
    LongKey {
        /// Its length in bytes.
        len: usize,
    },
    /// A label is longer than [`MAX_LABEL`].
    #[error("label {key:?} takes {len} bytes with its value: at most {MAX_LABEL} are allowed")]
    LongLabel {
        /// The key of the label.
        key: String,
        /// The length of key and value in bytes.
        len: usize,
    },
    /// A filter cannot be used.
    #[error(transparent)]
    Filter(#[from] ParseError),
    /// Other callers kept replacing the snapshot.
    #[error("snapshot {key:?} was replaced again and again while it was committed")]
    Replaced {
        /// The key.
        key: String,
    },
    /// A lazy layer was put on a parent that is not the rest of its chain.
    #[error("layer chain {chain} does not stand on parent {parent:?}")]
    WrongChain {
        /// The chain ID of the layer.
        chain: ChainId,
        /// The name of the parent, empty for none.
        parent: String,
    },
    /// The chain of layers has no record.
    #[error("layer chain {chain} is not known")]
    ChainNotFound {
        /// The chain ID.
        chain: ChainId,
    },
    /// There are more layers than overlayfs takes.
    #[error("snapshot {key:?} has {layers} layers, more than the {max} of overlayfs")]
    TooManyLayers {
        /// The key.
        key: String,
        /// How many there are.
        layers: usize,
        /// How many there may be.
        max: usize,
    },
    /// The merged tree of a chain cannot be shown.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A mount failed.
    #[error("mount at {}: {source}", target.display())]
    Mount {
        /// Where.
        target: PathBuf,
        /// Why.
        source: mount::Error,
    },
    /// A mount cannot be performed here.
    #[error("mount of type {fs_type:?}: {problem}")]
    BadMount {
        /// The type of the filesystem.
        fs_type: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file or folder could not be worked on.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The path of the state root is not UTF-8, which mounts in gRPC messages have to be.
    #[error("state root {} is not UTF-8", root.display())]
    RootNotUtf8 {
        /// The state root.
        root: PathBuf,
    },
    /// The metadata store failed.
    #[error("snapshot metadata store: {0}")]
    Database(#[source] rusqlite::Error),
    /// There is no room on disk for a change of the metadata store.
    #[error("the disk of the snapshot metadata store is full")]
    StoreFull(#[source] rusqlite::Error),
    /// The metadata store was busy until the deadline.
    #[error("snapshot metadata store: busy for {seconds} s")]
    Busy {
        /// How long was waited.
        seconds: u64,
    },
    /// The metadata store was written by a newer version of this program.
    #[error("metadata store has schema {found}, this program knows up to {known}: update it")]
    NewerSchema {
        /// The version of the store.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// The file of the metadata store belongs to another program.
    #[error("{} is not a metadata store of this program", path.display())]
    ForeignStore {
        /// The file.
        path: PathBuf,
    },
    /// The metadata store holds something that cannot be.
    #[error("metadata store is damaged: {what} {value:?}")]
    Damaged {
        /// The column.
        what: &'static str,
        /// What it holds.
        value: String,
    },
    /// The snapshotter was closed.
    #[error("the snapshotter is closed")]
    Closed,
}

impl Error {
    /// An error of doing `action` (a verb as `create`) on `path`, as a function for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let full = error.sqlite_error().is_some_and(|e| {
            // The latter: its index of the log cannot be made larger.
            e.code == rusqlite::ErrorCode::DiskFull
                || e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
        });
        if full { Self::StoreFull(error) } else { Self::Database(error) }
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. } | Error::ParentNotFound { .. } | Error::ChainNotFound { .. } => {
                ErrorKind::NotFound
            }
            Error::Exists { .. } => ErrorKind::AlreadyExists,
            Error::ParentNotCommitted { .. }
            | Error::ParentFixed { .. }
            | Error::FixedField { .. }
            | Error::EmptyKey
            | Error::LongKey { .. }
            | Error::LongLabel { .. }
            | Error::WrongChain { .. }
            | Error::BadMount { .. }
            | Error::RootNotUtf8 { .. } => ErrorKind::InvalidArgument,
            Error::NotActive { .. }
            | Error::NotMountable { .. }
            | Error::HasChild { .. }
            | Error::RebaseParentNotCommitted { .. }
            | Error::TooManyLayers { .. }
            | Error::NewerSchema { .. }
            | Error::ForeignStore { .. } => ErrorKind::FailedPrecondition,
            Error::Replaced { .. } => ErrorKind::Aborted,
            Error::Busy { .. } | Error::Closed => ErrorKind::Unavailable,
            Error::Damaged { .. } => ErrorKind::DataLoss,
            Error::StoreFull(_) => ErrorKind::ResourceExhausted,
            Error::Filter(e) => e.kind(),
            Error::Layer(e) => e.kind(),
            Error::Mount { source, .. } => source.kind(),
            Error::Io { source, .. } => ErrorKind::of_io(source),
            Error::Database(e) => database_kind(e),
        }
    }
}

fn database_kind(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => ErrorKind::Unavailable,
        Some(Code::OutOfMemory) => ErrorKind::ResourceExhausted,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => ErrorKind::DataLoss,
        Some(Code::PermissionDenied | Code::ReadOnly | Code::AuthorizationForStatementDenied) => {
            ErrorKind::PermissionDenied
        }
        // SQLite's codes are open; the rest is a fault of the program or the machine.
        _ => ErrorKind::Internal,
    }
}
