//! The first requests of a mount: they show that it is live, and they let the kernel learn what
//! it need not ask (OPEN, OPENDIR, FLUSH) before anybody else comes.
//!
//! An unanswered FLUSH cannot be killed, so the kernel must know that none is wanted before a
//! server may die. It learns that from the answer to one FLUSH, which takes one open file. That
//! file has a random name in the root which nobody else knows, which no listing shows and which
//! is gone when the mount has settled.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use fuser::FileAttr;
use parking_lot::RwLock;

use crate::fs::NodeId;

use super::convert;

/// A node in a slot that is never given to a tree.
const NODE: NodeId = NodeId::new(u32::MAX, 1);

/// The file that is opened once.
pub(super) struct Settle {
    name: RwLock<Option<OsString>>,
}

impl Settle {
    /// How long the kernel keeps the file: not at all, the open alone needs it.
    pub(super) const TTL: Duration = Duration::ZERO;

    /// A file with a random name.
    pub(super) fn new() -> Self {
        // The keys of a hash state come from the operating system's random source.
        let random = RandomState::new().build_hasher().finish();
        let name = format!(".stratafs-settle-{random:016x}");
        Self { name: RwLock::new(Some(name.into())) }
    }

    /// No file: the mount settled when an earlier process made it.
    pub(super) fn done() -> Self {
        Self { name: RwLock::new(None) }
    }

    pub(super) fn lookup(&self, parent: NodeId, name: &OsStr) -> Option<FileAttr> {
        if parent != NodeId::ROOT {
            return None;
        }
        self.name.read().as_deref().is_some_and(|n| n == name).then(attr)
    }

    /// Whether the node is the file: it has no attributes (ACLs among them, which the kernel asks
    /// for) and no content.
    pub(super) fn owns(&self, node: NodeId) -> bool {
        node == NODE
    }

    pub(super) fn getattr(&self, node: NodeId) -> Option<FileAttr> {
        self.owns(node).then(attr)
    }

    /// Opens and closes the root and the file, from a thread that may be left behind.
    pub(super) fn run(&self, mountpoint: &Path) -> io::Result<()> {
        let path: Option<PathBuf> = self.name.read().as_ref().map(|name| mountpoint.join(name));
        let Some(path) = path else { return Ok(()) };
        let visited = std::fs::read_dir(mountpoint).and_then(|_| File::open(&path));
        *self.name.write() = None;
        match visited {
            // A root that this user may not enter was answered all the same.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            visited => visited.map(drop),
        }
    }
}

fn attr() -> FileAttr {
    FileAttr {
        ino: convert::inode(NODE),
        mtime: UNIX_EPOCH,
        perm: 0o444,
        nlink: 1,
        blksize: 4096,
        ..convert::absent()
    }
}
