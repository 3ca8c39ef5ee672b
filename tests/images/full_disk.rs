//! A disk that gets full in the middle of unpacking, applying and committing: a clear error, nothing
//! of what was half-made, and the same command works once there is room.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rstest::rstest;
use serde_json::Value;

use super::corpus;
use super::layout::{Archive, Layer, Layout};
use super::program::Stratafs;
use crate::disk::Disk;
use crate::fixture::noise;

const MIB: u64 = 1 << 20;

/// A disk with room for a few MiB, until [`Disk::give_back`].
fn nearly_full() -> Disk {
    let disk = Disk::new(96, &[], Duration::from_secs(300));
    disk.fill();
    let ballast = File::options().write(true).open(disk.at().join("ballast")).unwrap();
    ballast.set_len(ballast.metadata().unwrap().len() - 8 * MIB).unwrap();
    disk
}

/// The names of all snapshots.
fn snapshots(stratafs: &Stratafs) -> Vec<String> {
    let listed: Vec<Value> =
        serde_json::from_str(&stratafs.run(&["--json", "snapshot", "ls"])).unwrap();
    listed.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

/// The folders that snapshots have.
fn folders(stratafs: &Stratafs) -> usize {
    fs::read_dir(stratafs.root().join("snapshots")).unwrap().count()
}

#[test]
fn an_unpack_keeps_the_layers_below_and_nothing_of_the_one_that_did_not_fit() {
    let large = noise(24 << 20);
    let layers = [
        Layer::gzip(&Archive::new().file("small", b"fits").finish()),
        Layer::gzip(&Archive::new().file("first", b"fits too").file("large", &large).finish()),
    ];
    let layout = Layout::of(&layers);
    let disk = nearly_full();
    let stratafs = Stratafs::with_root(&disk.root());
    let error = stratafs.refuse(&["unpack", &layout.image()]);
    assert!(error.contains("No space left") && error.contains("large"), "{error}");
    let below = snapshots(&stratafs);
    assert_eq!(below.len(), 1, "{below:?}");
    assert_eq!(folders(&stratafs), 1);
    disk.give_back();
    let top = stratafs.run(&["unpack", &layout.image()]);
    assert_eq!(snapshots(&stratafs).len(), 2);
    stratafs.run(&["snapshot", "view", "view", top.trim_end()]);
    let view = stratafs.mount_snapshot("view");
    assert!(fs::read(view.join("large")).unwrap() == large);
}

#[test]
fn a_layer_that_does_not_fit_is_applied_once_there_is_room() {
    let large = noise(24 << 20);
    let disk = nearly_full();
    let stratafs = Stratafs::with_root(&disk.root());
    let layer = stratafs.target("layer").join("layer.tar");
    fs::write(&layer, Archive::new().file("large", &large).finish()).unwrap();
    let apply = ["apply", layer.to_str().unwrap(), "work"];
    stratafs.run(&["snapshot", "prepare", "work"]);
    let error = stratafs.refuse(&apply);
    assert!(error.contains("No space left") && error.contains("large"), "{error}");
    assert_eq!(snapshots(&stratafs), ["work"]);
    // Taking it away needs no room, and gives back what was written.
    stratafs.run(&["snapshot", "rm", "work"]);
    assert_eq!(folders(&stratafs), 0);
    disk.give_back();
    stratafs.run(&["snapshot", "prepare", "work"]);
    stratafs.run(&apply);
    assert!(fs::read(stratafs.mount_snapshot("work").join("large")).unwrap() == large);
}

#[rstest]
fn on_a_lazy_parent_too_an_apply_and_a_commit_fail_whole_and_work_once_there_is_room(
    #[values("erofs", "fuse")] mode: &str,
) {
    let layout = Layout::of(&[Layer::gzip(&Archive::new().file("below", b"lazy").finish())]);
    let disk = nearly_full();
    let stratafs = Stratafs::with_root(&disk.root());
    let run = |args: &[&str]| stratafs.run(&[&["--mode", mode], args].concat());
    let refuse = |args: &[&str]| {
        let error = stratafs.refuse(&[&["--mode", mode], args].concat());
        assert!(error.contains("No space left"), "{error}");
    };
    let top = run(&["unpack", "--lazy", &layout.image()]);
    let prepare = || run(&["snapshot", "prepare", "work", top.trim_end()]);
    let layer = stratafs.target("layer").join("layer.tar");
    fs::write(&layer, Archive::new().file("large", &noise(24 << 20)).finish()).unwrap();
    let apply = ["apply", layer.to_str().unwrap(), "work"];
    prepare();
    refuse(&apply);
    run(&["snapshot", "rm", "work"]);

    // The changes fit, the layer of them beside does not.
    let copy = disk.at().join("layout");
    corpus::run(Command::new("cp").arg("-a").arg(layout.path()).arg(&copy));
    let index = fs::read(copy.join("index.json")).unwrap();
    prepare();
    let work = stratafs.target("work");
    run(&["snapshot", "mount", "work", work.to_str().unwrap()]);
    assert_eq!(fs::read(work.join("below")).unwrap(), b"lazy");
    let mounts: Vec<Value> = serde_json::from_str(&run(&["--json", "mounts"])).unwrap();
    assert!(mounts.iter().any(|mount| mount["mode"] == mode), "{mounts:?}");
    fs::write(work.join("changed"), noise(5 << 20)).unwrap();
    let image = format!("oci:{}:changed", copy.display());
    refuse(&["commit", "work", &image]);
    assert_eq!(fs::read(copy.join("index.json")).unwrap(), index);

    disk.give_back();
    run(&["commit", "work", &image]);
    let names = run(&["ls", &image, "/"]);
    assert!(names.contains("below") && names.contains("changed"), "{names}");
    corpus::run(Command::new("umount").arg(&work));
    run(&apply);
    run(&["snapshot", "mount", "work", work.to_str().unwrap()]);
    assert_eq!(fs::metadata(work.join("large")).unwrap().len(), 24 << 20);
    assert_eq!(fs::read(work.join("below")).unwrap(), b"lazy");
}

#[test]
fn a_commit_to_an_image_leaves_the_layout_as_it_was() {
    let layout = Layout::of(&[Layer::gzip(&Archive::new().file("a", b"a").finish())]);
    let disk = nearly_full();
    let copy = disk.at().join("layout");
    corpus::run(Command::new("cp").arg("-a").arg(layout.path()).arg(&copy));
    let files = || -> Vec<PathBuf> {
        let mut files: Vec<_> = [copy.clone(), copy.join("blobs/sha256")]
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
            .collect();
        files.sort();
        files
    };
    let (before, index) = (files(), fs::read(copy.join("index.json")).unwrap());

    let stratafs = Stratafs::new();
    let top = stratafs.run(&["unpack", &layout.image()]);
    stratafs.run(&["snapshot", "prepare", "work", top.trim_end()]);
    let work = stratafs.mount_snapshot("work");
    fs::write(work.join("large"), noise(24 << 20)).unwrap();
    corpus::run(Command::new("umount").arg(&work));
    let image = format!("oci:{}:changed", copy.display());
    let error = stratafs.refuse(&["commit", "work", &image]);
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(files(), before);
    assert_eq!(fs::read(copy.join("index.json")).unwrap(), index);
    disk.give_back();
    stratafs.run(&["commit", "work", &image]);
    assert!(stratafs.run(&["ls", &image, "/"]).contains("large"));
}
