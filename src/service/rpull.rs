//! Registers an image in containerd without its layers, which the plugin shows: what an unpacking
//! client of containerd does, for clients that do not ask for remote snapshots themselves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Error;
use super::containerd::{Asked, Containerd, ContentStore};
use super::labels;
use crate::content::registry::{Client, Reference};
use crate::content::{Descriptor, Platform, Provider};
use crate::error::{Classify as _, Kind};
use crate::image::{self, Cancel, Handler as _, Image, Layer, child_labels, way_to};
use crate::snapshot::{LABEL_REF, Labels};

/// How long containerd keeps what was registered while the image is not complete.
const LEASE: Duration = Duration::from_secs(24 * 3600);

/// How often it is asked for a layer that is said to be there and is not (containerd's unpacker).
const TRIES: usize = 3;

/// How long the plugin may be away, and how often it is looked for: while it is restarted, containerd
/// answers for it that it is unavailable, and for some seconds after that.
const AWAY: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Where to register.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The socket of containerd.
    pub containerd: PathBuf,
    /// Its namespace.
    pub namespace: String,
    /// What the plugin is called in its configuration.
    pub snapshotter: String,
    /// The platform of the image; `None` for this machine's.
    pub platform: Option<Platform>,
}

/// A registered image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Pulled {
    /// Its name in containerd.
    pub name: String,
    /// The digest of its manifest or index.
    pub digest: String,
    /// The version of containerd.
    pub containerd: String,
    /// Its layers, bottom first.
    pub layers: Vec<PulledLayer>,
}

/// A layer of a registered image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PulledLayer {
    /// Its blob.
    pub digest: String,
    /// The bytes of its blob.
    pub size: u64,
    /// Whether it is shown without having been unpacked.
    pub lazy: bool,
}

/// What is to be registered.
struct Wanted {
    reference: Reference,
    name: String,
    provider: Arc<dyn Provider>,
    /// From what the reference names down to the manifest.
    documents: Vec<(Descriptor, Vec<u8>)>,
    image: Image,
}

/// Registers the image that `reference` names, so that `ctr run` starts it at once. `told` is told
/// of each layer.
///
/// # Errors
///
/// What the registry and containerd answer; a half-registered image is collected by containerd.
pub async fn rpull(
    reference: &Reference,
    registries: &Client,
    options: &PullOptions,
    mut told: impl FnMut(&PulledLayer) + Send,
) -> Result<Pulled, Error> {
    let found = {
        let (reference, registries) = (reference.clone(), registries.clone());
        let platform = options.platform.clone();
        tokio::task::spawn_blocking(move || find(reference, &registries, platform.as_ref()))
    };
    let panicked = |_| Err(Error::Panicked { what: "resolving the image" });
    let wanted = found.await.unwrap_or_else(panicked)?;
    let client = Containerd::connect(&options.containerd, &options.namespace).await?;
    let containerd = client.version().await?;
    let client = client.leased(LEASE).await?;
    let layers = register(&client, &wanted, options, &mut told).await;
    let ended = client.end_lease().await;
    let layers = layers?;
    ended?;
    let root = wanted.documents.first().map(|(descriptor, _)| descriptor.digest.to_string());
    Ok(Pulled { name: wanted.name, digest: root.unwrap_or_default(), containerd, layers })
}

fn find(
    reference: Reference,
    registries: &Client,
    platform: Option<&Platform>,
) -> Result<Wanted, Error> {
    let repository = registries.repository(&reference)?;
    let root = repository.resolve()?;
    let image = image::resolve(&repository, &root, platform)?;
    if image.layers.is_empty() {
        return Err(Error::NoLayers { reference: reference.to_string() });
    }
    let way = way_to(&repository, std::slice::from_ref(&root), &image.descriptor.digest)?;
    let read = |document: Descriptor| -> Result<_, Error> {
        let data = repository.read(&document)?;
        Ok((document, data))
    };
    let documents = way.unwrap_or_default().into_iter().map(read).collect::<Result<_, _>>()?;
    let name = match reference.tag() {
        Some("latest") if !reference.to_string().ends_with(":latest") => {
            format!("{reference}:latest")
        }
        _ => reference.to_string(),
    };
    Ok(Wanted { reference, name, provider: Arc::new(repository), documents, image })
}

async fn register(
    client: &Containerd,
    wanted: &Wanted,
    options: &PullOptions,
    told: &mut (impl FnMut(&PulledLayer) + Send),
) -> Result<Vec<PulledLayer>, Error> {
    let source = source_label(&wanted.reference);
    for (place, (descriptor, data)) in wanted.documents.iter().enumerate() {
        let mut labels = Labels::from([source.clone()]);
        // Of an index, what is not for this platform is not there and not waited for.
        labels.extend(match wanted.documents.get(place + 1) {
            Some((next, _)) => child_labels(std::slice::from_ref(next)),
            None => child_labels(&wanted.image.manifest.children()),
        });
        client.write(descriptor, data, &labels).await?;
    }
    let config = &wanted.image.manifest.config;
    let labels = config_labels(&wanted.image, &options.snapshotter, source);
    client.write(config, &wanted.image.config.raw, &labels).await?;
    let mut layers = Vec::with_capacity(wanted.image.layers.len());
    for place in 0..wanted.image.layers.len() {
        let layer = layer(client, wanted, place, &options.snapshotter).await?;
        told(&layer);
        layers.push(layer);
    }
    if let Some((root, _)) = wanted.documents.first() {
        client.set_image(&wanted.name, root).await?;
    }
    Ok(layers)
}

/// The label that says where content can be fetched from again.
fn source_label(reference: &Reference) -> (String, String) {
    let label = format!("containerd.io/distribution.source.{}", reference.host());
    (label, reference.repository().to_owned())
}

/// The configuration keeps the snapshots: the top one needs those below it, but while it is not
/// there yet each has to be named.
fn config_labels(image: &Image, snapshotter: &str, source: (String, String)) -> Labels {
    let mut labels = Labels::from([source]);
    let label = format!("containerd.io/gc.ref.snapshot.{snapshotter}");
    for (place, layer) in image.layers.iter().enumerate() {
        labels.insert(format!("{label}/{place}"), layer.chain_id.to_string());
    }
    if let Some(top) = image.chain_id() {
        labels.insert(label, top.to_string());
    }
    labels
}

/// Has one layer shown, or unpacked where it cannot be.
async fn layer(
    client: &Containerd,
    wanted: &Wanted,
    place: usize,
    snapshotter: &str,
) -> Result<PulledLayer, Error> {
    let layers = &wanted.image.layers;
    let layer = &layers[place];
    let chain = layer.chain_id.to_string();
    let pulled = |lazy| PulledLayer {
        digest: layer.descriptor.digest.to_string(),
        size: layer.descriptor.size,
        lazy,
    };
    if patiently(|| client.has_snapshot(snapshotter, &chain)).await? {
        return Ok(pulled(true));
    }
    let below = place.checked_sub(1).map(|below| layers[below].chain_id.to_string());
    let manifest = &wanted.image.descriptor.digest;
    let mut labels = labels::of_layer(&wanted.reference, manifest, &layers[place..]);
    labels.insert(LABEL_REF.to_owned(), chain.clone());
    let parent = below.unwrap_or_default();
    for attempt in 0..TRIES {
        let key = key(attempt, &chain);
        match patiently(|| client.prepare(snapshotter, &key, &parent, &labels)).await? {
            Asked::Remote if patiently(|| client.has_snapshot(snapshotter, &chain)).await? => {
                return Ok(pulled(true));
            }
            Asked::Remote => {}
            Asked::Local(mounts) => {
                let unpacked = unpack(client, wanted, layer, mounts).await;
                if let Err(error) = unpacked {
                    client.remove(snapshotter, &key).await?;
                    return Err(error);
                }
                client.commit(snapshotter, &chain, &key, &labels).await?;
                return Ok(pulled(false));
            }
        }
    }
    Err(crate::snapshot::Error::NotFound { key: chain }.into())
}

/// Asks until the plugin is there, for at most [`AWAY`]. What it did before it went is seen in a later
/// answer: a key that is taken, or a snapshot that is there.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + AWAY;
    loop {
        match ask().await {
            Err(error) if error.kind() == Kind::Unavailable && Instant::now() < end => {
                tracing::debug!(%error, "asking again");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// A key that nobody else uses (containerd's `UnpackKeyFormat`).
fn key(attempt: usize, chain: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("extract-{}-{}{attempt} {chain}", now.as_nanos(), std::process::id())
}

/// Downloads a layer into containerd and has it unpacked.
async fn unpack(
    client: &Containerd,
    wanted: &Wanted,
    layer: &Layer,
    mounts: Vec<super::api::types::Mount>,
) -> Result<(), Error> {
    let digest = &layer.descriptor.digest;
    let (provider, descriptor) = (wanted.provider.clone(), layer.descriptor.clone());
    let labels = Labels::from([source_label(&wanted.reference)]);
    let runtime = tokio::runtime::Handle::current();
    let store = ContentStore::new(client.clone(), labels, runtime);
    let copied = tokio::task::spawn_blocking(move || {
        let fetch = image::fetch_handler(&*provider, &store, &|_, _| {});
        fetch.handle(&descriptor, &Cancel::new()).map(drop).map_err(Error::from)
    });
    let panicked = |_| Err(Error::Panicked { what: "downloading a layer" });
    copied.await.unwrap_or_else(panicked)?;
    let found = client.apply(&layer.descriptor, mounts).await?;
    if found == layer.diff_id.to_string() {
        return Ok(());
    }
    let expected = layer.diff_id.digest().clone();
    Err(Error::DiffId { digest: digest.clone(), expected, found })
}
