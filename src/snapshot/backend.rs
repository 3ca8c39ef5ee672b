use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::folders::Folders;
use super::overlay;
use super::overlay_snapshotter::OverlaySnapshotter;
use super::store::{self, Id, Level, Pool};
use super::trash::{self, Collector};
use super::{Error, LayerError, LayerMounter, Owner};
use crate::digest::ChainId;
use crate::error::{Classify, Kind as ErrorKind};

/// How a [`Backend`] works.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a call may wait for other processes that change the metadata store.
    pub deadline: Duration,
    /// Whether a commit waits until the files of the snapshot are on disk, so that a power cut
    /// after it cannot leave a committed snapshot with holes.
    pub sync_on_commit: bool,
    /// Whether removed snapshots are deleted by a thread at once; else by the next cleanup.
    pub delete_in_background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), sync_on_commit: true, delete_in_background: true }
    }
}

/// The snapshots of one state root, for all owners.
///
/// Several backends may be open on one root, in several processes. What takes long (counting,
/// deleting, syncing, showing layers) is done outside of the store's transactions; within a write
/// transaction folders are made, which readers do not wait for.
pub struct Backend {
    pub(super) folders: Arc<Folders>,
    pub(super) store: Pool,
    pub(super) options: Options,
    layers: Arc<dyn LayerMounter>,
    /// Taken for writing to take a chain away: nobody may be about to use it then.
    shown: RwLock<()>,
    collector: Option<Collector>,
    closed: AtomicBool,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl Backend {
    /// Opens the snapshots below `root`, making what is missing, and throws away what killed
    /// processes left behind.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for the folders; [`Error::NewerSchema`], [`Error::ForeignStore`] and
    /// [`Error::Database`] for the store.
    pub fn open(
        root: &Path,
        layers: Arc<dyn LayerMounter>,
        options: Options,
    ) -> Result<Arc<Self>, Error> {
        let folders = Arc::new(Folders::open(root)?);
        let open = || Pool::open(&folders.metadata(), options.deadline);
        let store = folders.reserve().or_give_up(is_full, open)?;
        let collector = if options.delete_in_background {
            let started = Collector::start(Arc::clone(&folders));
            Some(started.map_err(Error::io("start a thread for", root))?)
        } else {
            None
        };
        let (shown, closed) = (RwLock::new(()), AtomicBool::new(false));
        let backend = Self { folders, store, options, layers, shown, collector, closed };
        backend.sweep()?;
        backend.wake_collector();
        Ok(Arc::new(backend))
    }

    /// The snapshots of `owner`.
    pub fn snapshotter(self: &Arc<Self>, owner: Owner) -> OverlaySnapshotter {
        OverlaySnapshotter::new(Arc::clone(self), owner)
    }

    /// Moves folders without a row to the trash.
    fn sweep(&self) -> Result<(), Error> {
        // Usually there are none, which can be seen without keeping writers waiting. A folder that
        // is just being made looks left over at first: hence the second look.
        if self.store.read(|tx| self.leftovers(tx))?.is_empty() {
            return Ok(());
        }
        self.write_to_free(|tx| self.folders.sweep(&self.leftovers(tx)?))
    }

    /// Changes the store in order to free space, which is to work on a full disk too.
    pub(super) fn write_to_free<T>(
        &self,
        f: impl Fn(&rusqlite::Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.folders.reserve().or_give_up(is_full, || self.store.write(&f))
    }

    fn leftovers(&self, tx: &rusqlite::Transaction<'_>) -> Result<Vec<Box<[u8]>>, Error> {
        self.folders.leftovers(&store::ids(tx)?)
    }

    /// Moves folders without a row to the trash, and empties it.
    pub(super) fn cleanup(&self) -> Result<(), Error> {
        self.sweep()?;
        let stop = || self.closed.load(Ordering::Relaxed);
        let emptied = trash::empty(&self.folders, &stop);
        emptied.map_err(Error::io("empty", &self.folders.path_of("trash")))
    }

    /// Ends work in the background; calls fail from here on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(collector) = &self.collector {
            collector.stop();
        }
    }

    /// Says that there is something in the trash.
    pub(super) fn wake_collector(&self) {
        if let Some(collector) = &self.collector {
            collector.wake();
        }
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Throws away the folder of a snapshot whose row is gone, and takes its chain away where
    /// nothing else stands on it.
    pub(super) fn discard(&self, id: Id, chain: Option<&ChainId>) {
        // The snapshot is removed whatever happens here; what fails is left for a cleanup.
        if let Err(error) = self.folders.discard(id) {
            tracing::warn!(%error, "the folder of a removed snapshot stays for the next cleanup");
        }
        self.wake_collector();
        if let Some(chain) = chain
            && let Err(error) = self.release(chain)
        {
            tracing::warn!(%error, "a layer chain that nothing needs stays mounted");
        }
    }

    /// Shows `chain` and returns where.
    pub(super) fn show(&self, chain: &ChainId) -> Result<String, Error> {
        let _shown = self.shown.read();
        text_path(chain, self.layers.mount(chain)?)
    }

    /// Where `chain` is to be shown when it is needed.
    pub(super) fn place(&self, chain: &ChainId) -> Result<String, Error> {
        text_path(chain, self.layers.place(chain)?)
    }

    /// Takes `chain` away where no snapshot stands on it.
    pub(super) fn release(&self, chain: &ChainId) -> Result<(), Error> {
        let _shown = self.shown.write();
        if self.store.read(|tx| store::chain_has_snapshot(tx, chain))? {
            return Ok(());
        }
        Ok(self.layers.unmount(chain)?)
    }

    /// Shows the lazy folder among `parents`, top first, if they have one.
    pub(super) fn show_lazy(&self, parents: &[Level]) -> Result<(), Error> {
        if let Some(Level { id, chain: Some(chain) }) = overlay::lowers(parents).last() {
            let target = self.show(chain)?;
            self.folders.relink(*id, &target)?;
        }
        Ok(())
    }
}

fn text_path(chain: &ChainId, path: PathBuf) -> Result<String, Error> {
    path.into_os_string().into_string().map_err(|path| {
        let source = format!("{} is not UTF-8", path.display()).into();
        LayerError { chain: chain.clone(), kind: ErrorKind::InvalidArgument, source }.into()
    })
}

fn is_full(error: &Error) -> bool {
    error.kind() == ErrorKind::ResourceExhausted
}
