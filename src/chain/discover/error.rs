use std::fmt;
use std::io;

use crate::digest::{DiffId, Digest};
use crate::layer::FormatError;
use crate::layer::lazy::LazyError;
use crate::{content, image};

/// Why a format is not used for a layer.
#[derive(Debug, thiserror::Error)]
pub(in crate::chain) enum Reason {
    /// The store did not give what it takes.
    #[error(transparent)]
    Content(#[from] content::Error),
    /// The blob could not be read.
    #[error("the blob cannot be read: {0}")]
    Read(io::Error),
    /// What the format says is outside of the blob.
    #[error("its place is outside of the blob")]
    Outside,
    /// What the format says is refused.
    #[error(transparent)]
    Lazy(#[from] LazyError),
    /// The layer index cannot be decoded.
    #[error("the layer index: {0}")]
    Format(#[from] FormatError),
    /// The manifest beside the image cannot be parsed.
    #[error(transparent)]
    Manifest(#[from] image::Error),
    /// The index in the artifact is of another layer than the artifact says.
    #[error("the layer index is of {0}")]
    OtherLayer(Digest),
    /// The index in the artifact is of a layer with another diffID.
    #[error("the layer index is of diffID {found}, the image says {expected}")]
    DiffId {
        /// What the image's configuration says.
        expected: DiffId,
        /// What the index says.
        found: DiffId,
    },
    /// The index in the artifact is of a blob of another size.
    #[error("the layer index is of a blob of {0} bytes")]
    Size(u64),
    /// A file's content is outside of what the index can give.
    #[error("the layer index has content outside of the layer")]
    Extents,
    /// The digests of its spans are not of uncompressed bytes, as those of a pass over a layer are.
    #[error("the layer index has foreign digests")]
    Digests,
    /// The artifact is of a type that is not known.
    #[error("{0} is neither a layer index nor a SOCI index")]
    NotAnIndex(Digest),
    /// The artifact lacks a part.
    #[error("the artifact has no {0}")]
    Missing(&'static str),
    /// A part of an artifact is too long.
    #[error("{digest} has {size} bytes, more than {limit}")]
    TooLarge {
        /// The part.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// A part of an artifact has another digest than it should.
    #[error("the digest is {found}, the artifact says {expected}")]
    Digest {
        /// What the artifact says.
        expected: Digest,
        /// What was computed.
        found: Digest,
    },
    /// It is there, and nothing but the user's word would make it trustworthy.
    #[error("nothing in the image vouches for {0}; --trust-index {0} would")]
    Untrusted(Digest),
    /// The table of contents is in an image of its own, which is not there.
    #[error("its table of contents is in another image, which is not found under TAG-esgztoc")]
    External,
}

/// A lazy format that was found and not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The format.
    pub format: &'static str,
    /// Why not.
    pub reason: String,
}

impl Refused {
    pub(super) fn new(format: &'static str, reason: &Reason) -> Self {
        Self { format, reason: reason.to_string() }
    }

    /// What turned out when content was read.
    pub(super) fn found_out(format: &'static str, reason: String) -> Self {
        Self { format, reason }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.format, self.reason)
    }
}
