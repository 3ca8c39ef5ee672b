//! What is fetched for a chain before reads want it.

use std::sync::Arc;

use crate::compress::SpanError;
use crate::content::cache::CachedLayer;
use crate::digest::Digest;

use super::{Chain, Error, Layer, Progress};

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
        let found = self.kept().into_iter();
        found.map(|(layer, cached)| (layer.descriptor.digest.clone(), cached.clone())).collect()
    }

    fn kept(&self) -> Vec<(&Layer, &Arc<CachedLayer>)> {
        let mut found: Vec<(&Layer, &Arc<CachedLayer>)> = Vec::new();
        for layer in &self.layers {
            let is_other = |(other, _): &(&Layer, _)| other.descriptor != layer.descriptor;
            if let Some(cached) = layer.cached.as_ref().filter(|_| found.iter().all(is_other)) {
                found.push((layer, cached));
            }
        }
        found
    }

    /// Whether content is still to be fetched.
    pub fn is_far(&self) -> bool {
        let mut cached = self.layers.iter().filter_map(|layer| layer.cached.as_ref());
        cached.any(|layer| !layer.is_complete())
    }

    /// Says that something starts that reads the chain: it is recorded what that reads, and fetched
    /// what `prefetch` says. Nothing is waited for.
    pub fn start(&self, prefetch: Prefetch) {
        let Some(cache) = &self.cache else { return };
        let layers = self.cached();
        cache.start(&layers, prefetch != Prefetch::None);
        if prefetch != Prefetch::None {
            self.watch_programs();
        }
        if prefetch == Prefetch::All {
            cache.complete(layers.iter().map(|(_, layer)| layer));
            // Once they are here, whether the index stays beside the image is no matter.
            if let Some(windows) = &self.windows {
                windows.complete(self.layers.iter().filter_map(|layer| layer.windows.as_ref()));
            }
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
        let layers = self.kept();
        std::thread::scope(|scope| {
            let fetches: Vec<_> = layers
                .iter()
                .map(|(layer, cached)| {
                    let digest = &layer.descriptor.digest;
                    let bar = progress.layer(&digest.short(), cached.table().size);
                    let fetch = move || fetch(layer, cached, &bar);
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

/// Fetches all of a layer: by its spans or, where they are not what its table of contents says, from
/// front to back.
fn fetch(layer: &Layer, cached: &CachedLayer, bar: &dyn Fn(u64)) -> Result<(), SpanError> {
    match (cached.fill_with(&mut |state| bar(state.stored)), &layer.fallback) {
        (Err(e), Some(fallback)) if e.is_wrong() => {
            let given_up = fallback.give_up_format(&e);
            given_up.map_err(|source| SpanError::Read { offset: 0, source })?;
            bar(cached.table().size);
            Ok(())
        }
        (outcome, _) => outcome,
    }
}
