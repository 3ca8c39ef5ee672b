use std::io;
use std::path::PathBuf;

use crate::error::{Classify, Kind};
use crate::tree;

/// Why a tree cannot be shown as EROFS, or its image not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// An attribute whose namespace EROFS has no number for.
    #[error("inode {ino}: extended attribute {name:?} is of a namespace that EROFS does not have")]
    XattrNamespace {
        /// The inode.
        ino: u32,
        /// The attribute.
        name: String,
    },
    /// An attribute whose value is longer than EROFS can say: 65,535 bytes.
    #[error("inode {ino}: the value of extended attribute {name:?} is longer than 65535 bytes")]
    XattrValue {
        /// The inode.
        ino: u32,
        /// The attribute.
        name: String,
    },
    /// More attributes on one inode than EROFS can count: about 256 KiB.
    #[error("inode {ino}: more than 262148 bytes of extended attributes")]
    Xattrs {
        /// The inode.
        ino: u32,
    },
    /// A device number beyond Linux's 12 bits of major and 20 of minor number.
    #[error("inode {ino}: device number {major}:{minor} is more than Linux has")]
    Device {
        /// The inode.
        ino: u32,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// More of something than an image can address.
    #[error("{what}: more than the {bound} that an EROFS image can address")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        bound: u64,
    },
    /// What an image is written to refuses.
    #[error("an EROFS image cannot be written")]
    Output(#[from] io::Error),
    /// The operating system refused.
    #[error("EROFS image {}", path.display())]
    Io {
        /// The image.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An image that was not made by this version from this tree, or is damaged.
    #[error("EROFS image {} is not of use: {what}", path.display())]
    Stale {
        /// The image.
        path: PathBuf,
        /// What does not match.
        what: &'static str,
    },
    /// The kernel read other bytes of a file than those that were written.
    #[error("the kernel does not read from an EROFS image what was written")]
    WrongData,
    /// The kernel refused the mount.
    #[error("EROFS image {}", path.display())]
    Mount {
        /// The image.
        path: PathBuf,
        /// The cause.
        source: crate::sys::mount::Error,
    },
}

impl Error {
    /// Whether this tree can never be an image, and must be shown in another way.
    pub fn is_limit(&self) -> bool {
        match self {
            Error::XattrNamespace { .. }
            | Error::XattrValue { .. }
            | Error::Xattrs { .. }
            | Error::Device { .. }
            | Error::TooMany { .. } => true,
            Error::Tree(_)
            | Error::Output(_)
            | Error::Io { .. }
            | Error::Stale { .. }
            | Error::WrongData
            | Error::Mount { .. } => false,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Tree(e) => e.kind(),
            Error::XattrNamespace { .. }
            | Error::XattrValue { .. }
            | Error::Xattrs { .. }
            | Error::Device { .. }
            | Error::TooMany { .. } => Kind::NotImplemented,
            Error::Io { source, .. } | Error::Output(source) => Kind::of_io(source),
            Error::Stale { .. } | Error::WrongData => Kind::DataLoss,
            Error::Mount { source, .. } => source.kind(),
        }
    }
}
