//! Which of the indexes that are here a layer is read by.

use crate::image::{self, Image};
use crate::layer::{BuildError, Identity, LayerIndex, Origin, StoredTable};

use super::discover::Found;
use super::{Error, Store};

impl Store {
    /// Whether nothing has to be read or made before `layer` of `image` can be read.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] where an index cannot be read.
    pub fn is_ready(&self, image: &Image, layer: &image::Layer) -> Result<bool, Error> {
        Ok(self.reading(image, layer)?.is_some())
    }

    /// The formats that may be used for `layer`.
    pub(super) fn usable(&self, image: &Image, layer: &image::Layer) -> Vec<Origin> {
        let mut origins = self.known.origins(image, layer, &self.trust);
        origins.retain(|origin| !self.known.is_refused(&layer.descriptor.digest, origin));
        origins
    }

    /// How `layer` of `image` can be read by what is here; `None` where nothing is that may be used.
    pub(super) fn reading(
        &self,
        image: &Image,
        layer: &image::Layer,
    ) -> Result<Option<(Origin, StoredTable)>, Error> {
        let known = || self.usable(image, layer);
        self.first_usable(layer, std::iter::once(Origin::Scan).chain(once(known)))
    }

    /// The first of `origins` of which an index is here that can be used for `layer`.
    pub(super) fn first_usable(
        &self,
        layer: &image::Layer,
        origins: impl Iterator<Item = Origin>,
    ) -> Result<Option<(Origin, StoredTable)>, Error> {
        let digest = &layer.descriptor.digest;
        for origin in origins {
            let loaded = self.indexes.load_table(digest, &origin);
            let found = loaded.map_err(|source| Error::Index { digest: digest.clone(), source })?;
            if let Some(stored) = found
                && vouches(&stored.identity, layer)?
            {
                return Ok(Some((origin, stored)));
            }
        }
        Ok(None)
    }

    /// The whole index of `layer` of that origin; `None` where it has none that can be used for it.
    pub(super) fn checked_index(
        &self,
        layer: &image::Layer,
        origin: &Origin,
    ) -> Result<Option<LayerIndex>, Error> {
        let digest = &layer.descriptor.digest;
        let loaded = self.indexes.load(digest, origin);
        let found = loaded.map_err(|source| Error::Index { digest: digest.clone(), source })?;
        let Some(index) = found else { return Ok(None) };
        Ok(vouches(&index.identity, layer)?.then_some(index))
    }

    /// Keeps what was found out about a layer.
    pub(super) fn keep(&self, found: &Found) -> Result<(), Error> {
        let identity = &found.index.identity;
        let digest = identity.digest.clone();
        let saved = self.indexes.save(&found.index);
        saved.map_err(|source| Error::Index { digest: digest.clone(), source })?;
        let remembered = self.known.remember(&digest, &identity.origin, &found.via);
        let remembered = remembered.and_then(|()| match &found.trace {
            Some(trace) => self.known.keep_trace(&digest, trace),
            None => Ok(()),
        });
        remembered.map_err(|source| Error::Io { path: self.root.join("index"), source })
    }
}

/// Calls `list` only when the first of its items is wanted.
pub(super) fn once<T>(list: impl FnOnce() -> Vec<T>) -> impl Iterator<Item = T> {
    std::iter::once_with(list).flatten()
}

/// Whether the index that is `identity` can be used for `layer`, which is of the same blob.
///
/// It tells the diffID that the blob really has. Trees are kept by chain ID: were a config believed
/// that gives a blob another diffID, one image could be made to show its content as another's. An
/// index with a diffID by another algorithm says nothing about the one that is asked for.
///
/// # Errors
///
/// [`Error::Layer`] where the blob has another diffID than the layer is said to have.
fn vouches(identity: &Identity, layer: &image::Layer) -> Result<bool, Error> {
    let (found, expected) = (&identity.diff_id, &layer.diff_id);
    // What another origin says of the diffID is only what some image's configuration says.
    if identity.origin != Origin::Scan {
        return Ok(found == expected);
    }
    if found.digest().algorithm() != expected.digest().algorithm() {
        return Ok(false);
    }
    if found != expected {
        let (expected, found) = (expected.clone(), found.clone());
        let digest = layer.descriptor.digest.clone();
        return Err(Error::Layer(BuildError::DiffId { digest, expected, found }));
    }
    Ok(true)
}
