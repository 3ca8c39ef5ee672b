use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::compress::{BlobSpans, Codec, SpanCache, SpanReader, SpanTable};
use crate::content::cache::{Ingest, LayerCache};
use crate::content::{Descriptor, Provider};
use crate::digest::{ChainId, DiffId, Digest};
use crate::image::{self, Image};
use crate::io::{CountingReader, ReadAt};
use crate::layer::{BuildError, Identity, IndexStore, LayerIndex, StoredTable};
use crate::tree::{self, Tree};

use super::build::{self, Progress};
use super::{Chain, Error, Layer};

/// The most decoded bytes that are kept in memory for all layers together.
const MEMORY_CACHE: u64 = 24 << 20;

/// Above this many bytes from an access point, decoding again is too dear: what a pass decodes is
/// kept on disk.
const LONG_RUN: u64 = 8 << 20;

/// Whether a layer is read lazily, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lazy {
    /// It has no index yet; the first use makes one in one pass.
    NotIndexed,
    /// Any part can be decoded alone.
    Spans {
        /// How it is compressed.
        codec: Codec,
        /// Spans.
        spans: usize,
        /// Places where decoding can start.
        points: usize,
    },
    /// It is compressed in one piece: the first read decodes up to that place, and the decoded
    /// bytes are kept on disk.
    OnePiece {
        /// How it is compressed.
        codec: Codec,
        /// The longest stretch without a place to start, in uncompressed bytes.
        run: u64,
    },
}

impl Lazy {
    /// What `table` allows.
    fn of(table: &SpanTable) -> Self {
        let (codec, run) = (table.codec, table.longest_run());
        if run > LONG_RUN {
            return Lazy::OnePiece { codec, run };
        }
        Lazy::Spans { codec, spans: table.spans.len(), points: table.points.len() }
    }

    /// Whether nothing has to be read or made before parts can be read.
    pub fn is_ready(&self) -> bool {
        !matches!(self, Lazy::NotIndexed)
    }

    /// Whether a part is read without decoding much more than it.
    pub fn is_lazy(&self) -> bool {
        matches!(self, Lazy::Spans { .. })
    }
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Plain => "uncompressed",
        Codec::Gzip => "gzip",
        Codec::Zstd => "zstd",
    }
}

impl fmt::Display for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lazy::NotIndexed => f.write_str("not indexed yet; its first use makes the index"),
            Lazy::Spans { codec, spans, points } => {
                write!(f, "{}, {spans} spans from {points} access points", codec_name(*codec))
            }
            Lazy::OnePiece { codec, run } => write!(
                f,
                "{} without a place to start for {}; decoded bytes are kept on disk",
                codec_name(*codec),
                bytesize::ByteSize(*run).display().iec()
            ),
        }
    }
}

/// What reading an image takes: its tree, and each layer's own tree and span table.
struct Ready {
    tree: Tree,
    layers: Vec<(Tree, StoredTable)>,
}

/// The indexes, trees and caches of one state root.
pub struct Store {
    root: PathBuf,
    pub(super) indexes: IndexStore,
    memory: Arc<SpanCache>,
    disk: OnceLock<Arc<LayerCache>>,
}

impl Store {
    /// Opens the store in `root`; folders are made, for their owner only, where they are missing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn open(root: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        for dir in ["index", "trees", "cache"].map(|name| root.join(name)) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|source| Error::Io { path: dir.clone(), source })?;
        }
        let indexes = IndexStore::open(&root.join("index"));
        Ok(Self {
            root: root.to_owned(),
            indexes: indexes.map_err(|source| Error::IndexList { source })?,
            memory: Arc::new(SpanCache::new(MEMORY_CACHE)),
            disk: OnceLock::new(),
        })
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
        let mut layers = Vec::with_capacity(image.layers.len());
        let parts = image.layers.iter().zip(ready.layers);
        for (number, (layer, (raw, index))) in (0..).zip(parts) {
            layers.push(self.layer(provider, number, layer, raw, index)?);
        }
        let erofs = self.erofs_path(&chain_id);
        let cache = self.disk().ok().cloned();
        Ok(Chain { chain_id, tree: Arc::new(ready.tree), erofs, layers, cache })
    }

    /// Whether the layer of `descriptor` is read lazily, and why.
    ///
    /// # Errors
    ///
    /// [`Error::Layer`] where its index cannot be read.
    pub fn lazy(&self, descriptor: &Descriptor) -> Result<Lazy, Error> {
        let table = self.table(&descriptor.digest)?;
        Ok(table.map_or(Lazy::NotIndexed, |table| Lazy::of(&table.table)))
    }

    fn table(&self, digest: &Digest) -> Result<Option<StoredTable>, Error> {
        let loaded = self.indexes.load_table(digest);
        loaded.map_err(|source| Error::Index { digest: digest.clone(), source })
    }

    /// The span table of `layer`; `None` where it has no index that can be used for it.
    fn checked_table(&self, layer: &image::Layer) -> Result<Option<StoredTable>, Error> {
        let Some(stored) = self.table(&layer.descriptor.digest)? else { return Ok(None) };
        Ok(vouches(&stored.identity, layer)?.then_some(stored))
    }

    /// The whole index of `layer`; `None` where it has none that can be used for it.
    pub(super) fn checked_index(&self, layer: &image::Layer) -> Result<Option<LayerIndex>, Error> {
        let digest = &layer.descriptor.digest;
        let loaded = self.indexes.load(digest);
        let found = loaded.map_err(|source| Error::Index { digest: digest.clone(), source })?;
        let Some(index) = found else { return Ok(None) };
        Ok(vouches(&index.identity, layer)?.then_some(index))
    }

    fn layer(
        &self,
        provider: &Arc<dyn Provider>,
        number: u32,
        layer: &image::Layer,
        raw: Tree,
        index: StoredTable,
    ) -> Result<Layer, Error> {
        let descriptor = &layer.descriptor;
        let digest = &descriptor.digest;
        let content = |source| Error::Content { digest: digest.clone(), source };
        let blob = Arc::new(CountingReader::new(provider.open(descriptor).map_err(content)?));
        let lazy = Lazy::of(&index.table);
        let spans = BlobSpans::new(index.table, index.windows, blob.clone());
        let (reader, cached): (Arc<dyn ReadAt>, _) = if lazy.is_lazy() && !provider.is_remote() {
            (Arc::new(SpanReader::new(spans, number, self.memory.clone())), None)
        } else {
            let cached = self.disk()?.layer(digest, Arc::new(spans));
            let cached =
                cached.map_err(|source| Error::Io { path: self.root.join("cache"), source })?;
            (cached.clone(), Some(cached))
        };
        let diff_id = layer.diff_id.clone();
        let raw = Arc::new(raw);
        Ok(Layer { diff_id, descriptor: descriptor.clone(), raw, reader, blob, lazy, cached })
    }

    /// Begins to keep the layer of `digest` while it is being indexed; `None` where there is no
    /// room for anything.
    pub(super) fn ingest(&self, digest: &Digest) -> Result<Option<Ingest>, Error> {
        match self.disk()?.ingest(digest) {
            Ok(ingest) => Ok(Some(ingest)),
            Err(error) => {
                tracing::warn!(%digest, %error, "span cache: the layer is not kept");
                Ok(None)
            }
        }
    }

    /// The cache on disk, opened when it is first needed.
    fn disk(&self) -> Result<&Arc<LayerCache>, Error> {
        if let Some(cache) = self.disk.get() {
            return Ok(cache);
        }
        let dir = self.root.join("cache");
        let failed = |source| Error::Io { path: dir.clone(), source };
        let limit = LayerCache::default_limit(&dir).map_err(failed)?;
        let cache = LayerCache::open(&dir, limit, None).map_err(failed)?;
        Ok(self.disk.get_or_init(|| cache))
    }

    fn make_ready(
        &self,
        provider: &Arc<dyn Provider>,
        image: &Image,
        progress: &dyn Progress,
    ) -> Result<Ready, Error> {
        let chain_id = image.chain_id().ok_or(Error::NoLayers)?;
        if let Some(ready) = self.ready(image, chain_id)? {
            return Ok(ready);
        }
        build::indexes(self, provider, image, progress)?;
        build::trees(self, image)?;
        self.ready(image, chain_id)?.ok_or_else(|| Error::Gone { chain_id: chain_id.clone() })
    }

    /// What reading `image` takes, where all of it is there and whole.
    fn ready(&self, image: &Image, chain_id: &ChainId) -> Result<Option<Ready>, Error> {
        let Some(tree) = open_tree(&self.chain_path(chain_id))? else { return Ok(None) };
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let raw = open_tree(&self.layer_path(&layer.diff_id))?;
            let table = self.checked_table(layer)?;
            let (Some(raw), Some(table)) = (raw, table) else { return Ok(None) };
            layers.push((raw, table));
        }
        Ok(Some(Ready { tree, layers }))
    }

    /// The indexes that are here, and their sizes in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn indexes(&self) -> Result<Vec<(Digest, u64)>, Error> {
        let dir = self.root.join("index");
        let listed = self.indexes.list();
        let digests = listed.map_err(|source| Error::IndexList { source })?;
        let mut found = Vec::with_capacity(digests.len());
        for digest in digests {
            let size = fs::metadata(self.indexes.path(&digest)).map(|m| m.len());
            let size = size.map_err(|source| Error::Io { path: dir.clone(), source })?;
            found.push((digest, size));
        }
        found.sort();
        Ok(found)
    }

    /// Everything that the tree of `chain_id` is made of: that chain ID, its layers' diffIDs and
    /// their blobs. The chain ID alone where its tree is not here.
    ///
    /// # Errors
    ///
    /// [`Error::OpenTree`].
    pub fn digests_of(&self, chain_id: &ChainId) -> Result<Vec<Digest>, Error> {
        let mut digests = vec![chain_id.digest().clone()];
        if let Some(tree) = open_tree(&self.chain_path(chain_id))? {
            let parts = |layer: &tree::Layer| [layer.diff_id.digest().clone(), layer.blob.clone()];
            digests.extend(tree.layers().iter().flat_map(parts));
        }
        Ok(digests)
    }

    pub(super) fn chain_path(&self, chain_id: &ChainId) -> PathBuf {
        self.tree_path(chain_id.digest(), "tree")
    }

    /// Where EROFS images of trees are, for [`crate::erofs::probe`] to find out whether they can be
    /// mounted.
    pub fn erofs_dir(&self) -> PathBuf {
        self.root.join("trees")
    }

    fn erofs_path(&self, chain_id: &ChainId) -> PathBuf {
        self.tree_path(chain_id.digest(), "erofs")
    }

    pub(super) fn layer_path(&self, diff_id: &DiffId) -> PathBuf {
        self.tree_path(diff_id.digest(), "layer.tree")
    }

    fn tree_path(&self, digest: &Digest, extension: &str) -> PathBuf {
        let name = format!("{}-{}.{extension}", digest.algorithm().name(), digest.hex());
        self.root.join("trees").join(name)
    }
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
