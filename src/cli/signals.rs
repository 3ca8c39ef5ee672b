use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

use super::failure::Failure;

/// How often it is looked, by whoever waits.
const TICK: std::time::Duration = std::time::Duration::from_millis(50);

/// Whether the process was asked to end.
#[derive(Debug, Clone)]
pub(crate) struct Termination {
    asked: Arc<AtomicBool>,
}

impl Termination {
    /// Takes SIGINT, SIGTERM and SIGHUP. Call it before any thread is started, so that all inherit
    /// the mask.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().map_err(std::io::Error::from)?;
        let asked = Arc::new(AtomicBool::new(false));
        let flag = asked.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            while signals.wait().is_ok() {
                flag.store(true, Ordering::SeqCst);
            }
        })?;
        Ok(Self { asked })
    }

    /// Whether one of the signals came.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until one of the signals has come.
    pub(crate) async fn wait(&self) {
        while !self.is_asked() {
            tokio::time::sleep(TICK).await;
        }
    }

    /// Whether one of the signals came since this was last asked.
    pub(crate) fn take(&self) -> bool {
        self.asked.swap(false, Ordering::SeqCst)
    }
}
