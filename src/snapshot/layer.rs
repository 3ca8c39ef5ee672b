use std::error::Error as StdError;
use std::path::PathBuf;

use crate::digest::ChainId;
use crate::error::{Classify, Kind};

/// Shows the merged tree of a chain of layers as a folder: the FUSE mount of the daemon, in use.
///
/// Calls may come from many threads at once, and from several processes for one state root.
pub trait LayerMounter: Send + Sync {
    /// The folder that shows the files of all layers of `chain`, merged, read-only: with no
    /// whiteouts and no attributes of overlayfs, so that it can be the one lower folder below
    /// snapshots.
    ///
    /// A chain that is shown already is answered with the same path. It stays shown at least until
    /// [`LayerMounter::unmount`], and the path must be UTF-8.
    ///
    /// # Errors
    ///
    /// Where the chain cannot be shown; no part of it is then.
    fn mount(&self, chain: &ChainId) -> Result<PathBuf, LayerError>;

    /// The folder that [`LayerMounter::mount`] answers for `chain`, when a snapshot is registered
    /// that nobody uses yet. What is shown only when it is needed costs nothing for the chains
    /// below the top of an image.
    ///
    /// # Errors
    ///
    /// As [`LayerMounter::mount`].
    fn place(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        self.mount(chain)
    }

    /// Says that no snapshot stands on `chain` any more. It may be called for a chain that is not
    /// shown.
    ///
    /// # Errors
    ///
    /// Where the chain cannot be taken away; it may be asked for again later.
    fn unmount(&self, chain: &ChainId) -> Result<(), LayerError>;
}

/// Why the merged tree of a chain cannot be shown or taken away.
#[derive(Debug, thiserror::Error)]
#[error("layer chain {chain}: {source}")]
pub struct LayerError {
    /// The chain ID.
    pub chain: ChainId,
    /// The kind of the cause.
    pub kind: Kind,
    /// The cause.
    pub source: Box<dyn StdError + Send + Sync>,
}

impl Classify for LayerError {
    fn kind(&self) -> Kind {
        self.kind
    }
}

/// A [`LayerMounter`] for hosts without one: every parent is a folder on disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLayers;

impl LayerMounter for NoLayers {
    fn mount(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        let source = "nothing here shows layers".into();
        Err(LayerError { chain: chain.clone(), kind: Kind::NotImplemented, source })
    }

    fn unmount(&self, _: &ChainId) -> Result<(), LayerError> {
        Ok(())
    }
}
