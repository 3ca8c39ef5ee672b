//! Sees to it that a holder has the mount, also when one dies.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Error;
use super::hold::{self, Kept};
use crate::fuse::Handover;

/// How often, and how long apart, a holder that was started is tried.
const TRIES: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(50);

/// How long after a failure it is tried again: soon, since a service manager starts the next holder at
/// once, then less and less often.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(5);

/// Starts a holder that listens at the socket.
pub type StartHolder = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Where the holder is, and how one is started.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) socket: PathBuf,
    /// `None` where somebody else starts it.
    pub(super) start: Option<StartHolder>,
}

/// Whether a holder has the mount just now.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<(Mutex<bool>, Condvar)>);

impl Held {
    fn set(&self, held: bool) {
        let (state, changed) = &*self.0;
        *state.lock() = held;
        changed.notify_all();
    }

    /// Waits until a holder has it, for at most `timeout`; says whether one has.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let (state, changed) = &*self.0;
        let mut held = state.lock();
        changed.wait_while_for(&mut held, |held| !*held, timeout);
        *held
    }
}

impl Keeper {
    /// Gives the mount to the holder, and again to the next whenever that one dies.
    pub(super) fn keep(self, handover: Handover) -> Held {
        let held = Held::default();
        let mut kept = self.put(&handover);
        match &kept {
            Ok(_) => held.set(true),
            Err(error) => {
                tracing::warn!(%error, "no holder: containers do not survive the end of this daemon");
            }
        }
        let told = held.clone();
        let again = move || {
            let mut pause = SOON;
            loop {
                match &mut kept {
                    Ok(kept) => {
                        kept.wait();
                        told.set(false);
                        tracing::warn!("the holder is gone");
                        pause = SOON;
                    }
                    Err(_) => {
                        thread::sleep(pause);
                        pause = (pause * 2).min(LATE);
                    }
                }
                kept = self.put(&handover);
                if kept.is_ok() {
                    told.set(true);
                    tracing::info!("a holder has the mount again");
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("keeper".into()).spawn(again) {
            tracing::warn!(%error, "nobody watches the holder");
        }
        held
    }

    fn put(&self, handover: &Handover) -> Result<Kept, Error> {
        let mut kept = hold::put(&self.socket, handover);
        let Some(start) = &self.start else { return kept };
        if matches!(kept, Err(Error::Io { .. })) {
            start().map_err(Error::io("start a holder at", &self.socket))?;
            for _ in 0..TRIES {
                thread::sleep(BETWEEN);
                kept = hold::put(&self.socket, handover);
                if kept.is_ok() {
                    break;
                }
            }
        }
        kept
    }
}
