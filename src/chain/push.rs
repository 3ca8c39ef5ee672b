use std::sync::Arc;

use crate::compress::StartTrace;
use crate::content::{Descriptor, Ingester, Provider};
use crate::digest::Digest;
use crate::image::Image;
use crate::layer::Origin;

use super::build::{self, Progress};
use super::{Error, Store, artifact, discover};

impl Store {
    /// Writes the indexes of the layers of `image`, and `traces`, as an artifact beside it into
    /// `target`. Returns the artifact and how many layers it is of; `None` where every layer brings a
    /// table of contents that the image vouches for, so that there is nothing to write.
    ///
    /// Only what a pass over a layer has found out is written: layers of which there is no such
    /// index here are passed over now.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn push_index(
        &self,
        provider: &Arc<dyn Provider>,
        image: &Image,
        target: &dyn Ingester,
        traces: &[(Digest, StartTrace)],
        progress: &dyn Progress,
    ) -> Result<Option<(Descriptor, usize)>, Error> {
        let mut missing = Vec::new();
        let mut layers = Vec::new();
        for layer in &image.layers {
            let digest = &layer.descriptor.digest;
            if layers.iter().any(|(other, _)| other == digest) {
                continue;
            }
            if self.checked_index(layer, &Origin::Scan)?.is_none() {
                if discover::brings_its_own(layer) {
                    continue;
                }
                missing.push(layer);
            }
            layers.push((digest.clone(), layer));
        }
        if layers.is_empty() {
            return Ok(None);
        }
        build::scan_all(self, provider, missing, progress)?;
        let (mut indexes, mut windows) = (Vec::with_capacity(layers.len()), Vec::new());
        for (digest, layer) in layers {
            let index = self.checked_index(layer, &Origin::Scan)?;
            let index = index.ok_or_else(|| Error::Gone { chain_id: layer.chain_id.clone() })?;
            let split = index.split().and_then(|(index, apart)| Ok((index.encode()?, apart)));
            let (encoded, apart) = split
                .map_err(|source| Error::Index { digest: digest.clone(), source: source.into() })?;
            indexes.push((digest, encoded));
            windows.extend(Some(apart).filter(|apart| !apart.is_empty()));
        }
        let count = indexes.len();
        let written = artifact::write(target, image, indexes, &windows, traces);
        let digest = image.descriptor.digest.clone();
        let artifact = written.map_err(|source| Error::Push { digest, source })?;
        Ok(Some((artifact, count)))
    }
}
