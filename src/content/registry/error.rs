use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{Classify, Kind};

/// Why a registry did not give or take something. No text holds a credential, a token or the query
/// of an address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The registry does not have it.
    #[error("{what} is not in {host}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The server that was asked.
        host: String,
    },
    /// The registry wants to know who asks, and does not take the answer.
    #[error("{host} does not let us at {what}: {reason}")]
    Unauthorized {
        /// What was asked for.
        what: String,
        /// The server that was asked.
        host: String,
        /// What is known of the cause.
        reason: String,
    },
    /// The registry answered with a status that says no.
    #[error("{host} answers {status} for {what}{detail}")]
    Status {
        /// What was asked for.
        what: String,
        /// The server that was asked.
        host: String,
        /// The status of HTTP.
        status: u16,
        /// What the registry says about it, with a separator in front, or nothing.
        detail: String,
        /// How long the registry asks to wait.
        after: Option<Duration>,
    },
    /// The registry could not be reached, or the connection broke.
    #[error("{host} cannot be reached for {what}: {reason}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// The server that was asked.
        host: String,
        /// What the network says.
        reason: String,
    },
    /// The registry took too long to answer or to go on.
    #[error("{host} is silent about {what}, {seconds} s long")]
    Silent {
        /// What was asked for.
        what: String,
        /// The server that was asked.
        host: String,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// All was tried until the deadline.
    #[error("gave up on {what} after {seconds} s: {last}")]
    Deadline {
        /// What was asked for.
        what: String,
        /// How long it was tried, in seconds.
        seconds: u64,
        /// How the last try ended.
        last: Box<Error>,
    },
    /// The answer is not what the protocol says.
    #[error("{host} answers wrongly for {what}: {reason}")]
    BadAnswer {
        /// What was asked for.
        what: String,
        /// The server that was asked.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The server sends the whole blob for a range of it.
    #[error("{host} ignores ranges of {what}")]
    RangeIgnored {
        /// What was asked for.
        what: String,
        /// The server that was asked.
        host: String,
    },
    /// The server has the blob in another size than the descriptor says.
    #[error("{digest} in {host} has {found} bytes, its descriptor says {expected}")]
    SizeMismatch {
        /// What was asked for.
        digest: Digest,
        /// The server that was asked.
        host: String,
        /// The size in the descriptor.
        expected: u64,
        /// The size in the registry.
        found: u64,
    },
    /// The content does not match its digest.
    #[error("content of {expected} from {host} has digest {found}")]
    DigestMismatch {
        /// The digest it was asked for by.
        expected: Digest,
        /// The digest it has.
        found: Digest,
        /// The server that gave it.
        host: String,
    },
    /// The registry does not know of an upload any more, of which something was sent.
    #[error("{host} has lost what was sent to {what}")]
    UploadLost {
        /// The repository.
        what: String,
        /// The server.
        host: String,
    },
    /// No server of the registry is configured to do this.
    #[error("no server of {host} may be asked to {action}: see its hosts.toml")]
    NoServer {
        /// The registry.
        host: String,
        /// What was wanted.
        action: &'static str,
    },
    /// The tag is none.
    #[error(transparent)]
    BadTag(#[from] super::ParseReferenceError),
    /// A registry host file is broken.
    #[error("{}: {reason}", .path.display())]
    BadHosts {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS for {host}: {reason}")]
    Tls {
        /// The server.
        host: String,
        /// What is missing.
        reason: String,
    },
    /// A local file could not be read or written.
    #[error("{object}: {source}")]
    Io {
        /// The file.
        object: String,
        /// What the system answered.
        #[source]
        source: std::sync::Arc<io::Error>,
    },
    /// The client is shutting down.
    #[error("the registry client is shutting down")]
    Stopped,
}

impl Error {
    pub(super) fn io(object: impl ToString) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { object: object.to_string(), source: source.into() }
    }

    /// What to do about it.
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Error::Status { status: 408 | 425 | 429 | 500..=599, after, .. } => {
                Remedy::Later(*after)
            }
            Error::Unreachable { .. } | Error::Silent { .. } => Remedy::Later(None),
            // A proxy on the way may have cut or mixed up one answer.
            Error::BadAnswer { .. } | Error::DigestMismatch { .. } => Remedy::Again,
            Error::NotFound { .. }
            | Error::Unauthorized { .. }
            | Error::Status { .. }
            | Error::RangeIgnored { .. }
            | Error::SizeMismatch { .. }
            | Error::Tls { .. } => Remedy::Elsewhere,
            Error::Deadline { .. }
            | Error::UploadLost { .. }
            | Error::NoServer { .. }
            | Error::BadHosts { .. }
            | Error::BadTag(_)
            | Error::Io { .. }
            | Error::Stopped => Remedy::None,
        }
    }
}

/// What helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Waiting, as long as the server asks for if it says.
    Later(Option<Duration>),
    /// Trying again, a few times.
    Again,
    /// Asking another server.
    Elsewhere,
    /// Nothing.
    None,
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::NotFound { .. } => Kind::NotFound,
            Error::Unauthorized { .. } => Kind::Unauthenticated,
            Error::Status { status: 403, .. } => Kind::PermissionDenied,
            Error::Status { status: 408 | 429 | 500..=599, .. }
            | Error::Unreachable { .. }
            | Error::Tls { .. }
            | Error::Stopped => Kind::Unavailable,
            Error::Silent { .. } | Error::Deadline { .. } => Kind::DeadlineExceeded,
            Error::UploadLost { .. } => Kind::Aborted,
            Error::Status { .. } | Error::NoServer { .. } => Kind::FailedPrecondition,
            Error::BadAnswer { .. } | Error::SizeMismatch { .. } | Error::DigestMismatch { .. } => {
                Kind::DataLoss
            }
            Error::RangeIgnored { .. } => Kind::NotImplemented,
            Error::BadHosts { .. } | Error::BadTag(_) => Kind::InvalidArgument,
            Error::Io { source, .. } => Kind::of_io(source),
        }
    }
}

impl From<Error> for io::Error {
    /// An error of the system with the kind that [`Kind::of_io`] maps back.
    fn from(e: Error) -> Self {
        let kind = match e.kind() {
            Kind::NotFound => io::ErrorKind::NotFound,
            Kind::Unauthenticated | Kind::PermissionDenied => io::ErrorKind::PermissionDenied,
            Kind::DeadlineExceeded => io::ErrorKind::TimedOut,
            Kind::DataLoss => io::ErrorKind::InvalidData,
            Kind::Unavailable => io::ErrorKind::NotConnected,
            Kind::InvalidArgument | Kind::OutOfRange => io::ErrorKind::InvalidInput,
            Kind::NotImplemented => io::ErrorKind::Unsupported,
            Kind::ResourceExhausted => io::ErrorKind::StorageFull,
            Kind::FailedPrecondition => io::ErrorKind::ResourceBusy,
            Kind::AlreadyExists => io::ErrorKind::AlreadyExists,
            Kind::Aborted | Kind::Canceled | Kind::Internal => io::ErrorKind::Other,
        };
        io::Error::new(kind, e)
    }
}
