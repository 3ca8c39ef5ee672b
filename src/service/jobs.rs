//! Making images ready, each once however many ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::Error;
use super::images::{Found, Images};
use crate::chain::{Quiet, Store};
use crate::content::registry::Reference;
use crate::digest::Digest;
use crate::snapshot::Backend;

/// How many images are made ready at the same time; each uses several threads.
const AT_ONCE: usize = 4;

/// How long the outcome of a job is good for others: the layers of one pull come one by one.
const FRESH: Duration = Duration::from_secs(60);

/// How long the files of an image are kept while it is being made ready.
const LEASE: Duration = Duration::from_secs(3600);

/// An image, and whether all of its layers can be shown.
pub(super) struct Job {
    /// The image.
    pub(super) found: Found,
    /// Why not all of them can.
    pub(super) ready: Result<(), Arc<Error>>,
}

/// An image, and the SOCI index that it is to be read by, if a client named one.
type Wanted = (Reference, Option<Digest>);

type Outcome = Result<Arc<Job>, Arc<Error>>;

struct Running {
    outcome: watch::Receiver<Option<Outcome>>,
    started: Instant,
}

/// The images that are being made ready, or were just now.
pub(super) struct Jobs {
    backend: Arc<Backend>,
    store: Arc<Store>,
    images: Arc<Images>,
    running: Mutex<HashMap<Wanted, Running>>,
    places: Arc<Semaphore>,
}

impl Jobs {
    pub(super) fn new(backend: Arc<Backend>, store: Arc<Store>, images: Arc<Images>) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { backend, store, images, running: Mutex::default(), places }
    }

    /// The image `wanted`, ready. Whoever gives up waiting ends nothing.
    ///
    /// # Errors
    ///
    /// Where the image cannot be found; what its layers lack is in [`Job::ready`].
    pub(super) async fn image(&self, wanted: &Wanted) -> Outcome {
        let mut outcome = self.join(wanted);
        let done = outcome.wait_for(Option::is_some).await.map(|seen| Option::clone(&seen));
        match done {
            Ok(Some(outcome)) => outcome,
            // The sender is dropped by a panic alone.
            Ok(None) | Err(_) => Err(Arc::new(Error::Panicked { what: "making an image ready" })),
        }
    }

    fn join(&self, wanted: &Wanted) -> watch::Receiver<Option<Outcome>> {
        let mut running = self.running.lock();
        running.retain(|_, job| {
            let failed = matches!(&*job.outcome.borrow(), Some(Err(_)));
            let over = job.outcome.borrow().is_some() && job.started.elapsed() > FRESH;
            let lost = job.outcome.has_changed().is_err() && job.outcome.borrow().is_none();
            !(failed || over || lost)
        });
        if let Some(job) = running.get(wanted) {
            return job.outcome.clone();
        }
        let outcome = self.start(wanted.clone());
        let job = Running { outcome: outcome.clone(), started: Instant::now() };
        running.insert(wanted.clone(), job);
        outcome
    }

    fn start(&self, wanted: Wanted) -> watch::Receiver<Option<Outcome>> {
        let (sender, receiver) = watch::channel(None);
        let (backend, store, images) =
            (self.backend.clone(), self.store.clone(), self.images.clone());
        let places = self.places.clone();
        tokio::spawn(async move {
            let _place = places.acquire().await;
            let work = move || make_ready(&backend, &store, &images, &wanted);
            let panicked = |_| Err(Error::Panicked { what: "making an image ready" });
            let outcome = tokio::task::spawn_blocking(work).await.unwrap_or_else(panicked);
            // Nobody waits any more where this fails.
            let _ = sender.send(Some(outcome.map(Arc::new).map_err(Arc::new)));
        });
        receiver
    }
}

fn make_ready(
    backend: &Backend,
    store: &Store,
    images: &Images,
    (reference, soci_index): &Wanted,
) -> Result<Job, Error> {
    let found = images.find(reference, soci_index.clone())?;
    let image = &found.image;
    let lease = backend.lease(LEASE)?;
    let layer = |l: &crate::image::Layer| (l.diff_id.clone(), l.descriptor.digest.clone());
    lease.record(&image.layers.iter().map(layer).collect::<Vec<_>>())?;
    let ready = store.prepare(&found.provider, image, &Quiet);
    let ready = ready.map_err(|e| Arc::new(Error::from(e)));
    match &ready {
        Ok(()) => tracing::info!(%reference, layers = image.layers.len(), "image is ready"),
        Err(error) => tracing::warn!(%reference, %error, "not all layers can be shown"),
    }
    Ok(Job { found, ready })
}
