//! The cases of containerd's `core/snapshots/testsuite`, for any snapshotter.

mod content;
mod metadata;

pub use content::*;
pub use metadata::*;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use stratafs::error::{Classify, Kind as ErrorKind};
use stratafs::snapshot::{Filter, Info, Labels, Snapshotter};

use super::Mounted;
use super::appliers::{Applier, apply};
use super::manifest::assert_equal;

/// A snapshotter under test and a folder to work in.
pub struct Subject<'a> {
    pub snapshotter: &'a dyn Snapshotter,
    pub work: PathBuf,
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The label by which containerd's garbage collector leaves the suite's snapshots alone.
fn root_label() -> Labels {
    labels(&[("containerd.io/gc.root", "2026-01-01T00:00:00Z")])
}

impl Subject<'_> {
    /// A path below the folder to work in, as text: keys are such paths.
    fn at(&self, name: &str) -> String {
        self.work.join(name).to_str().unwrap().to_owned()
    }

    fn stat(&self, key: &str) -> Info {
        self.snapshotter.stat(key).unwrap()
    }

    fn is_gone(&self, key: &str) {
        assert_eq!(self.snapshotter.stat(key).unwrap_err().kind(), ErrorKind::NotFound);
    }

    fn prepare(&self, key: &str, parent: &str) {
        let mounts = self.snapshotter.prepare(key, some(parent), &root_label()).unwrap();
        assert!(!mounts.is_empty());
    }

    fn view(&self, key: &str, parent: &str) {
        self.snapshotter.view(key, some(parent), &root_label()).unwrap();
    }

    fn commit(&self, name: &str, key: &str) {
        self.snapshotter.commit(name, key, None, &root_label()).unwrap();
    }

    fn remove(&self, key: &str) {
        self.snapshotter.remove(key).unwrap();
    }

    fn remove_fails(&self, key: &str) {
        let error = self.snapshotter.remove(key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.to_string().contains("remove"), "{error}");
    }

    /// Prepares `name` and mounts it at the folder of that name, which is also the key.
    fn prepare_mount(&self, name: &str, parent: &str) -> (String, Mounted) {
        let key = self.at(name);
        let mounts = self.snapshotter.prepare(&key, some(parent), &root_label()).unwrap();
        let mounted = Mounted::at(&mounts, Path::new(&key));
        (key, mounted)
    }

    fn view_mount(&self, name: &str, parent: &str) -> (String, Mounted) {
        let key = self.at(name);
        let mounts = self.snapshotter.view(&key, some(parent), &root_label()).unwrap();
        let mounted = Mounted::at(&mounts, Path::new(&key));
        (key, mounted)
    }

    /// Commits layers one on the other, each compared with a plain folder after the same changes.
    fn check_snapshots(&self, layers: &[&[Applier]]) {
        let flat = tempfile::tempdir_in(&self.work).unwrap();
        let mut parent = String::new();
        for (i, layer) in layers.iter().enumerate() {
            // Keys as the suite has them, with what could be taken for formatting.
            let name = format!("%p-{}-{i}", flat.path().display());
            let mount = tempfile::tempdir_in(&self.work).unwrap();
            let key = format!("{name}-prepare");
            let mounts = self.snapshotter.prepare(&key, some(&parent), &root_label()).unwrap();
            let mounted = Mounted::at(&mounts, mount.path());
            apply(layer, mounted.path());
            drop(mounted);
            self.commit(&name, &key);
            apply(layer, flat.path());
            let view = format!("{name}-view");
            let mounts = self.snapshotter.view(&view, some(&name), &root_label()).unwrap();
            let mounted = Mounted::at(&mounts, mount.path());
            assert_equal(flat.path(), mounted.path());
            drop(mounted);
            self.remove(&view);
            parent = name;
        }
    }

    fn walk(&self, filters: &[&str]) -> Vec<Info> {
        let mut found = Vec::new();
        self.snapshotter
            .walk(&Filter::parse(filters).unwrap(), &mut |info| {
                found.push(info);
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    /// The snapshots of containerd's `baseTestSnapshots`.
    fn base_snapshots(&self) {
        self.prepare("c1-a", "");
        self.commit("c1", "c1-a");
        self.prepare("c2-a", "c1");
        self.commit("c2", "c2-a");
        self.prepare("a1", "c2");
        self.prepare("a2", "");
        self.view("v1", "c2");
        self.view("v2", "");
    }
}

fn some(parent: &str) -> Option<&str> {
    Some(parent).filter(|parent| !parent.is_empty())
}
