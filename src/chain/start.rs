//! What is fetched for a chain before reads want it.

use std::sync::Arc;

use crate::compress::SpanError;
use crate::content::cache::CachedLayer;
use crate::digest::Digest;

use super::{Chain, Error, Progress};

/// What is fetched before a read wants it, beyond what follows reads in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prefetch {
    /// Nothing.
    None,
    /// What earlier starts have read; where there were none, what is likely by what was read.
    Trace,
    /// That, and then the rest when nothing else is to be done.
    #[default]
    All,
}

impl Chain {
    /// Its layers in the cache on disk, each once.
    fn cached(&self) -> Vec<(Digest, Arc<CachedLayer>)> {
        let mut found: Vec<(Digest, Arc<CachedLayer>)> = Vec::new();
        for layer in &self.layers {
            let digest = &layer.descriptor.digest;
            if let Some(cached) = &layer.cached
                && found.iter().all(|(other, _)| other != digest)
            {
                found.push((digest.clone(), cached.clone()));
            }
        }
        found
    }

    /// Says that something starts that reads the chain: it is recorded what that reads, and fetched
    /// what `prefetch` says. Nothing is waited for.
    pub fn start(&self, prefetch: Prefetch) {
        let Some(cache) = &self.cache else { return };
        let layers = self.cached();
        cache.start(&layers, prefetch != Prefetch::None);
        if prefetch == Prefetch::All {
            cache.complete(layers.iter().map(|(_, layer)| layer));
        }
    }

    /// Says that what started is over, so that what it read is kept at once.
    pub fn end_start(&self) {
        if let Some(cache) = &self.cache {
            cache.keep(true);
        }
    }

    /// Fetches all of it into the cache on disk, several layers at once, each with its bar.
    ///
    /// # Errors
    ///
    /// [`Error::Fetch`], the first; what has come by then stays.
    pub fn fetch_all(&self, progress: &dyn Progress) -> Result<(), Error> {
        let layers = self.cached();
        std::thread::scope(|scope| {
            let fetches: Vec<_> = layers
                .iter()
                .map(|(digest, layer)| {
                    let bar = progress.layer(&digest.short(), layer.table().size);
                    let fetch = move || layer.fill_with(&mut |state| bar(state.stored));
                    (digest, scope.spawn(fetch))
                })
                .collect();
            let mut outcome = Ok(());
            for (digest, fetch) in fetches {
                let fetched = fetch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                let failed = |source: SpanError| Error::Fetch { digest: digest.clone(), source };
                outcome = outcome.and(fetched.map_err(failed));
            }
            outcome
        })
    }
}
