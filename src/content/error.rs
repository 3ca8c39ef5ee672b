use std::io;

use crate::digest::Digest;
use crate::error::{Classify, Kind};

use super::registry;

/// Why content could not be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not have it.
    #[error("{digest} is not in {store}")]
    NotFound {
        /// What was asked for.
        digest: Digest,
        /// The store, as the user named it.
        store: String,
    },
    /// The store has it in another size than the descriptor says.
    #[error("{digest} in {store} has {found} bytes, its descriptor says {expected}")]
    SizeMismatch {
        /// What was asked for.
        digest: Digest,
        /// The store, as the user named it.
        store: String,
        /// The size in the descriptor.
        expected: u64,
        /// The size in the store.
        found: u64,
    },
    /// The bytes do not match the digest.
    #[error("content of {expected} in {store} has digest {found}")]
    DigestMismatch {
        /// The digest it was asked for by.
        expected: Digest,
        /// The digest it has.
        found: Digest,
        /// The store, as the user named it.
        store: String,
    },
    /// The content is larger than the bound for its kind.
    #[error("{digest} has {size} bytes, more than the {limit} that are read at once")]
    TooLarge {
        /// What was asked for.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// The store is not what the user said it is.
    #[error("{store}: {reason}")]
    BadStore {
        /// The store, as the user named it.
        store: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has held the store's lock for the whole deadline.
    #[error("{store} is locked by another process, {seconds} s long")]
    Locked {
        /// The store, as the user named it.
        store: String,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// A registry does not give or take it.
    #[error(transparent)]
    Registry(Box<registry::Error>),
    /// A read or write failed.
    #[error("{object}: {source}")]
    Io {
        /// What was being read or written.
        object: String,
        /// What the system answered.
        source: io::Error,
    },
}

impl Error {
    /// Names `object` in an error of the system.
    pub(crate) fn io(object: impl ToString) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { object: object.to_string(), source }
    }
}

impl From<registry::Error> for Error {
    fn from(e: registry::Error) -> Self {
        Self::Registry(Box::new(e))
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::NotFound { .. } => Kind::NotFound,
            Error::SizeMismatch { .. } | Error::DigestMismatch { .. } => Kind::DataLoss,
            Error::TooLarge { .. } => Kind::ResourceExhausted,
            Error::BadStore { .. } => Kind::InvalidArgument,
            Error::Locked { .. } => Kind::DeadlineExceeded,
            Error::Registry(e) => e.kind(),
            Error::Io { source, .. } => Kind::of_io(source),
        }
    }
}
