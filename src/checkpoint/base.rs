use std::error::Error as StdError;
use std::sync::Arc;

use crate::content::{Descriptor, Provider};
use crate::error::{Classify, Kind};
use crate::image::Image;

/// Which image a container was made of.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// The one that this descriptor leads to, in this store.
    Carried(&'a Arc<dyn Provider>, &'a Descriptor),
    /// The one that the engine knew by this name; the checkpoint does not hold it.
    Named(&'a str),
}

/// An image whose layers are committed snapshots, each named by its chain ID.
#[derive(Debug, Clone)]
pub struct Layers {
    /// The image.
    pub image: Image,
    /// The snapshots that were not there before, bottom first.
    pub made: Vec<String>,
}

/// Finds the images of containers and makes snapshots of their layers, lazy or unpacked.
pub trait BaseLayers {
    /// Makes the committed snapshots of the image `wanted` that are missing.
    ///
    /// # Errors
    ///
    /// Where the image cannot be had; what was made by this call is removed then.
    fn prepare(&self, wanted: Wanted<'_>) -> Result<Layers, LayersError>;
}

/// Why the layers of an image are not there.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct LayersError {
    /// The kind of the cause.
    pub kind: Kind,
    /// The cause.
    pub source: Box<dyn StdError + Send + Sync>,
}

impl Classify for LayersError {
    fn kind(&self) -> Kind {
        self.kind
    }
}
