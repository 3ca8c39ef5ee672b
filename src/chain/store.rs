use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use crate::compress::SpanCache;
use crate::content::Provider;
use crate::content::cache::{Ingest, LayerCache};
use crate::digest::{ChainId, Digest};
use crate::image::{self, Image};
use crate::layer::{IndexStore, Origin, StoredTable};
use crate::tree::{self, Tree};

use super::build::{self, Progress};
use super::discover::{Discovery, Found, Known};
use super::lazy::{Explained, Lazy};
use super::readings::once;
use super::tree_files::{chain_tag, open_tree, stem};
use super::{Chain, Error, Trust};

/// The most decoded bytes that are kept in memory for all layers together.
const MEMORY_CACHE: u64 = 24 << 20;

/// What reading an image takes: its tree, and each layer's own tree and span table.
struct Ready {
    tree: Tree,
    layers: Vec<(Tree, StoredTable)>,
    erofs: PathBuf,
    tag: Option<String>,
}

/// The indexes, trees and caches of one state root.
pub struct Store {
    pub(super) root: PathBuf,
    pub(super) indexes: IndexStore,
    pub(super) known: Known,
    pub(super) trust: Trust,
    pub(super) memory: Arc<SpanCache>,
    /// What the next layer is called in `memory`.
    pub(super) number: AtomicU32,
    pub(super) disk: OnceLock<Arc<LayerCache>>,
    pub(super) windows: OnceLock<Arc<LayerCache>>,
    pub(super) cache_limit: Option<u64>,
}

impl Store {
    /// Opens the store in `root`; folders are made, for their owner only, where they are missing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn open(root: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        for dir in ["index", "trees", "cache", "windows"].map(|name| root.join(name)) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|source| Error::Io { path: dir.clone(), source })?;
        }
        let indexes = IndexStore::open(&root.join("index"));
        Ok(Self {
            root: root.to_owned(),
            indexes: indexes.map_err(|source| Error::IndexList { source })?,
            known: Known::in_folder(&root.join("index")),
            trust: Trust::default(),
            memory: Arc::new(SpanCache::new(MEMORY_CACHE)),
            number: AtomicU32::new(0),
            disk: OnceLock::new(),
            windows: OnceLock::new(),
            cache_limit: None,
        })
    }

    /// The same store, which also believes what `trust` says.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// What is believed.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The same store, whose cache keeps at most so many bytes instead of a tenth of the disk.
    #[must_use]
    pub fn with_cache_limit(self, bytes: u64) -> Self {
        Self { cache_limit: Some(bytes), ..self }
    }

    /// Makes `image` ready: indexes its layers and merges them, where that has not been done.
    ///
    /// # Errors
    ///
    /// See [`Error`]; what is ready by then stays.
    pub fn prepare(
        &self,
        provider: &Arc<dyn Provider>,
        image: &Image,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        self.make_ready(provider, image, progress).map(drop)
    }

    /// The chain of `image`, made ready where it is not yet.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn chain(
        &self,
        provider: &Arc<dyn Provider>,
        image: &Image,
        progress: &dyn Progress,
    ) -> Result<Chain, Error> {
        let chain_id = image.chain_id().ok_or(Error::NoLayers)?.clone();
        let ready = self.make_ready(provider, image, progress)?;
        self.opened(provider, image, chain_id, ready)
    }

    /// The chain of `image`, each layer read by the index that `readings` says
    /// ([`Chain::readings`]), whatever others are here; `None` where one of them is not, or may not
    /// be used.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn chain_as(
        &self,
        provider: &Arc<dyn Provider>,
        image: &Image,
        readings: &[Option<String>],
    ) -> Result<Option<Chain>, Error> {
        let chain_id = image.chain_id().ok_or(Error::NoLayers)?.clone();
        if readings.len() != image.layers.len() {
            return Ok(None);
        }
        let ready = self.ready(image, &chain_id, |place, layer| {
            let is_it = |origin: &Origin| origin.tag(&layer.descriptor.digest) == readings[place];
            let known = || self.known.origins(image, layer, &self.trust);
            let origins = std::iter::once(Origin::Scan).chain(once(known));
            self.first_usable(layer, origins.filter(is_it))
        })?;
        ready.map(|ready| self.opened(provider, image, chain_id, ready)).transpose()
    }

    fn opened(
        &self,
        provider: &Arc<dyn Provider>,
        image: &Image,
        chain_id: ChainId,
        ready: Ready,
    ) -> Result<Chain, Error> {
        let mut layers = Vec::with_capacity(image.layers.len());
        for (layer, (raw, index)) in image.layers.iter().zip(ready.layers) {
            layers.push(self.layer(provider, layer, raw, index)?);
        }
        let (cache, windows) = (self.cache().ok().cloned(), self.windows.get().cloned());
        let (tree, erofs, tag) = (Arc::new(ready.tree), ready.erofs, ready.tag);
        let programs = OnceLock::new();
        Ok(Chain { chain_id, tag, tree, erofs, layers, cache, windows, programs })
    }

    /// How each layer of `image` is read, or would be: what is not known here is looked for, and
    /// nothing is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] where an index cannot be read. A format that cannot be used is no error.
    pub fn explain(
        &self,
        provider: &Arc<dyn Provider>,
        image: &Image,
    ) -> Result<Vec<Explained>, Error> {
        let discovery = Discovery::new(provider, image, &self.trust, true);
        let explain = |layer| {
            let here = self.reading(image, layer)?.map(|(origin, stored)| (origin, stored.table));
            let is_foreign = here.as_ref().is_some_and(|(origin, _)| *origin != Origin::Scan);
            let (found, mut refused) =
                if is_foreign { (None, Vec::new()) } else { discovery.layer(layer) };
            let digest = &layer.descriptor.digest;
            refused.extend(self.known.refused(digest));
            let is_usable =
                |found: &Found| !self.known.is_refused(digest, &found.index.identity.origin);
            let found = found
                .filter(is_usable)
                .map(|found| (found.index.identity.origin, found.index.table));
            let (origin, table) = here.or(found).unzip();
            let lazy = table.as_ref().map_or(Lazy::NotIndexed, Lazy::of);
            Ok(Explained { lazy, origin, refused })
        };
        image.layers.iter().map(explain).collect()
    }

    /// Begins to keep the layer of `digest` while it is being indexed; `None` where there is no
    /// room for anything.
    pub(super) fn ingest(&self, digest: &Digest) -> Result<Option<Ingest>, Error> {
        match self.cache()?.ingest(digest) {
            Ok(ingest) => Ok(Some(ingest)),
            Err(error) => {
                tracing::warn!(%digest, %error, "span cache: the layer is not kept");
                Ok(None)
            }
        }
    }

    fn make_ready(
        &self,
        provider: &Arc<dyn Provider>,
        image: &Image,
        progress: &dyn Progress,
    ) -> Result<Ready, Error> {
        let chain_id = image.chain_id().ok_or(Error::NoLayers)?;
        let reading = |_, layer: &image::Layer| self.reading(image, layer);
        if let Some(ready) = self.ready(image, chain_id, reading)? {
            return Ok(ready);
        }
        build::indexes(self, provider, image, progress)?;
        build::trees(self, image)?;
        self.ready(image, chain_id, reading)?
            .ok_or_else(|| Error::Gone { chain_id: chain_id.clone() })
    }

    /// What reading `image` takes, each layer by what `reading` says, where all of it is there and
    /// whole.
    fn ready(
        &self,
        image: &Image,
        chain_id: &ChainId,
        reading: impl Fn(usize, &image::Layer) -> Result<Option<(Origin, StoredTable)>, Error>,
    ) -> Result<Option<Ready>, Error> {
        let (mut layers, mut tags) = (Vec::with_capacity(image.layers.len()), Vec::new());
        for (place, layer) in image.layers.iter().enumerate() {
            let Some((origin, stored)) = reading(place, layer)? else { return Ok(None) };
            let tag = origin.tag(&layer.descriptor.digest);
            let raw = open_tree(&self.layer_path(&layer.diff_id, tag.as_deref()))?;
            let Some(raw) = raw else { return Ok(None) };
            layers.push((raw, stored));
            tags.push(tag);
        }
        let tag = chain_tag(&tags);
        let path = self.chain_path(chain_id, tag.as_deref());
        let Some(tree) = open_tree(&path)? else { return Ok(None) };
        let erofs = self.erofs_path(chain_id, tag.as_deref());
        Ok(Some(Ready { tree, layers, erofs, tag }))
    }

    /// The indexes that are here, and their sizes in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn indexes(&self) -> Result<Vec<(Digest, u64)>, Error> {
        let dir = self.root.join("index");
        let listed = self.indexes.list();
        let files = listed.map_err(|source| Error::IndexList { source })?;
        let mut found = Vec::with_capacity(files.len());
        for (digest, path) in files {
            let size = fs::metadata(path).map(|metadata| metadata.len());
            let size = size.map_err(|source| Error::Io { path: dir.clone(), source })?;
            found.push((digest, size));
        }
        found.sort();
        Ok(found)
    }

    /// Everything that the trees of `chain_id` are made of: that chain ID, its layers' diffIDs and
    /// their blobs. The chain ID alone where no tree of it is here.
    ///
    /// # Errors
    ///
    /// [`Error::OpenTree`]; [`Error::Io`].
    pub fn digests_of(&self, chain_id: &ChainId) -> Result<Vec<Digest>, Error> {
        let mut digests = vec![chain_id.digest().clone()];
        let dir = self.root.join("trees");
        let failed = |source| Error::Io { path: dir.clone(), source };
        let stem = format!("{}.", stem(chain_id.digest()));
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let is_tree = |name: &str| {
                let rest = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix("tree"));
                rest.is_some_and(|rest| !rest.ends_with("layer."))
            };
            if name.to_str().is_some_and(is_tree)
                && let Some(tree) = open_tree(&entry.path())?
            {
                let parts = |l: &tree::Layer| [l.diff_id.digest().clone(), l.blob.clone()];
                digests.extend(tree.layers().iter().flat_map(parts));
            }
        }
        Ok(digests)
    }
}
