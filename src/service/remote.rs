//! Remote snapshots: layers that are here before they are downloaded.
//!
//! containerd asks for an active snapshot to unpack a layer into, and says by labels which layer it
//! will be. Where the layer can be shown lazily, a committed snapshot of it is made, with the parent
//! and all labels of the request, and the answer is "already exists" (containerd's
//! `docs/remote-snapshotter.md`). Everything else, also every fault, is a plain Prepare: containerd
//! then downloads and unpacks the layer itself.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::Error;
use super::counts::Counts;
use super::images::{Found, Images};
use super::jobs::{Job, Jobs};
use super::labels::Origin;
use crate::chain::{Quiet, Store};
use crate::digest::{ChainId, Digest};
use crate::error::{Classify, Kind};
use crate::image::Layer;
use crate::snapshot::{
    Backend, Filter, Info, LABEL_REF, Labels, LazyLayer, OverlaySnapshotter, Snapshotter, Usage,
};

/// How long the files of a layer are kept while its snapshot is being made.
const LEASE: Duration = Duration::from_secs(3600);

/// How many chains may have their snapshots made at the same time.
const TURNS: usize = 64;

/// What became of the request for a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Prepared {
    /// There is a committed snapshot of it.
    Committed {
        /// The chain that it holds.
        chain: ChainId,
    },
    /// An active snapshot has to be prepared.
    NotRemote,
}

/// Makes committed snapshots of layers that are not downloaded.
pub(super) struct Remote {
    maker: Arc<Maker>,
    jobs: Jobs,
    /// Who makes a snapshot of a chain, by its digest: the others find it made, and do not write.
    turns: [Mutex<()>; TURNS],
    timeout: Duration,
    counts: Arc<Counts>,
}

/// What making a snapshot takes, on a thread that may wait.
struct Maker {
    snapshots: OverlaySnapshotter,
    backend: Arc<Backend>,
    store: Arc<Store>,
    images: Arc<Images>,
}

/// One request.
#[derive(Clone)]
struct Wanted {
    chain: ChainId,
    parent: Option<String>,
    labels: Labels,
}

impl Remote {
    pub(super) fn new(
        snapshots: OverlaySnapshotter,
        backend: Arc<Backend>,
        store: Arc<Store>,
        images: Arc<Images>,
        timeout: Duration,
        counts: Arc<Counts>,
    ) -> Self {
        let jobs = Jobs::new(backend.clone(), store.clone(), images.clone());
        let maker = Arc::new(Maker { snapshots, backend, store, images });
        let turns = std::array::from_fn(|_| Mutex::new(()));
        Self { maker, jobs, turns, timeout, counts }
    }

    /// Makes a committed snapshot of the layer that `labels` name, where it can be shown lazily.
    pub(super) async fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Prepared {
        // What is no chain ID is somebody else's label.
        let Some(chain) = labels.get(LABEL_REF).and_then(|text| text.parse().ok()) else {
            return Prepared::NotRemote;
        };
        let parent = parent.map(str::to_owned);
        let wanted = Wanted { chain, parent, labels: labels.clone() };
        match self.try_prepare(&wanted).await {
            Ok(true) => {
                self.counts.remote.add(1);
                Prepared::Committed { chain: wanted.chain }
            }
            Ok(false) => Prepared::NotRemote,
            Err(error) => {
                self.counts.fallbacks.add(1);
                let chain = &wanted.chain;
                tracing::warn!(%chain, key, %error, "not lazy: containerd has to unpack the layer");
                Prepared::NotRemote
            }
        }
    }

    /// Whether there is a committed snapshot of the layer now.
    async fn try_prepare(&self, wanted: &Wanted) -> Result<bool, Error> {
        let Some(origin) = Origin::of(&wanted.labels)? else { return Ok(false) };
        let (maker, asked) = (self.maker.clone(), wanted.clone());
        if blocking(move || maker.exists(&asked)).await? {
            return Ok(true);
        }
        let reference = &origin.reference;
        let image = (reference.clone(), origin.soci_index.clone());
        let job = tokio::time::timeout(self.timeout, self.jobs.image(&image)).await;
        let overdue = |_| Error::Overdue { reference: reference.to_string(), after: self.timeout };
        let job = job.map_err(overdue)?.map_err(Error::Job)?;
        let _turn = self.turn(&wanted.chain).lock().await;
        let (maker, asked) = (self.maker.clone(), wanted.clone());
        let make = move || {
            if maker.exists(&asked)? { Ok(()) } else { maker.make(&job, &asked, &origin) }
        };
        blocking(make).await?;
        Ok(true)
    }

    fn turn(&self, chain: &ChainId) -> &Mutex<()> {
        let first = chain.digest().as_bytes().first().copied().unwrap_or_default();
        &self.turns[usize::from(first) % TURNS]
    }
}

/// Runs `f`, which may take a while, on a thread for that.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let panicked = |_| Err(Error::Panicked { what: "preparing a layer" });
    tokio::task::spawn_blocking(f).await.unwrap_or_else(panicked)
}

impl Maker {
    /// Whether there is a snapshot that containerd will find: committed, of this chain, on this
    /// parent.
    fn exists(&self, wanted: &Wanted) -> Result<bool, Error> {
        let filter = format!("kind==committed,labels.{LABEL_REF:?}=={}", wanted.chain);
        let filter = Filter::parse(&[filter]).map_err(crate::snapshot::Error::from)?;
        let mut found = false;
        self.snapshots.walk(&filter, &mut |info| {
            found = info.parent == wanted.parent;
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    fn make(&self, job: &Job, wanted: &Wanted, origin: &Origin) -> Result<(), Error> {
        let found = &job.found;
        let layer = layer_of(found, &wanted.chain, origin)?;
        let lease = self.backend.lease(LEASE)?;
        let image = found.image.prefix(&wanted.chain).unwrap_or_else(|| found.image.clone());
        let names = |l: &Layer| (l.diff_id.clone(), l.descriptor.digest.clone());
        lease.record(&image.layers.iter().map(names).collect::<Vec<_>>())?;
        // Another layer's fault is not this one's; and what was ready may be collected by now.
        if job.ready.is_err() || !self.store.is_ready(&image, layer)? {
            self.store.prepare(&found.provider, &image, &Quiet)?;
        }
        self.images.remember_while(found, &wanted.chain, || self.commit(wanted, layer))
    }

    fn commit(&self, wanted: &Wanted, layer: &Layer) -> Result<(), Error> {
        let lazy = LazyLayer {
            chain: wanted.chain.clone(),
            diff_id: layer.diff_id.clone(),
            usage: Usage::default(),
        };
        let parent = wanted.parent.as_deref();
        for name in names(wanted) {
            match self.snapshots.commit_lazy(&name, parent, &wanted.labels, &lazy) {
                Err(e) if e.kind() == Kind::AlreadyExists => {
                    // By another client, for the same; else the name is of one on another parent.
                    if self.is_wanted(&self.snapshots.stat(&name)?, wanted) {
                        return Ok(());
                    }
                }
                other => return Ok(other?),
            }
        }
        Err(crate::snapshot::Error::Exists { key: wanted.chain.to_string() }.into())
    }

    fn is_wanted(&self, info: &Info, wanted: &Wanted) -> bool {
        let chain = wanted.chain.to_string();
        info.parent == wanted.parent && info.labels.get(LABEL_REF) == Some(&chain)
    }
}

/// What the snapshot may be called: containerd takes any name. Its own hold slashes and numbers,
/// never two slashes at the end.
fn names(wanted: &Wanted) -> [String; 2] {
    let parent = wanted.parent.as_deref().unwrap_or_default();
    let parent = Digest::sha256(parent.as_bytes());
    [format!("remote/{}", wanted.chain), format!("remote/{}/{}", wanted.chain, parent.hex())]
}

fn layer_of<'a>(found: &'a Found, chain: &ChainId, origin: &Origin) -> Result<&'a Layer, Error> {
    let reference = || found.reference.to_string();
    let layer = found.image.layers.iter().find(|layer| layer.chain_id == *chain);
    let layer =
        layer.ok_or_else(|| Error::NotInImage { reference: reference(), chain: chain.clone() })?;
    match &origin.layer {
        Some(blob) if *blob != layer.descriptor.digest => Err(Error::OtherBlob {
            reference: reference(),
            chain: chain.clone(),
            expected: blob.clone(),
            found: layer.descriptor.digest.clone(),
        }),
        _ => Ok(layer),
    }
}
