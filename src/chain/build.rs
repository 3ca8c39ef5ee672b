use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use crate::content::Provider;
use crate::content::cache::Ingest;
use crate::digest::{DiffId, Digest};
use crate::image::{self, Image};
use crate::layer::{self, BuildOptions, Expected, LayerIndex, Toc};
use crate::tree::{self, Tree, follow, merge, raw};

use super::discover::{Discovery, Found};
use super::tree_files::{chain_tag, open_tree};
use super::{Error, Store};

/// Shows how far the indexing of layers is.
pub trait Progress: Send + Sync {
    /// A layer of `total` blob bytes begins; what is returned is told how many are done.
    fn layer(&self, label: &str, total: u64) -> Box<dyn Fn(u64) + Send + Sync>;
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn layer(&self, _label: &str, _total: u64) -> Box<dyn Fn(u64) + Send + Sync> {
        Box::new(|_| {})
    }
}

/// How many layers are asked at once what formats they have: all of it is waiting for answers.
const DISCOVERIES: usize = 8;
/// How many trees are written at once.
const TREES: usize = 8;

/// Makes every layer of `image` readable that is not: by a format that it comes with, or else by a
/// pass over all of it. Several at once.
pub(super) fn indexes(
    store: &Store,
    provider: &Arc<dyn Provider>,
    image: &Image,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let discovery = Discovery::new(provider, image, store.trust(), false);
    let rest: Mutex<Vec<&image::Layer>> = Mutex::default();
    let todo = unread(store, image)?;
    in_parallel(&todo, DISCOVERIES, |layer| {
        let (found, refused) = discovery.layer(layer);
        for refused in refused {
            let digest = &layer.descriptor.digest;
            tracing::warn!(%digest, "not read lazily by its format: {refused}");
        }
        let digest = &layer.descriptor.digest;
        let is_refused =
            |found: &Found| store.known.is_refused(digest, &found.index.identity.origin);
        match found.filter(|found| !is_refused(found)) {
            Some(found) => {
                let (digest, format) = (&layer.descriptor.digest, &found.index.identity.origin);
                tracing::debug!(%digest, %format, "layer is read by its format");
                store.keep(&found)?;
            }
            None => rest.lock().push(layer),
        }
        Ok(())
    })?;
    scan_all(store, provider, rest.into_inner(), progress)
}

/// Passes over each of `layers`, several at once.
pub(super) fn scan_all(
    store: &Store,
    provider: &Arc<dyn Provider>,
    mut layers: Vec<&image::Layer>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    // The largest first, so that no thread is left alone with one at the end.
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.descriptor.size));
    let threads = thread::available_parallelism().map_or(2, usize::from);
    in_parallel(&layers, threads, |layer| index(store, provider, layer, progress))
}

/// The layers of `image` that nothing here tells how to read, each once.
fn unread<'a>(store: &Store, image: &'a Image) -> Result<Vec<&'a image::Layer>, Error> {
    let mut todo: Vec<&image::Layer> = Vec::new();
    for layer in &image.layers {
        let digest = &layer.descriptor.digest;
        let is_new = todo.iter().all(|other| other.descriptor.digest != *digest);
        // All of the index is needed now, not only what reading content takes.
        let is_read = || match store.reading(image, layer)? {
            Some((origin, _)) => Ok(store.checked_index(layer, &origin)?.is_some()),
            None => Ok(false),
        };
        if is_new && !is_read()? {
            todo.push(layer);
        }
    }
    Ok(todo)
}

/// Calls `act` on each of `layers` by at most `threads` threads, until one fails.
fn in_parallel<'a>(
    layers: &[&'a image::Layer],
    threads: usize,
    act: impl Fn(&'a image::Layer) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.lock().is_some() {
                return;
            }
            if let Err(e) = act(layer) {
                failed.lock().get_or_insert(e);
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(layers.len()) {
            scope.spawn(work);
        }
        work();
    });
    failed.into_inner().map_or(Ok(()), Err)
}

fn index(
    store: &Store,
    provider: &Arc<dyn Provider>,
    layer: &image::Layer,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let descriptor = &layer.descriptor;
    let digest = &descriptor.digest;
    // What came over a network is kept as it passes by; what is here can be decoded again.
    let ingest = if provider.is_remote() { store.ingest(digest)? } else { None };
    let bar = progress.layer(&digest.short(), descriptor.size);
    let index = pass(provider, layer, ingest, &mut |n| bar(n))?;
    let saved = store.indexes.save(&index);
    saved.map_err(|source| Error::Index { digest: digest.clone(), source })
}

/// Passes over `layer` from front to back, which gives its index; what comes by is taken in by
/// `ingest`, and `progress` told how many bytes of the blob are done.
pub(super) fn pass(
    provider: &Arc<dyn Provider>,
    layer: &image::Layer,
    mut ingest: Option<Ingest>,
    progress: &mut dyn FnMut(u64),
) -> Result<LayerIndex, Error> {
    let descriptor = &layer.descriptor;
    let digest = &descriptor.digest;
    tracing::debug!(%digest, "layer is read from front to back");
    let content = |source| Error::Content { digest: digest.clone(), source };
    let blob = provider.open_sequential(descriptor).map_err(content)?;
    let expected = Expected {
        digest: digest.clone(),
        size: descriptor.size,
        diff_id: layer.diff_id.clone(),
        media_type: descriptor.media_type.clone(),
    };
    let options = BuildOptions::default();
    let mut tee = |bytes: &[u8]| ingest.iter_mut().for_each(|ingest| ingest.write(bytes));
    let index = layer::build_index(&*blob, &expected, &options, progress, &mut tee);
    let index = index.map_err(Error::Layer)?;
    if let Some(ingest) = ingest
        && let Err(error) = ingest.finish(&index.table)
    {
        tracing::warn!(%digest, %error, "span cache: the layer is not kept");
    }
    Ok(index)
}

/// A layer whose own tree is there.
struct Made {
    toc: Toc,
    name: tree::Layer,
    tag: Option<String>,
}

/// Writes the tree of `layer` alone, where it is missing.
fn layer_tree(store: &Store, image: &Image, layer: &image::Layer) -> Result<Made, Error> {
    let digest = &layer.descriptor.digest;
    let gone = || Error::Gone { chain_id: layer.chain_id.clone() };
    let (origin, _) = store.reading(image, layer)?.ok_or_else(gone)?;
    let index = store.checked_index(layer, &origin)?.ok_or_else(gone)?;
    let name = tree::Layer { diff_id: layer.diff_id.clone(), blob: digest.clone() };
    let tag = origin.tag(digest);
    let path = store.layer_path(&layer.diff_id, tag.as_deref());
    if open_tree(&path)?.is_none() {
        let write = |toc| Tree::write(&raw(toc)?, std::slice::from_ref(&name), &path);
        write(&index.toc).map_err(|source| Error::OpenTree { path: path.clone(), source })?;
    }
    Ok(Made { toc: index.toc, name, tag })
}

/// Writes the merged tree of `image` and the trees of its layers, where they are missing.
pub(super) fn trees(store: &Store, image: &Image) -> Result<(), Error> {
    let made: Mutex<HashMap<(&Digest, &DiffId), Made>> = Mutex::default();
    // Several at once: most of it is waiting for the disk.
    in_parallel(&image.layers.iter().collect::<Vec<_>>(), TREES, |layer| {
        let tree = layer_tree(store, image, layer)?;
        made.lock().insert((&layer.descriptor.digest, &layer.diff_id), tree);
        Ok(())
    })?;
    let made = made.into_inner();
    let (mut tocs, mut names, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    for layer in &image.layers {
        let gone = || Error::Gone { chain_id: layer.chain_id.clone() };
        let key = (&layer.descriptor.digest, &layer.diff_id);
        let made = made.get(&key).ok_or_else(gone)?;
        tocs.push(&made.toc);
        names.push(made.name.clone());
        tags.push(made.tag.clone());
    }
    let chain_id = image.chain_id().ok_or(Error::NoLayers)?;
    let failed = |source| Error::Tree { chain_id: chain_id.clone(), source };
    let tocs = follow(&tocs).map_err(failed)?;
    let merged = merge(&tocs.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(failed)?;
    let path = store.chain_path(chain_id, chain_tag(&tags).as_deref());
    Tree::write(&merged, &names, &path).map_err(failed)
}
