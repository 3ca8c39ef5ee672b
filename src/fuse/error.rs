use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Classify, Kind};

/// Why a mount was not made, not served or not ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mount point cannot be used.
    #[error("mount point {}: {source}", path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel or `fusermount3` refused the mount.
    #[error("mounting on {}: {source}", path.display())]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mount was made and did not answer in time; its connection was aborted.
    #[error("the mount on {} did not answer within {after:?}", path.display())]
    NotLive {
        /// The mount point.
        path: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// No thread to serve requests.
    #[error("no thread to serve {}: {source}", path.display())]
    Thread {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mount is not in the mount table.
    #[error("nothing of ours is mounted on {}", path.display())]
    NotMounted {
        /// The mount point.
        path: PathBuf,
    },
    /// Unmounting failed, lazily too.
    #[error("unmounting {}: {source}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The loop that serves requests ended with an error.
    #[error("serving {}: {source}", path.display())]
    Serve {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A live connection could not be handed or taken over.
    #[error("taking over {}: {source}", path.display())]
    TakeOver {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The control filesystem of FUSE connections is out of reach.
    #[error("connection {connection}: {}: {source}", path.display())]
    Control {
        /// The number of the connection.
        connection: u32,
        /// The control file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::NotLive { .. } => Kind::DeadlineExceeded,
            Error::Thread { .. } => Kind::ResourceExhausted,
            Error::NotMounted { .. } => Kind::NotFound,
            Error::MountPoint { source, .. }
            | Error::Mount { source, .. }
            | Error::Unmount { source, .. }
            | Error::Serve { source, .. }
            | Error::TakeOver { source, .. }
            | Error::Control { source, .. } => Kind::of_io(source),
        }
    }
}
