//! The data of a chain as one local file, for mounts that ask no process for them.
//!
//! Once every layer of a chain is in the span cache, what its files hold is written out once more,
//! laid out as the chain's virtual blob: that is what an EROFS image of the chain points into, so
//! the next mount reads this file where an earlier one asked FUSE. The cached layers cannot be that
//! file: in a layer, data start at multiples of 512 bytes, where EROFS would need blocks of that
//! size; and spans of a layer are evicted by punching holes, which a kernel that reads the file
//! without this process would take for zeros. So for a while both are kept. They share the cache's
//! limit: the file is written only where there is room, and goes before any span does.
//!
//! Everything is read through the layers, so checked, when the file is written. Afterwards it is
//! trusted as an unpacked layer is, and has a checksum that can be looked at
//! ([`Whole::verify`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::content::cache::{CachedLayer, LayerCache, Whole};
use crate::digest::{ChainId, Digest};
use crate::fs::MountedTree;
use crate::tree::Tree;

use super::Chain;

/// Which bytes a file holds; another layout of the virtual blob is another version.
const VERSION: u32 = 1;

/// What writing the data of a chain to a file takes.
pub struct WholeChain {
    chain_id: ChainId,
    tag: Option<String>,
    tree: MountedTree,
    layers: Vec<Arc<CachedLayer>>,
    cache: Arc<LayerCache>,
}

impl Chain {
    /// The chain's data in a file; `None` where they were not written, or are not there any more.
    ///
    /// # Errors
    ///
    /// Those of opening the file.
    pub fn whole(&self) -> io::Result<Option<Whole>> {
        let Some(cache) = &self.cache else { return Ok(None) };
        cache.whole(self.chain_id.digest(), &identity(&self.tree, self.tag.as_deref()))
    }

    /// What it takes to write the data to a file; `None` where layers are not kept in the cache,
    /// as those of local images.
    pub fn to_be_whole(&self) -> Option<WholeChain> {
        let layers = self.layers.iter().map(|layer| layer.cached.clone());
        let layers: Vec<Arc<CachedLayer>> = layers.collect::<Option<_>>()?;
        // What is read to be written out is nothing that a start reads.
        let readers = layers.iter().map(|layer| layer.unnoticed()).collect();
        Some(WholeChain {
            chain_id: self.chain_id.clone(),
            tag: self.tag.clone(),
            tree: MountedTree { tree: self.tree.clone(), layers: readers, starts: None },
            layers,
            cache: self.cache.clone()?,
        })
    }
}

impl WholeChain {
    /// Whether all of all layers is in the cache.
    pub fn is_here(&self) -> bool {
        self.layers.iter().all(|layer| layer.is_complete())
    }

    /// Writes the file, unless there is no room for it, until `stop` is set.
    ///
    /// # Errors
    ///
    /// Those of reading the layers and writing the file; `Interrupted` where it was stopped.
    pub fn write(&self, stop: &AtomicBool) -> io::Result<Option<Whole>> {
        let identity = identity(&self.tree.tree, self.tag.as_deref());
        let len = self.tree.blob_size();
        self.cache.keep_whole(self.chain_id.digest(), &identity, len, &mut |buf, offset| {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let n = self.tree.read_blob(offset, buf).map_err(io::Error::other)?;
            if n == buf.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }
}

/// What the data of `tree` are, whatever else is called like it. The tag tells trees apart that are
/// the same in all but what their content is, which no tree says.
fn identity(tree: &Tree, tag: Option<&str>) -> [u8; 32] {
    let mut text = format!("{VERSION} {:08x} {}", tree.fingerprint(), tree.summary().data_len);
    for layer in tree.layers() {
        text.push_str(&format!(" {}", layer.diff_id));
    }
    text.push_str(tag.unwrap_or_default());
    let digest = Digest::sha256(text.as_bytes());
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}
