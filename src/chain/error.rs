use std::io;
use std::path::PathBuf;

use crate::compress::SpanError;
use crate::digest::{ChainId, Digest};
use crate::error::{Classify, Kind};
use crate::{content, layer, tree};

/// Why the chain of an image could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A layer's blob could not be had.
    #[error("layer {digest}: {source}")]
    Content {
        /// The layer's blob.
        digest: Digest,
        /// What the store answered.
        source: content::Error,
    },
    /// A layer could not be indexed.
    #[error(transparent)]
    Layer(layer::BuildError),
    /// The index of a layer could not be read or kept.
    #[error("index of layer {digest}: {source}")]
    Index {
        /// The layer's blob.
        digest: Digest,
        /// What is wrong.
        source: layer::StoreError,
    },
    /// The folder of indexes could not be opened or read.
    #[error("layer indexes: {source}")]
    IndexList {
        /// What is wrong.
        source: layer::StoreError,
    },
    /// The tree of a layer or chain could not be read or written.
    #[error("{path}: {source}")]
    OpenTree {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: tree::Error,
    },
    /// The layers could not be merged, or the tree not be kept.
    #[error("chain {chain_id}: {source}")]
    Tree {
        /// The chain.
        chain_id: ChainId,
        /// What is wrong.
        source: tree::Error,
    },
    /// A file of the state root could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The indexes of an image could not be written beside it.
    #[error("layer index of image {digest}: {source}")]
    Push {
        /// The image's manifest.
        digest: Digest,
        /// What the store answered.
        source: content::Error,
    },
    /// Content of a layer could not be fetched.
    #[error("layer {digest}: {source}")]
    Fetch {
        /// The layer's blob.
        digest: Digest,
        /// What is wrong.
        source: SpanError,
    },
    /// The image has no layers.
    #[error("the image has no layers, so there is nothing to mount")]
    NoLayers,
    /// What was just written is not there: somebody removes files of the state root.
    #[error("chain {chain_id}: its index or tree is gone right after it was made")]
    Gone {
        /// The chain.
        chain_id: ChainId,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Content { source, .. } | Error::Push { source, .. } => source.kind(),
            Error::Layer(source) => source.kind(),
            Error::Index { source, .. } | Error::IndexList { source } => source.kind(),
            Error::Tree { source, .. } | Error::OpenTree { source, .. } => source.kind(),
            Error::Fetch { source, .. } => source.kind(),
            Error::Io { source, .. } => Kind::of_io(source),
            Error::NoLayers => Kind::InvalidArgument,
            Error::Gone { .. } => Kind::Aborted,
        }
    }
}
