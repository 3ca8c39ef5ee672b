//! What a mounted rootfs does besides: once all of its data are here, it writes them to the file
//! that the next mount reads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::chain::WholeChain;

/// How often it is looked whether all is here.
const TICK: Duration = Duration::from_millis(500);
/// How long nothing is tried after a failure or for want of room.
const PAUSE: Duration = Duration::from_secs(60);

/// A thread that writes the data of a chain to a local file when all of them are here; it ends with
/// the value.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Watches `chain` until its data are in a file.
    pub fn start(chain: WholeChain) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = thread::Builder::new().name("whole".into());
        let thread = thread.spawn(move || watch(&chain, &asked));
        if let Err(error) = &thread {
            tracing::warn!(%error, "no thread to write the data of a chain to a file");
        }
        Self { stop, thread: thread.ok() }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _panicked = thread.join();
        }
    }
}

fn watch(chain: &WholeChain, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        thread::park_timeout(if chain.is_here() { write(chain, stop) } else { TICK });
    }
}

/// Writes the file; how long to wait then.
fn write(chain: &WholeChain, stop: &AtomicBool) -> Duration {
    match chain.write(stop) {
        Ok(Some(_)) => {
            stop.store(true, Ordering::Relaxed);
            return Duration::ZERO;
        }
        Ok(None) => {}
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => tracing::warn!(%error, "the data of a chain are not kept as a file"),
    }
    PAUSE
}
