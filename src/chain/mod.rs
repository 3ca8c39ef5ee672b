//! The lazily readable chain of an image: its layers indexed, merged, and ready to be read.
//!
//! # Layout of the state root
//!
//! ```text
//! index/<digest>.toc          TOC and access points of one layer, by a pass over it
//! index/<digest>.<tag>.toc    the same, by what a foreign format says
//! index/<digest>.found        which foreign formats were found that no annotation tells
//! index/<digest>.refused      which turned out to be wrong when content was read
//! trees/<chain>.tree          the merged tree of a chain
//! trees/<diff-id>.layer.tree  one layer alone
//! trees/<chain>.erofs         the tree as an EROFS image, made when it is first mounted as such
//! cache/<digest>/             uncompressed spans
//! windows/<digest>/           packed windows of a layer whose index is without them
//! cache/<chain>.data          the data of a chain whose layers are all there, as one file
//! ```
//!
//! Names of trees and EROFS images have a tag too where a layer is read by a foreign format: such a
//! layer is not known to have the diffID that the configuration says, and its address space is of
//! that format. The tag is derived from all that the reading hangs on (see `discover`), so that no
//! image is ever shown what another one claims of the same chain ID.
//!
//! Everything here is derived from verified blobs: what is damaged, of an older version or gone is
//! made again, never trusted.

pub mod artifact;
mod build;
mod cached;
mod discover;
mod error;
mod fallback;
mod lazy;
pub mod programs;
mod push;
mod readers;
mod readings;
mod start;
mod store;
mod tree_files;
mod trust;
mod unpack;
mod whole;

pub use build::{Progress, Quiet};
pub use discover::{Refused, SOCI_INDEX_DIGEST};
pub use error::Error;
pub use fallback::Fallback;
pub use lazy::{Explained, Lazy};
pub use start::Prefetch;
pub use store::Store;
pub use trust::{Trust, Trusted};
pub use unpack::{UnpackError, UnpackOptions, unpack};
pub use whole::WholeChain;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::content::Descriptor;
use crate::content::cache::{CachedLayer, LayerCache};
use crate::digest::{ChainId, DiffId};
use crate::fs::MountedTree;
use crate::io::{CountingReader, ReadAt};
use crate::layer::Origin;
use crate::tree::Tree;

/// A chain of layers that is ready to be read.
pub struct Chain {
    /// The name of the whole.
    pub chain_id: ChainId,
    /// What all that is shown hangs on where not every layer is known to have its diffID: files that
    /// are derived from the chain then go by this too. `None` where the chain ID says it all.
    pub tag: Option<String>,
    /// What a container sees.
    pub tree: Arc<Tree>,
    /// Where the EROFS image of the tree is, or is to be made.
    pub erofs: PathBuf,
    /// The layers, bottom first.
    pub layers: Vec<Layer>,
    /// Where layers are kept; `None` where that cannot be opened.
    cache: Option<Arc<LayerCache>>,
    /// Where their windows are kept, likewise.
    windows: Option<Arc<LayerCache>>,
    /// Who looks into what is started, if anything is.
    programs: OnceLock<programs::Programs>,
}

/// One layer of a [`Chain`].
pub struct Layer {
    /// Its place in the chain's configuration.
    pub diff_id: DiffId,
    /// Its blob.
    pub descriptor: Descriptor,
    /// The layer alone, whiteouts visible as files.
    pub raw: Arc<Tree>,
    /// Its uncompressed bytes.
    pub reader: Arc<dyn ReadAt>,
    /// Its blob, counting what is read of it.
    pub blob: Arc<CountingReader<Arc<dyn ReadAt>>>,
    /// Whether it is read lazily, and why.
    pub lazy: Lazy,
    /// It in the cache on disk, where it is kept there.
    pub cached: Option<Arc<CachedLayer>>,
    /// Its windows, where its index is without them.
    windows: Option<Arc<CachedLayer>>,
    /// What says where its files are.
    pub origin: Origin,
    /// What is done where that turns out to be wrong; `None` where a pass over the layer said it.
    pub fallback: Option<Arc<Fallback>>,
}

impl Chain {
    /// The tree together with its layers, for a filesystem to show.
    pub fn mounted_tree(&self) -> MountedTree {
        MountedTree {
            tree: self.tree.clone(),
            layers: self.layers.iter().map(|layer| layer.reader.clone()).collect(),
            starts: self.programs.get().map(programs::Programs::file_starts),
        }
    }

    /// By which index each layer is read, bottom first, for [`Store::chain_as`].
    pub fn readings(&self) -> Vec<Option<String>> {
        self.layers.iter().map(|layer| layer.origin.tag(&layer.descriptor.digest)).collect()
    }

    /// Bytes read of all blobs so far.
    pub fn blob_bytes_read(&self) -> u64 {
        self.layers.iter().map(|layer| layer.blob.bytes()).sum()
    }
}

impl Layer {
    /// What says where its files are, how it is read, and why not otherwise.
    pub fn how(&self) -> String {
        let how = format!("{}: {}", self.origin, self.lazy);
        match self.fallback.as_ref().and_then(|fallback| fallback.reason()) {
            Some(reason) => format!("{how}; {reason}"),
            None => how,
        }
    }

    /// The layer alone, for a filesystem to show.
    pub fn mounted_tree(&self) -> MountedTree {
        MountedTree { tree: self.raw.clone(), layers: vec![self.reader.clone()], starts: None }
    }
}
