use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::compress::{BlobSpans, SpanCache, SpanReader, SpanSource, SpanTable};
use crate::content::cache::{CachedLayer, Ingest, LayerCache};
use crate::content::{Descriptor, Provider};
use crate::digest::{Algorithm, ChainId, DiffId, Digest, Hasher};
use crate::image::{self, Image};
use crate::io::{CountingReader, ReadAt};
use crate::layer::{
    BuildError, FormatError, Identity, IndexStore, LayerIndex, Origin, StoredTable, WindowsApart,
};
use crate::tree::{self, Tree};

use super::artifact::WINDOWS;
use super::build::{self, Progress};
use super::discover::{Discovery, Found, Known};
use super::fallback::{Fallback, Parts};
use super::lazy::{Explained, Lazy};
use super::{Chain, Error, Layer, Trust};

/// The most decoded bytes that are kept in memory for all layers together.
const MEMORY_CACHE: u64 = 24 << 20;

/// Of how many inodes of a layer it is looked up where their data are.
const MAX_FILES: u32 = 1 << 18;

/// What reading an image takes: its tree, and each layer's own tree and span table.
struct Ready {
    tree: Tree,
    layers: Vec<(Tree, StoredTable)>,
    erofs: PathBuf,
    tag: Option<String>,
}

/// Decoded bytes, and where they are kept on disk, if they are.
pub(super) type Reader = (Arc<dyn ReadAt>, Option<Arc<CachedLayer>>);

/// The indexes, trees and caches of one state root.
pub struct Store {
    pub(super) root: PathBuf,
    pub(super) indexes: IndexStore,
    pub(super) known: Known,
    trust: Trust,
    pub(super) memory: Arc<SpanCache>,
    /// What the next layer is called in `memory`.
    number: AtomicU32,
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

    /// Whether nothing has to be read or made before `layer` of `image` can be read.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] where an index cannot be read.
    pub fn is_ready(&self, image: &Image, layer: &image::Layer) -> Result<bool, Error> {
        Ok(self.reading(image, layer)?.is_some())
    }

    /// The formats that may be used for `layer`.
    fn usable(&self, image: &Image, layer: &image::Layer) -> Vec<Origin> {
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
    fn first_usable(
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

    fn layer(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
        raw: Tree,
        index: StoredTable,
    ) -> Result<Layer, Error> {
        let origin = index.identity.origin.clone();
        let descriptor = &layer.descriptor;
        let digest = &descriptor.digest;
        let content = |source| Error::Content { digest: digest.clone(), source };
        let blob = Arc::new(CountingReader::new(provider.open(descriptor).map_err(content)?));
        let lazy = Lazy::of(&index.table);
        let (windows, apart) = match &index.apart {
            None => (index.windows, None),
            Some(apart) => self.windows_apart(provider, layer, apart, &index.table)?,
        };
        let spans = BlobSpans::new(index.table, windows, blob.clone());
        let (reader, cached): Reader = if lazy.is_lazy() && !provider.is_remote() {
            (self.in_memory(Arc::new(spans)), None)
        } else {
            self.cached(digest, Arc::new(spans))
        };
        let diff_id = layer.diff_id.clone();
        let raw = Arc::new(raw);
        if let Some(cached) = &cached {
            let raw = raw.clone();
            cached.set_files(Box::new(move || files(&raw)));
        }
        let descriptor = descriptor.clone();
        let fallback = (origin != Origin::Scan).then(|| {
            let parts = Parts {
                provider: provider.clone(),
                layer: layer.clone(),
                origin: origin.clone(),
                indexes: self.indexes.clone(),
                known: self.known.clone(),
                cache: self.cache().ok().filter(|_| provider.is_remote()).cloned(),
            };
            Fallback::new(parts, reader.clone())
        });
        let reader = fallback.clone().map_or(reader, |fallback| fallback);
        Ok(Layer {
            diff_id,
            descriptor,
            raw,
            reader,
            blob,
            lazy,
            origin,
            cached,
            windows: apart,
            fallback,
        })
    }

    /// The windows of `layer` that are in a blob beside the image, each group fetched and checked when
    /// it is needed.
    fn windows_apart(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
        apart: &WindowsApart,
        table: &SpanTable,
    ) -> Result<Reader, Error> {
        let digest = &layer.descriptor.digest;
        let descriptor = Descriptor::new(WINDOWS, apart.blob.clone(), table.windows_size);
        let blob = provider.open(&descriptor);
        let blob = blob.map_err(|source| Error::Content { digest: apart.blob.clone(), source })?;
        let broken = || FormatError::Invalid("windows apart");
        let pieces = apart.table(table).ok_or_else(broken);
        let pieces = pieces
            .map_err(|source| Error::Index { digest: digest.clone(), source: source.into() })?;
        let spans = BlobSpans::new(pieces, Arc::new(Vec::new()), blob);
        Ok(self.cached_windows(digest, Arc::new(spans)))
    }

    /// A layer through the cache in memory alone.
    pub(super) fn in_memory(&self, spans: Arc<dyn SpanSource>) -> Arc<dyn ReadAt> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Arc::new(SpanReader::new(spans, number, self.memory.clone()))
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

    /// The tree of a chain: by its chain ID, and by what it hangs on if that is not known to be right.
    pub(super) fn chain_path(&self, chain_id: &ChainId, tag: Option<&str>) -> PathBuf {
        self.tree_path(chain_id.digest(), tag, "tree")
    }

    /// Where EROFS images of trees are, for [`crate::erofs::probe`] to find out whether they can be
    /// mounted.
    pub fn erofs_dir(&self) -> PathBuf {
        self.root.join("trees")
    }

    fn erofs_path(&self, chain_id: &ChainId, tag: Option<&str>) -> PathBuf {
        self.tree_path(chain_id.digest(), tag, "erofs")
    }

    /// The tree of a layer alone, likewise.
    pub(super) fn layer_path(&self, diff_id: &DiffId, tag: Option<&str>) -> PathBuf {
        self.tree_path(diff_id.digest(), tag, "layer.tree")
    }

    fn tree_path(&self, digest: &Digest, tag: Option<&str>, extension: &str) -> PathBuf {
        let tag = tag.map_or_else(String::new, |tag| format!("{tag}."));
        self.root.join("trees").join(format!("{}.{tag}{extension}", stem(digest)))
    }
}

/// Where the data of each file of a layer are, as far as its first [`MAX_FILES`] inodes tell.
fn files(raw: &Tree) -> Vec<Range<u64>> {
    let inodes = raw.summary().inodes.min(MAX_FILES);
    let extents = (1..=inodes).filter_map(|ino| raw.extents(ino, 0).ok()).flatten().flatten();
    let range =
        |extent: tree::Extent| extent.layer_offset..extent.layer_offset.saturating_add(extent.len);
    extents.map(range).collect()
}

/// A digest as the start of a file name.
fn stem(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

/// Calls `list` only when the first of its items is wanted.
fn once<T>(list: impl FnOnce() -> Vec<T>) -> impl Iterator<Item = T> {
    std::iter::once_with(list).flatten()
}

/// What files of a chain have in their names, given what its layers' files have: `None` where every
/// layer is known to have its diffID, so that the chain ID says it all.
pub(super) fn chain_tag(tags: &[Option<String>]) -> Option<String> {
    if tags.iter().all(Option::is_none) {
        return None;
    }
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for tag in tags {
        hasher.update(tag.as_deref().unwrap_or("-").as_bytes());
        hasher.update(b"\n");
    }
    Some(hasher.finish().hex())
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

/// The tree in the file `path`; `None` where there is none that can be used.
pub(super) fn open_tree(path: &Path) -> Result<Option<Tree>, Error> {
    match Tree::open(path) {
        Ok(tree) => Ok(Some(tree)),
        Err(e) if e.needs_rebuild() => {
            tracing::warn!(path = %path.display(), error = %e, "tree is made again");
            Ok(None)
        }
        Err(tree::Error::Io { ref source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(source) => Err(Error::OpenTree { path: path.to_owned(), source }),
    }
}
