use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Classify, Kind};
use crate::{erofs, fs, fuse};

/// Why a root filesystem could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place to mount on is no folder, or has something in it.
    #[error("{target}: {reason}")]
    BadTarget {
        /// The place.
        target: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The folder for changes cannot be used.
    #[error("{upper}: a folder with a parent and a name in UTF-8 is needed for changes")]
    BadUpper {
        /// The folder.
        upper: PathBuf,
    },
    /// Nothing of ours is mounted there.
    #[error("{target}: nothing of stratafs is mounted here")]
    NotMounted {
        /// The place.
        target: PathBuf,
    },
    /// The kernel refused to mount or unmount.
    #[error("{what} at {target}: {source}")]
    Mount {
        /// Which kind of mount.
        what: &'static str,
        /// The place.
        target: PathBuf,
        /// What the kernel answered.
        source: Errno,
    },
    /// The FUSE filesystem could not be mounted, served or unmounted.
    #[error(transparent)]
    Fuse(#[from] fuse::Error),
    /// The tree could not be mounted as EROFS, which was asked for.
    #[error("{source}: {}", root_cause(.source))]
    Erofs {
        /// Why.
        source: erofs::Error,
    },
    /// A tree could not be shown.
    #[error("chain {chain_id}: {source}")]
    Tree {
        /// The chain.
        chain_id: String,
        /// What the filesystem answered.
        source: fs::Error,
    },
    /// A file of the run folder could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The process that serves a mount did not end in time.
    #[error("{target}: unmounted, but process {pid} that served it is still there")]
    StillServed {
        /// The place.
        target: PathBuf,
        /// The process.
        pid: u32,
    },
}

/// What is below the error in words; an EROFS error names only the file.
fn root_cause(e: &erofs::Error) -> String {
    let mut cause = std::error::Error::source(e);
    let mut text = String::new();
    while let Some(e) = cause {
        text = e.to_string();
        cause = e.source();
    }
    text
}

impl Error {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Error::Io { path: path.to_owned(), source }
    }

    pub(super) fn mount(what: &'static str, target: &Path, source: Errno) -> Self {
        Error::Mount { what, target: target.to_owned(), source }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::BadTarget { .. } | Error::BadUpper { .. } => Kind::InvalidArgument,
            Error::NotMounted { .. } => Kind::NotFound,
            Error::Mount { source, .. } => Kind::of_io(&io::Error::from(*source)),
            Error::Fuse(source) => source.kind(),
            Error::Erofs { source } => source.kind(),
            Error::Tree { source, .. } => source.kind(),
            Error::Io { source, .. } => Kind::of_io(source),
            Error::StillServed { .. } => Kind::DeadlineExceeded,
        }
    }
}
