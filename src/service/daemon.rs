use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::Error;
use super::api::diff::diff_server::DiffServer;
use super::api::health::health_server::HealthServer;
use super::api::snapshots::snapshots_server::SnapshotsServer;
use super::containerd;
use super::counts::Counts;
use super::diff::DiffService;
use super::health::HealthService;
use super::hold;
use super::images::Images;
use super::keeper::{Held, Keeper, StartHolder};
use super::kubelet::{ImageService, PullSecrets};
use super::layers::{Layers, Parts};
use super::metrics::Metrics;
use super::reclaim::{Needed, Reclaim, Reclaimer};
use super::remote::Remote;
use super::slots::Slots;
use super::snapshots::SnapshotService;
use crate::chain::{Prefetch, Store};
use crate::content::registry::Client;
use crate::erofs::{Choice, Mode, Way};
use crate::snapshot::{self, Backend, Owner};

/// How long a daemon waits for the one before it to end.
const TURN: Duration = Duration::from_secs(30);

/// How long calls may go on after the daemon was asked to end.
const FINISH: Duration = Duration::from_secs(5);

/// The most bytes of a request; what containerd's own server takes.
const MAX_REQUEST: usize = 16 << 20;

/// How a daemon works.
#[derive(Clone)]
pub struct Options {
    /// The state root.
    pub root: PathBuf,
    /// The folder of what lives as long as the machine is up.
    pub run_root: PathBuf,
    /// The socket of containerd, whose content store has the layers that are applied.
    pub containerd: PathBuf,
    /// Keeps the secrets that the kubelet's pulls come with, whose image calls are then passed on to
    /// containerd; `None` where it asks containerd itself.
    pub pull_secrets: Option<Arc<PullSecrets>>,
    /// Where Prometheus finds metrics.
    pub metrics: Option<SocketAddr>,
    /// How long the Prepare of a remote layer may take before containerd has to unpack it.
    pub prepare_timeout: Duration,
    /// Whether a commit waits until all files are on disk.
    pub sync_on_commit: bool,
    /// Starts a holder where none is there; `None` where somebody else does.
    pub start_holder: Option<StartHolder>,
    /// What others than snapshots need.
    pub needed: Needed,
    /// Which way chains are shown.
    pub mode: Mode,
    /// What is fetched of a chain that is shown for the first time, before reads want it.
    pub prefetch: Prefetch,
}

/// The daemon behind containerd's proxy plugin.
pub struct Daemon {
    layers: Arc<Layers>,
    held: Held,
    backend: Arc<Backend>,
    reclaimer: Arc<Reclaimer>,
    reclaim: Reclaim,
    snapshots: SnapshotService,
    diff: DiffService,
    /// The socket of containerd, and what is kept of the kubelet's calls to it.
    kubelet: Option<(PathBuf, Arc<PullSecrets>)>,
    metrics: Option<Metrics>,
    counts: Arc<Counts>,
    /// Held as long as this process lives.
    _turn: File,
}

/// The folder that the daemon's mount is on.
fn mountpoint(run_root: &Path) -> PathBuf {
    run_root.join("layers")
}

/// The socket of the holder of a run folder.
pub fn holder_socket(run_root: &Path) -> PathBuf {
    run_root.join("hold.sock")
}

impl Daemon {
    /// Makes everything ready, from local state alone: no registry is asked. The mount of an
    /// earlier daemon is taken over, where a holder kept it.
    ///
    /// # Errors
    ///
    /// [`Error::Served`] where another daemon does not end; what the folders, the mount and the
    /// metadata store answer.
    pub fn start(options: &Options, store: Store, registries: Client) -> Result<Self, Error> {
        make_folder(&options.run_root)?;
        make_folder(&options.root)?;
        let turn = take_turn(&options.run_root)?;
        let (store, counts) = (Arc::new(store), Arc::new(Counts::default()));
        let images = Arc::new(Images::open(&options.root, registries)?);
        let (layers, held) = mount(options, &store, &images, &counts)?;
        let layers = Arc::new(layers);
        let backend_options =
            snapshot::Options { sync_on_commit: options.sync_on_commit, ..Default::default() };
        let backend = Backend::open(&options.root, layers.clone(), backend_options)?;
        let owned = backend.snapshotter(Owner::Containerd);
        let remote = Remote::new(
            owned.clone(),
            backend.clone(),
            store,
            images.clone(),
            options.prepare_timeout,
            counts.clone(),
        );
        let reclaim = Reclaim::default();
        let reclaimer = Arc::new(Reclaimer {
            backend: backend.clone(),
            snapshots: owned.clone(),
            images,
            needed: options.needed.clone(),
            counts: counts.clone(),
        });
        let metrics = |address| Metrics::open(address, counts.clone(), layers.clone());
        let metrics = options.metrics.map(metrics).transpose()?;
        let diff = DiffService { containerd: options.containerd.clone() };
        let kubelet = options.pull_secrets.clone();
        let kubelet = kubelet.map(|secrets| (options.containerd.clone(), secrets));
        let snapshots = SnapshotService::new(owned, Arc::new(remote), reclaim.clone());
        Ok(Self {
            layers,
            held,
            backend,
            reclaimer,
            reclaim,
            snapshots,
            diff,
            kubelet,
            metrics,
            counts,
            _turn: turn,
        })
    }

    /// Answers containerd on `listener` until `end`, or until the mount has ended. The mount stays,
    /// for the next daemon.
    ///
    /// # Errors
    ///
    /// [`Error::Serve`]; [`Error::Unmounted`].
    pub async fn serve(
        self,
        listener: UnixListener,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let failed = |reason: String| Error::Serve { reason };
        listener.set_nonblocking(true).map_err(|e| failed(e.to_string()))?;
        let listener = tokio::net::UnixListener::from_std(listener);
        let incoming = UnixListenerStream::new(listener.map_err(|e| failed(e.to_string()))?);
        if let Some(metrics) = self.metrics {
            tokio::spawn(metrics.run());
        }
        let reclaiming = tokio::spawn(self.reclaim.run(self.reclaimer));
        let (asked, ending) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            end.await;
            let _ = asked.send(true);
        });
        let snapshots = SnapshotsServer::new(self.snapshots);
        let kubelet = self.kubelet.map(|(containerd, secrets)| {
            ImageService::new(containerd::connect_lazily(&containerd), secrets)
        });
        let server = Server::builder()
            .add_service(snapshots.max_decoding_message_size(MAX_REQUEST))
            .add_service(DiffServer::new(self.diff))
            .add_service(HealthServer::new(HealthService))
            .add_optional_service(kubelet)
            .serve_with_incoming_shutdown(incoming, asked_to_end(ending.clone()));
        let overdue = async {
            asked_to_end(ending).await;
            tokio::time::sleep(FINISH).await;
        };
        let layers = self.layers.clone();
        let served = tokio::select! {
            served = server => served.map_err(|e| failed(e.to_string())),
            () = overdue => Ok(()),
            ended = tokio::task::spawn_blocking(move || unmounted(&layers)) => {
                Err(ended.unwrap_or(Error::Panicked { what: "watching the mount" }))
            }
        };
        reclaiming.abort();
        if served.is_ok() {
            // A holder that is just being restarted is waited for: the mount would end with this.
            let held = tokio::task::spawn_blocking(move || self.held.wait(FINISH));
            if !held.await.unwrap_or(false) {
                tracing::error!("no holder has the mount: containers have to be restarted");
            }
        }
        self.counts.log(self.layers.stats());
        self.layers.keep();
        let closed = snapshot::Snapshotter::close(&self.backend.snapshotter(Owner::Containerd));
        served.and(closed.map_err(Error::from))
    }
}

async fn asked_to_end(mut asked: tokio::sync::watch::Receiver<bool>) {
    // The sender goes only after it has said so, or with the runtime.
    let _ = asked.wait_for(|asked| *asked).await;
}

/// Waits until somebody has unmounted the layers.
fn unmounted(layers: &Layers) -> Error {
    loop {
        match layers.wait(Duration::from_secs(3600)) {
            Ok(false) => {}
            Ok(true) => return Error::Unmounted,
            Err(error) => return error,
        }
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(Error::io("create", path))
}

/// The file that a daemon has locked as long as it lives.
pub(super) fn turn_path(run_root: &Path) -> PathBuf {
    run_root.join("serve.lock")
}

/// Waits until the daemon before this one has ended.
fn take_turn(run_root: &Path) -> Result<File, Error> {
    let path = turn_path(run_root);
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    let deadline = Instant::now() + TURN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(Error::Served { run_root: run_root.to_owned() });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The mount of the daemon before, or a new one; a holder has it afterwards.
fn mount(
    options: &Options,
    store: &Arc<Store>,
    images: &Arc<Images>,
    counts: &Counts,
) -> Result<(Layers, Held), Error> {
    let socket = holder_socket(&options.run_root);
    let slots = options.run_root.join("slots.json");
    let path = mountpoint(&options.run_root);
    let choice = Choice::of(options.mode, &store.erofs_dir())?;
    tracing::info!(mode = choice.way.name(), why = %choice.why, "how layers are shown");
    let parts = || Parts {
        store: store.clone(),
        images: images.clone(),
        run_root: options.run_root.clone(),
        mode: match choice.way {
            Way::Erofs => Mode::Auto,
            Way::Fuse => Mode::Fuse,
        },
        prefetch: options.prefetch,
    };
    let layers = match take_over(&socket, &slots, parts()) {
        Ok(Some(layers)) => {
            counts.taken_over.add(1);
            tracing::info!(chains = layers.shown(), "took over the mount of the daemon before");
            layers
        }
        left => {
            if let Err(error) = left {
                tracing::warn!(%error, "the mount of the daemon before is not taken over");
            }
            make_folder_for_mount(&path)?;
            Layers::mount(&path, &slots, parts())?
        }
    };
    let held = Keeper { socket, start: options.start_holder.clone() }.keep(layers.handover()?);
    Ok((layers, held))
}

fn take_over(socket: &Path, slots: &Path, parts: Parts) -> Result<Option<Layers>, Error> {
    if !socket.exists() {
        return Ok(None);
    }
    let Some(handover) = hold::get(socket)? else { return Ok(None) };
    let Some(slots) = Slots::load(slots, handover.connection()) else {
        tracing::warn!("the mount of the daemon before was made by another version");
        return Ok(None);
    };
    Layers::take_over(handover, slots, parts).map(Some)
}

/// The folder may be a mount whose server is dead: then it is there, and must not be looked into.
fn make_folder_for_mount(path: &Path) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io("create", path)(e))
        }
        _ => Ok(()),
    }
}
