use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

use super::Mount;
use crate::fixture::Layer;

fn list(path: &Path) -> BTreeMap<OsString, u64> {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name(), entry.ino())).collect()
}

#[test]
fn a_listing_has_every_name_once_with_its_inode_and_type() {
    let layer = Layer::new()
        .dir("d", 0o755)
        .dir("d/sub", 0o755)
        .file("d/file", 0o644, b"x")
        .symlink("d/link", "file");
    let mount = Mount::of(layer);
    let listed = list(&mount.path("d"));
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["file", "link", "sub"]);
    for (name, ino) in listed {
        assert_eq!(mount.path("d").join(name).symlink_metadata().unwrap().ino(), ino);
    }
    for entry in std::fs::read_dir(mount.path("d")).unwrap().map(Result::unwrap) {
        let stat = entry.path().symlink_metadata().unwrap();
        assert_eq!(entry.file_type().unwrap(), stat.file_type());
    }
}

#[test]
fn an_empty_directory_lists_nothing() {
    let mount = Mount::of(Layer::new().dir("empty", 0o755));
    assert!(list(&mount.path("empty")).is_empty());
}

#[test]
fn twenty_thousand_names_are_listed_each_once() {
    let mut layer = Layer::new();
    for n in 0..20_000 {
        layer = layer.file(&format!("many/file-{n:05}"), 0o644, b"");
    }
    let mount = Mount::of(layer);
    let names: Vec<OsString> =
        std::fs::read_dir(mount.path("many")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 20_000);
    let sorted: Vec<OsString> = (0..20_000).map(|n| format!("file-{n:05}").into()).collect();
    let mut found = names;
    found.sort();
    assert_eq!(found, sorted);
}

#[test]
fn a_second_listing_asks_nothing() {
    let mount = Mount::of(Layer::new().file("d/a", 0o644, b"").file("d/b", 0o644, b""));
    list(&mount.path("d"));
    let readdirs = mount.mounted().stats().readdirs.get();
    for _ in 0..5 {
        list(&mount.path("d"));
    }
    assert_eq!(mount.mounted().stats().readdirs.get(), readdirs);
}

#[test]
fn a_walk_with_stat_asks_for_directories_and_not_for_files() {
    let mut layer = Layer::new();
    for n in 0..500 {
        layer = layer.file(&format!("d/{n:03}"), 0o644, b"");
    }
    let mount = Mount::of(layer);
    for entry in std::fs::read_dir(mount.path("d")).unwrap() {
        entry.unwrap().metadata().unwrap();
    }
    let stats = mount.mounted().stats();
    let asked = stats.lookups.get() + stats.getattrs.get();
    assert!(asked < 250, "{asked} requests for 500 files");
}
