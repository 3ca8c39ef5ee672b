use std::collections::VecDeque;
use std::sync::Arc;

use crate::content::Provider;
use crate::diff::LayerStream;
use crate::digest::ChainId;
use crate::image::Layer;
use crate::io::{Cursor, Found, VerifyingReader};

use super::UnpackError;

/// How many layers are decompressed while another one is applied: with one, a layer is ready when
/// its turn comes; more help only where layers are small, and cost a thread each.
const LAYERS_AHEAD: usize = 2;

/// A layer's blob that is being read.
pub(super) struct Blob {
    /// Its uncompressed bytes.
    pub(super) stream: LayerStream,
    /// Its own digest, once all is read.
    pub(super) found: Found,
}

/// Blobs of the layers to come.
pub(super) struct Ahead<'a> {
    provider: &'a Arc<dyn Provider>,
    /// The most bytes that are made ahead for one layer.
    bytes: usize,
    started: VecDeque<(ChainId, Result<Blob, UnpackError>)>,
}

impl<'a> Ahead<'a> {
    /// Of all layers together at most `bytes` are made ahead.
    pub(super) fn new(provider: &'a Arc<dyn Provider>, bytes: usize) -> Self {
        Self { provider, bytes: bytes / (LAYERS_AHEAD + 1), started: VecDeque::new() }
    }

    /// The blob of the first of `layers`; some of those after it are started.
    pub(super) fn take(&mut self, layers: &[Layer]) -> Result<Blob, UnpackError> {
        let wanted = &layers[..layers.len().min(LAYERS_AHEAD + 1)];
        // What another process has unpacked meanwhile is of no use any more.
        self.started.retain(|(chain, _)| wanted.iter().any(|layer| layer.chain_id == *chain));
        for layer in wanted {
            if !self.started.iter().any(|(chain, _)| *chain == layer.chain_id) {
                let blob = self.start(layer);
                self.started.push_back((layer.chain_id.clone(), blob));
            }
        }
        match self.started.pop_front() {
            Some((_, blob)) => blob,
            None => self.start(&layers[0]),
        }
    }

    fn start(&self, layer: &Layer) -> Result<Blob, UnpackError> {
        let digest = &layer.descriptor.digest;
        let blob = self.provider.open(&layer.descriptor);
        let blob =
            blob.map_err(|source| UnpackError::Content { digest: digest.clone(), source })?;
        let (reader, found) = VerifyingReader::new(Cursor::new(blob), digest.algorithm());
        let stream = LayerStream::start(reader, self.bytes)
            .map_err(|e| UnpackError::Apply { digest: digest.clone(), source: Box::new(e) })?;
        Ok(Blob { stream, found })
    }
}
