use std::io;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{Classify, Kind};
use crate::io::ReadAt;

use super::Descriptor;

/// Why content could not be had.
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
    /// A read or write failed.
    #[error("{object}: {source}")]
    Io {
        /// What was being read or written.
        object: String,
        /// What the system answered.
        source: io::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::NotFound { .. } => Kind::NotFound,
            Error::SizeMismatch { .. } | Error::DigestMismatch { .. } => Kind::DataLoss,
            Error::TooLarge { .. } => Kind::ResourceExhausted,
            Error::BadStore { .. } => Kind::InvalidArgument,
            Error::Io { source, .. } => Kind::of_io(source),
        }
    }
}

/// The largest manifest, index or config that is read (registries refuse larger ones).
pub const MAX_DOCUMENT: u64 = 8 << 20;

/// The reading side of a content store.
pub trait Provider: Send + Sync {
    /// The store, as the user would name it.
    fn name(&self) -> &str;

    /// A positioned reader of the content that `descriptor` names. Its bytes are not checked.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::SizeMismatch`] or [`Error::Io`].
    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error>;

    /// The whole content of a document, checked against its digest.
    ///
    /// # Errors
    ///
    /// As [`Provider::open`]; [`Error::TooLarge`] beyond [`MAX_DOCUMENT`];
    /// [`Error::DigestMismatch`].
    fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let digest = &descriptor.digest;
        if descriptor.size > MAX_DOCUMENT {
            return Err(Error::TooLarge {
                digest: digest.clone(),
                size: descriptor.size,
                limit: MAX_DOCUMENT,
            });
        }
        let blob = self.open(descriptor)?;
        let mut data = vec![0; usize::try_from(descriptor.size).unwrap_or(0)];
        blob.read_exact_at(&mut data, 0).map_err(|source| Error::Io {
            object: format!("{digest} in {}", self.name()),
            source,
        })?;
        let mut hasher = crate::digest::Hasher::new(digest.algorithm());
        hasher.update(&data);
        let found = hasher.finish();
        if found == *digest {
            return Ok(data);
        }
        Err(Error::DigestMismatch {
            expected: digest.clone(),
            found,
            store: self.name().to_owned(),
        })
    }
}
