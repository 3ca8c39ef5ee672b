//! Snapshots that are really mounted: containerd's conformance suite, races, crashes.
//!
//! These need root and, for lazy parents, /dev/fuse.

mod appliers;
mod child;
mod conformance;
mod crash;
mod disk_full;
mod elsewhere;
mod lazy;
mod manifest;
mod model;
mod races;
mod state_machine;
mod suite;

use std::path::{Path, PathBuf};

use stratafs::snapshot::{Mount, mounter};

/// A mount that goes with the value.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts `mounts` at the folder `target`, which is made where it is missing.
    pub fn at(mounts: &[Mount], target: &Path) -> Self {
        std::fs::create_dir_all(target).unwrap();
        mounter::mount(mounts, target).unwrap();
        Self(target.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = mounter::unmount(&self.0);
    }
}
