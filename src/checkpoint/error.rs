use std::io;
use std::path::{Path, PathBuf};

use crate::archive::TarError;
use crate::digest::{ChainId, Digest};
use crate::error::{Classify, Kind};
use crate::{bundle, content, diff, image, snapshot};

use super::{CriuError, DeletedError, LayersError, MessageError, SpecError};

/// Why a checkpoint cannot be read, restored or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give or take what was asked of it.
    #[error(transparent)]
    Content(#[from] content::Error),
    /// A document of an image is broken.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// It is something else.
    #[error("{what} is no checkpoint: {reason}")]
    NotACheckpoint {
        /// The digest or file.
        what: String,
        /// What it is.
        reason: String,
    },
    /// It has more than one of what there can be one of.
    #[error("the checkpoint has {count} {what}, and nothing says which one is meant")]
    Several {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// It holds a whole pod.
    #[error("the archive is a checkpoint of a pod: only those of a single container are restored")]
    Pod,
    /// It does not say what the container changed.
    #[error("the checkpoint has no rw layer: the container's changes are not in it")]
    NoChanges,
    /// It has no memory image.
    #[error("the checkpoint has no memory image: it was made of the files alone")]
    NoMemory,
    /// It neither names nor holds the image that the container was made of.
    #[error("the checkpoint does not say which image the container was made of")]
    NoBase,
    /// The image that it names could not be had.
    #[error("the image of the container: {0}")]
    Base(#[from] LayersError),
    /// A part is no message.
    #[error("{part} of the checkpoint is broken: {source}")]
    Message {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        source: MessageError,
    },
    /// The specification cannot be used.
    #[error("spec of the checkpoint: {0}")]
    Spec(#[from] SpecError),
    /// The list of deleted files cannot be used.
    #[error("deleted.files: {0}")]
    Deleted(#[from] DeletedError),
    /// A file of CRIU is broken.
    #[error("memory image: {0}")]
    Criu(#[from] CriuError),
    /// An archive is broken.
    #[error("{name}: {source}")]
    Archive {
        /// The archive.
        name: String,
        /// What is wrong.
        source: TarError,
    },
    /// An archive cannot be read or decompressed.
    #[error("{name}: {source}")]
    Stream {
        /// The archive.
        name: String,
        /// What the decoder says.
        source: io::Error,
    },
    /// A member of an archive is not what it may be.
    #[error("member {member:?} of {archive} {problem}")]
    Member {
        /// The archive.
        archive: String,
        /// The member, lossily as text.
        member: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A named bound is exceeded.
    #[error("{what} has more than {limit} {unit}")]
    TooMuch {
        /// What is too large.
        what: String,
        /// The bound.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// A JSON document of an archive cannot be parsed.
    #[error("{name} is broken: {reason}")]
    Json {
        /// The member.
        name: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// A part is not the one that the index names.
    #[error("the digest of the part {expected} is {found}")]
    Digest {
        /// What the index says.
        expected: Digest,
        /// What was computed.
        found: Digest,
    },
    /// A part has bytes behind its end, which nothing vouches for.
    #[error("the part {digest} does not end where its content does")]
    NotReadWhole {
        /// The part.
        digest: Digest,
    },
    /// The snapshotter refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A snapshot to use again stands on something else.
    #[error("snapshot {key:?} stands on {}, the container on {wanted}", parent.as_deref().unwrap_or("nothing"))]
    OtherParent {
        /// The key.
        key: String,
        /// Its parent.
        parent: Option<String>,
        /// The chain ID of the image.
        wanted: ChainId,
    },
    /// A snapshot is not mounted in one piece.
    #[error("snapshot {key:?} has {count} mounts, one is needed")]
    Mounts {
        /// The key.
        key: String,
        /// How many there are.
        count: usize,
    },
    /// The rw layer does not apply, or could not be made.
    #[error("rw layer {name}: {source}")]
    Changes {
        /// The layer.
        name: String,
        /// What is wrong.
        source: Box<diff::Error>,
    },
    /// There is no specification in the checkpoint, and none can be made of the image.
    #[error("the checkpoint has no spec and none can be made of its image: {0}")]
    NoCommand(#[from] bundle::SpecError),
    /// The user that the image names cannot be found.
    #[error(transparent)]
    User(#[from] bundle::UserError),
    /// A tar could not be written.
    #[error("memory image: {0}")]
    Write(#[from] crate::archive::TarWriteError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl Error {
    /// Names `path` in an error of the system.
    pub(super) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Content(e) => e.kind(),
            Error::Image(e) => e.kind(),
            Error::Base(e) => e.kind(),
            Error::Snapshot(e) => e.kind(),
            Error::Changes { source, .. } => source.kind(),
            Error::NoCommand(e) => e.kind(),
            Error::User(e) => e.kind(),
            Error::Archive { source, .. } => source.kind(),
            Error::Write(e) => e.kind(),
            Error::Stream { source, .. } | Error::Io { source, .. } => Kind::of_io(source),
            Error::NotACheckpoint { .. } | Error::Several { .. } => Kind::InvalidArgument,
            Error::Pod => Kind::NotImplemented,
            Error::NoChanges | Error::NoMemory | Error::NoBase => Kind::FailedPrecondition,
            Error::OtherParent { .. } | Error::Mounts { .. } => Kind::FailedPrecondition,
            Error::Message { .. }
            | Error::Spec(_)
            | Error::Deleted(_)
            | Error::Criu(_)
            | Error::Member { .. }
            | Error::Json { .. }
            | Error::Digest { .. }
            | Error::NotReadWhole { .. } => Kind::DataLoss,
            Error::TooMuch { .. } => Kind::ResourceExhausted,
        }
    }
}
