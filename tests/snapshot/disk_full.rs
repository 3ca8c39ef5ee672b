//! A full disk: a clear error, nothing lost, and work again once there is room.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratafs::error::{Classify, Kind as ErrorKind};
use stratafs::snapshot::{
    Backend, Error, Labels, NoLayers, Options, OverlaySnapshotter, Owner, Snapshotter,
};

use super::model::Model;
use crate::disk::Disk;

/// A disk of 16 MiB.
fn small(options: &[&str]) -> Disk {
    Disk::new(16, options, Duration::from_secs(120))
}

fn open(root: &Path) -> Result<(Arc<Backend>, OverlaySnapshotter), Error> {
    let options = Options { delete_in_background: false, ..Options::default() };
    let backend = Backend::open(root, Arc::new(NoLayers), options)?;
    let snapshotter = backend.snapshotter(Owner::Containerd);
    Ok((backend, snapshotter))
}

#[track_caller]
fn is_full<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("full") || text.contains("No space"), "{text}");
}

/// Labels that do not fit in room that is left by chance.
fn large_labels() -> Labels {
    (0..1024).map(|n| (format!("label-{n}"), "v".repeat(4000))).collect()
}

#[test]
fn metadata_that_does_not_fit_is_refused_and_all_else_is_kept() {
    let disk = small(&[]);
    let (_backend, snapshotter) = open(&disk.root()).unwrap();
    for key in ["a", "b"] {
        snapshotter.prepare(key, None, &Labels::new()).unwrap();
    }
    snapshotter.commit("c", "a", None, &Labels::new()).unwrap();
    let before = Model::of(&snapshotter);
    disk.fill();
    is_full(snapshotter.update("c", &large_labels(), &[]));
    is_full(snapshotter.commit("d", "b", None, &large_labels()));
    is_full(snapshotter.prepare("e", Some("c"), &large_labels()));
    assert_eq!(Model::of(&snapshotter), before);
    let (_other, reopened) = open(&disk.root()).unwrap();
    assert_eq!(Model::of(&reopened), before);
    disk.give_back();
    snapshotter.update("c", &Labels::new(), &[]).unwrap();
    snapshotter.commit("d", "b", None, &Labels::new()).unwrap();
    snapshotter.prepare("e", Some("c"), &Labels::new()).unwrap();
    let after = Model::of(&snapshotter);
    assert_eq!(after.0.len(), 3);
    assert_eq!(Model::of(&reopened), after);
    let folders = fs::read_dir(disk.root().join("snapshots")).unwrap().count();
    assert_eq!(folders, 3);
}

#[test]
fn a_snapshot_that_cannot_be_made_leaves_nothing() {
    // Inodes run out, not blocks.
    let disk = small(&["-N", "64"]);
    let (_backend, snapshotter) = open(&disk.root()).unwrap();
    snapshotter.prepare("first", None, &Labels::new()).unwrap();
    let mut made = 0;
    let failed = loop {
        match snapshotter.prepare(&format!("key-{made}"), None, &Labels::new()) {
            Ok(_) => made += 1,
            Err(e) => break e,
        }
    };
    assert!(made > 0);
    is_full(Err::<(), _>(failed));
    assert_eq!(Model::of(&snapshotter).0.len(), made + 1);
    // Removing needs no room.
    for key in 0..made {
        snapshotter.remove(&format!("key-{key}")).unwrap();
    }
    snapshotter.cleanup().unwrap();
    assert_eq!(fs::read_dir(disk.root().join("snapshots")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(disk.root().join("trash")).unwrap().count(), 0);
    snapshotter.prepare("next", None, &Labels::new()).unwrap();
}

#[test]
fn snapshots_can_be_removed_from_a_full_disk() {
    let disk = small(&[]);
    let (_backend, snapshotter) = open(&disk.root()).unwrap();
    for key in 0..8 {
        let mounts = snapshotter.prepare(&format!("key-{key}"), None, &Labels::new()).unwrap();
        fs::write(Path::new(&mounts[0].source).join("file"), vec![1; 256 << 10]).unwrap();
    }
    disk.fill();
    for key in 0..8 {
        snapshotter.remove(&format!("key-{key}")).unwrap();
    }
    snapshotter.cleanup().unwrap();
    fs::write(disk.at().join("there is room"), vec![1; 1 << 20]).unwrap();
    assert!(Model::of(&snapshotter).0.is_empty());
}

#[test]
fn a_store_on_a_full_disk_is_opened_and_room_made() {
    let disk = small(&[]);
    let (backend, snapshotter) = open(&disk.root()).unwrap();
    let mounts = snapshotter.prepare("a", None, &Labels::new()).unwrap();
    fs::write(Path::new(&mounts[0].source).join("file"), vec![1; 1 << 20]).unwrap();
    // The last to close the store deletes what it needs to be opened.
    drop((backend, snapshotter));
    disk.fill();
    let (_backend, snapshotter) = open(&disk.root()).unwrap();
    snapshotter.stat("a").unwrap();
    snapshotter.remove("a").unwrap();
    snapshotter.cleanup().unwrap();
    fs::write(disk.at().join("there is room"), vec![1; 512 << 10]).unwrap();
}

#[test]
fn a_store_that_cannot_be_made_says_so_and_can_be_made_later() {
    let disk = small(&[]);
    fs::create_dir(disk.root()).unwrap();
    disk.fill();
    is_full(open(&disk.root()).map(drop));
    disk.give_back();
    let (_backend, snapshotter) = open(&disk.root()).unwrap();
    snapshotter.prepare("a", None, &Labels::new()).unwrap();
}
