//! Images all of whose layers are here: their data come from a local file, without any server.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::layout::{Archive, Layer, Layout};
use super::program::Stratafs;
use crate::fixture::noise;
use crate::oracle;
use crate::registry::fake::Fake;
use crate::watchdog::wait_until;

/// An image in a registry.
pub(super) fn registry(layers: &[Layer]) -> (Fake, String) {
    let layout = Layout::of(layers);
    let registry = Fake::start();
    let index = fs::read(layout.path().join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let root = &index["manifests"][0];
    for blob in fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        registry.add_blob(&fs::read(blob.unwrap().path()).unwrap());
    }
    let manifest = fs::read(layout.blob(root["digest"].as_str().unwrap())).unwrap();
    registry.add_manifest("latest", root["mediaType"].as_str().unwrap(), &manifest);
    let image = format!("docker://{}/app:latest", registry.host());
    (registry, image)
}

pub(super) fn layers() -> [Layer; 2] {
    let lower = Archive::new().file("a", &noise(700_000)).file("gone", b"x").finish();
    let upper = Archive::new().file("b", &noise(3_000_001)).file(".wh.gone", b"");
    [Layer::gzip(&lower), Layer::zstd(&upper.link("c", b'1', "b").finish())]
}

/// The file of data of whole chains, once it is there.
fn data_file(stratafs: &Stratafs) -> Option<PathBuf> {
    let entries = fs::read_dir(stratafs.root().join("cache")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_named = |path: &PathBuf| path.extension().is_some_and(|e| e == "data");
    let hidden = |path: &PathBuf| path.file_name().unwrap().as_encoded_bytes().starts_with(b".");
    paths.find(|path| is_named(path) && !hidden(path))
}

fn unmount(stratafs: &Stratafs, target: &Path) {
    stratafs.run(&["umount", target.to_str().unwrap()]);
}

/// A state root in which the data of `image` are in a file.
fn complete(image: &str) -> (Stratafs, oracle::Snapshot) {
    let stratafs = Stratafs::new();
    let first = stratafs.mount(image, &["--mode", "erofs"]);
    assert_eq!(stratafs.mount_on(&first)["local"], false);
    let seen = oracle::snapshot(&first);
    wait_until("the data are in a file", || data_file(&stratafs).is_some());
    unmount(&stratafs, &first);
    (stratafs, seen)
}

#[test]
fn the_next_mount_of_a_complete_image_asks_no_server_for_data() {
    let (_registry, image) = registry(&layers());
    let (stratafs, seen) = complete(&image);
    let second = stratafs.mount(&image, &[]);
    let told = stratafs.mount_on(&second);
    assert_eq!((&told["mode"], &told["local"]), (&"erofs".into(), &true.into()));
    // All of the metadata and data are read after the server's death.
    let pid = nix::unistd::Pid::from_raw(told["pid"].as_i64().unwrap().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    oracle::assert_same(&seen, &oracle::snapshot(&second));
    let by_fuse = stratafs.mount(&image, &["--mode", "fuse"]);
    oracle::assert_same(&seen, &oracle::snapshot(&by_fuse));
    unmount(&stratafs, &second);
    assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
}

#[test]
fn verifying_finds_damage_of_a_data_file_and_the_next_mount_does_without() {
    let (_registry, image) = registry(&layers());
    let (stratafs, seen) = complete(&image);
    let said = stratafs.run(&["cache", "verify"]);
    assert!(said.contains(".data  data of a whole chain: right"), "{said}");
    let file = data_file(&stratafs).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let error = stratafs.refuse(&["cache", "verify"]);
    assert!(error.contains("0 spans and 1 files"), "{error}");
    assert!(!file.exists());
    stratafs.run(&["cache", "verify"]);
    let target = stratafs.mount(&image, &[]);
    oracle::assert_same(&seen, &oracle::snapshot(&target));
}

#[test]
fn pruning_removes_what_nobody_uses_and_mounts_go_on() {
    let (_registry, image) = registry(&layers());
    let (stratafs, seen) = complete(&image);
    let second = stratafs.mount(&image, &[]);
    assert_eq!(stratafs.mount_on(&second)["local"], true);
    stratafs.run(&["cache", "prune"]);
    assert!(data_file(&stratafs).is_some(), "in use");
    oracle::assert_same(&seen, &oracle::snapshot(&second));
    unmount(&stratafs, &second);
    stratafs.run(&["cache", "prune"]);
    assert!(data_file(&stratafs).is_none());
    let listed: Value = serde_json::from_str(&stratafs.run(&["--json", "cache", "ls"])).unwrap();
    assert_eq!((&listed["whole_chains"], &listed["used"]), (&0.into(), &0.into()));
    let third = stratafs.mount(&image, &[]);
    oracle::assert_same(&seen, &oracle::snapshot(&third));
}

#[test]
fn a_data_file_that_goes_is_missed_by_nobody() {
    let (_registry, image) = registry(&layers());
    let (stratafs, seen) = complete(&image);
    let second = stratafs.mount(&image, &[]);
    fs::remove_file(data_file(&stratafs).unwrap()).unwrap();
    oracle::assert_same(&seen, &oracle::snapshot(&second));
    let third = stratafs.mount(&image, &[]);
    assert_eq!(stratafs.mount_on(&third)["local"], false);
    oracle::assert_same(&seen, &oracle::snapshot(&third));
}

#[test]
fn a_data_file_that_is_not_whole_or_of_another_chain_is_not_used() {
    let (_registry, image) = registry(&layers());
    let (stratafs, seen) = complete(&image);
    let file = data_file(&stratafs).unwrap();
    let whole = fs::read(&file).unwrap();
    let mut other = whole.clone();
    // In the last block: what the data are of.
    let place = whole.len() - 4096 + 30;
    other[place] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &other[..], b""] {
        fs::write(&file, damaged).unwrap();
        let target = stratafs.mount(&image, &[]);
        oracle::assert_same(&seen, &oracle::snapshot(&target));
        unmount(&stratafs, &target);
    }
}
