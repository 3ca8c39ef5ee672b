//! A thread that brings what was written to disk and keeps traces, as long as the cache is used.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::LayerCache;

/// How often it looks: what a killed process loses of the cache is what it wrote since.
const TICK: Duration = Duration::from_secs(3);

/// The thread; it ends with the value.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    shared: Arc<(Mutex<bool>, Condvar)>,
    runs: Mutex<bool>,
}

impl Keeper {
    /// Begins, where it has not yet.
    pub(super) fn start(&self, cache: &Arc<LayerCache>) {
        let mut runs = self.runs.lock();
        if *runs {
            return;
        }
        let (shared, cache) = (self.shared.clone(), Arc::downgrade(cache));
        let builder = thread::Builder::new().name("cache".into()).stack_size(256 << 10);
        // Without it, what was written is synced in larger pieces and at the end.
        *runs = builder.spawn(move || keep(&shared, &cache)).is_ok();
    }
}

fn keep(shared: &(Mutex<bool>, Condvar), cache: &Weak<LayerCache>) {
    let (closed, changed) = shared;
    loop {
        let mut is_closed = closed.lock();
        if !*is_closed {
            changed.wait_for(&mut is_closed, TICK);
        }
        if *is_closed {
            return;
        }
        drop(is_closed);
        let Some(cache) = cache.upgrade() else { return };
        cache.keep(false);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *self.shared.0.lock() = true;
        self.shared.1.notify_all();
    }
}
