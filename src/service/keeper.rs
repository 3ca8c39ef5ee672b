//! Sees to it that a holder has the mount, also when one dies.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Error;
use super::hold::{self, Kept};
use crate::fuse::Handover;

/// How often, and how long apart, a holder that was started is tried.
const TRIES: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(50);

/// How long after a failure it is tried again.
const LATER: Duration = Duration::from_secs(5);

/// Starts a holder that listens at the socket.
pub type StartHolder = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Where the holder is, and how one is started.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) socket: PathBuf,
    /// `None` where somebody else starts it.
    pub(super) start: Option<StartHolder>,
}

impl Keeper {
    /// Gives the mount to the holder, and again to the next whenever that one dies.
    pub(super) fn keep(self, handover: Handover) {
        let mut kept = self.put(&handover);
        if let Err(error) = &kept {
            tracing::warn!(%error, "no holder: containers do not survive the end of this daemon");
        }
        let again = move || {
            loop {
                match &mut kept {
                    Ok(kept) => {
                        kept.wait();
                        tracing::warn!("the holder is gone");
                    }
                    Err(_) => thread::sleep(LATER),
                }
                kept = self.put(&handover);
            }
        };
        if let Err(error) = thread::Builder::new().name("keeper".into()).spawn(again) {
            tracing::warn!(%error, "nobody watches the holder");
        }
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
