//! What a mounted filesystem does, one module an operation.
//!
//! These need /dev/fuse and, for most, root.

mod access;
mod concurrency;
mod exec;
mod faults;
mod getattr;
mod handle;
mod ioctl;
mod lookup;
mod overlay;
mod read;
mod readdir;
mod readlink;
mod rootless;
mod session;
mod statfs;
pub mod takeover;
mod write;
mod xattr;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stratafs::fs::{Filesystem, MountedTree};
use stratafs::fuse::{self, Mounted, Options};

use crate::fixture::{self, Layer};
use crate::watchdog::Watchdog;

/// A mounted filesystem under a watchdog. Unmounted before the watchdog ends.
struct Mount {
    mounted: Option<Mounted>,
    root: PathBuf,
    watchdog: Watchdog,
}

impl Mount {
    /// One layer whose bytes are in memory, as root filesystem.
    fn of(layer: Layer) -> Self {
        Self::of_tree(fixture::in_memory(vec![layer]))
    }

    fn of_tree(tree: MountedTree) -> Self {
        Self::with(Filesystem::of_tree(tree), &Options::rootfs())
    }

    fn with(fs: Filesystem, options: &Options) -> Self {
        let watchdog = Watchdog::new(Duration::from_secs(60));
        let root = watchdog.folder("mount");
        let mounted = fuse::mount(Arc::new(fs), &root, options).unwrap();
        Self { mounted: Some(mounted), root, watchdog }
    }

    /// A path in the mount; the empty one is its root.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path).components().collect()
    }

    fn mounted(&self) -> &Mounted {
        self.mounted.as_ref().unwrap()
    }

    /// Lets other users reach the mount: its folder is the own user's alone.
    fn open_to_all(&self) {
        use std::os::unix::fs::PermissionsExt;
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.watchdog.path(), all).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(self.mounted.take());
    }
}
