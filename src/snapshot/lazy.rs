//! Snapshots whose content is a merged tree, and the chains of layers that they need.

use std::time::{Duration, SystemTime};

use super::backend::Backend;
use super::store::{self, Chain, LeaseId, New};
use super::{Error, LABEL_REF, Labels, OverlaySnapshotter, Usage};
use crate::digest::{ChainId, DiffId};

/// A layer to be shown instead of unpacked.
#[derive(Debug, Clone)]
pub struct LazyLayer {
    /// The chain that ends with the layer, recorded before by [`Lease::record`].
    pub chain: ChainId,
    /// The layer.
    pub diff_id: DiffId,
    /// What the layer takes here, zero where that is not known without its data.
    pub usage: Usage,
}

impl OverlaySnapshotter {
    /// Makes the committed snapshot `name`, whose content is the merged tree of the chain of
    /// `layer`. The layers below are in the tree, so whether the parent is lazy does not matter;
    /// it must hold the chain below, by its tree or by its label [`LABEL_REF`].
    ///
    /// # Errors
    ///
    /// [`Error::ParentNotFound`], [`Error::ParentNotCommitted`], [`Error::WrongChain`], then
    /// [`Error::Exists`]; [`Error::ChainNotFound`]; [`Error::Layer`] where the chain cannot be
    /// shown.
    pub fn commit_lazy(
        &self,
        name: &str,
        parent: Option<&str>,
        labels: &Labels,
        layer: &LazyLayer,
    ) -> Result<(), Error> {
        self.backend.check_open()?;
        let new = New { key: name, parent, labels };
        let target = self.backend.place(&layer.chain)?;
        let made = self.backend.store.write(|tx| {
            self.check_chain(tx, parent, layer)?;
            store::get_chain(tx, &layer.chain)?;
            let id = store::create_lazy(tx, self.owner, new, &layer.chain, layer.usage)?;
            self.backend.folders.create_link(id, &target)
        });
        if made.is_err()
            && let Err(error) = self.backend.release(&layer.chain)
        {
            tracing::warn!(%error, "a layer chain that nothing needs stays mounted");
        }
        made
    }

    /// Refuses a layer whose chain is not that of `parent` and the layer.
    fn check_chain(
        &self,
        tx: &rusqlite::Transaction<'_>,
        parent: Option<&str>,
        layer: &LazyLayer,
    ) -> Result<(), Error> {
        let expected = match parent {
            None => Some(ChainId::new(layer.diff_id.digest().clone())),
            Some(parent) => {
                let record = store::parent_of_new(tx, self.owner, parent)?;
                let label = || record.info.labels.get(LABEL_REF)?.parse().ok();
                let below: Option<ChainId> = record.chain.clone().or_else(label);
                below.map(|below| below.push(&layer.diff_id))
            }
        };
        if expected.as_ref() == Some(&layer.chain) {
            return Ok(());
        }
        let parent = parent.unwrap_or_default().to_owned();
        Err(Error::WrongChain { chain: layer.chain.clone(), parent })
    }

    /// The chain that is the content of the snapshot `key`; `None` where it is not lazy.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn chain(&self, key: &str) -> Result<Option<ChainId>, Error> {
        self.backend.check_open()?;
        Ok(self.backend.store.read(|tx| store::get(tx, self.owner, key))?.chain)
    }
}

/// Keeps chains, and so their trees, indexes and cached data, from being collected while no
/// snapshot stands on them yet; for a bounded time, so that a killed process keeps nothing for
/// ever. Dropping it ends it.
#[derive(Debug)]
pub struct Lease<'a> {
    backend: &'a Backend,
    id: LeaseId,
}

impl Backend {
    /// A lease that ends after `length` at the latest.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn lease(&self, length: Duration) -> Result<Lease<'_>, Error> {
        let expires = SystemTime::now() + length;
        let id = self.store.write(|tx| store::create_lease(tx, expires))?;
        Ok(Lease { backend: self, id })
    }

    /// The layers of the chain `id`, bottom first, each with the blobs known to hold it.
    ///
    /// # Errors
    ///
    /// [`Error::ChainNotFound`].
    pub fn chain_layers(&self, id: &ChainId) -> Result<Vec<Chain>, Error> {
        let mut layers = self.store.read(|tx| {
            let mut layers = Vec::new();
            let mut next = Some(id.clone());
            while let Some(id) = next {
                let chain = store::get_chain(tx, &id)?;
                next = chain.below.clone();
                layers.push(chain);
            }
            Ok(layers)
        })?;
        layers.reverse();
        Ok(layers)
    }

    /// The chains that snapshots of any owner have as their content: what a daemon shows again
    /// when it starts.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn snapshot_chains(&self) -> Result<Vec<ChainId>, Error> {
        self.store.read(store::snapshot_chains)
    }
}

impl Lease<'_> {
    /// Records a stack of layers, bottom first, each with the blob that holds it, and keeps it
    /// while the lease lasts; files of it may be made from now on.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn record(&self, layers: &[(DiffId, crate::digest::Digest)]) -> Result<(), Error> {
        self.backend.store.write(|tx| {
            let mut below: Option<ChainId> = None;
            for (diff_id, blob) in layers {
                let chain = Chain::new(below.as_ref(), diff_id.clone(), blob.clone());
                store::put_chain(tx, &chain)?;
                below = Some(chain.id);
            }
            match below {
                Some(top) => store::add_to_lease(tx, self.id, &top),
                None => Ok(()),
            }
        })
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.backend.write_to_free(|tx| store::delete_lease(tx, self.id)) {
            tracing::debug!(%error, "a lease stays until it expires");
        }
    }
}
