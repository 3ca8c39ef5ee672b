//! The view that shows each layer alone.

use std::fs;
use std::path::Path;

use super::layout::{Archive, Layer, Layout};
use super::program::Stratafs;

/// The names in a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn each_layer_is_shown_alone_with_its_whiteouts() {
    let lower = Layer::gzip(&Archive::new().file("gone", b"1").file("kept", b"2").finish());
    let upper = Layer::gzip(&Archive::new().file(".wh.gone", b"").file("new", b"3").finish());
    let layout = Layout::of(&[lower.clone(), upper.clone()]);
    let stratafs = Stratafs::new();
    let target = stratafs.mount(&layout.image(), &["--layers"]);
    assert_eq!(names(&target), ["blobs", "chains", "layers"]);
    let alone = |layer: &Layer| target.join("layers").join(layer.diff_id.replace(':', "-"));
    assert_eq!(names(&alone(&lower)), ["gone", "kept"]);
    assert_eq!(names(&alone(&upper)), [".wh.gone", "new"]);
    let [chain] = &names(&target.join("chains"))[..] else { panic!("one chain") };
    let merged = target.join("chains").join(chain);
    assert_eq!(names(&merged), ["kept", "new"]);
    assert_eq!(fs::read(merged.join("new")).unwrap(), b"3");
    stratafs.run(&["umount", target.to_str().unwrap()]);
    assert!(names(&target).is_empty());
}

#[test]
fn the_view_of_layers_takes_no_changes() {
    let layout = Layout::of(&[Layer::gzip(&Archive::new().file("f", b"1").finish())]);
    let stratafs = Stratafs::new();
    let target = stratafs.target("both");
    let arguments =
        ["mount", &layout.image(), target.to_str().unwrap(), "--layers", "--rw", "upper"];
    let output = stratafs.command(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be used with"), "{output:?}");
}
