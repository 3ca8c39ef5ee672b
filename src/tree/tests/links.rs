//! Hard links, within a layer and to lower ones.

use super::chain::{layer, merged, show};
use crate::layer::Toc;
use crate::tree::{Error, merge};

fn shown(layers: &[&[&str]]) -> Vec<String> {
    let layers: Vec<Toc> = layers.iter().map(|lines| layer(lines)).collect();
    show(&merged(&layers))
}

fn refused(layers: &[&[&str]]) -> String {
    let layers: Vec<Toc> = layers.iter().map(|lines| layer(lines)).collect();
    merge(&layers.iter().collect::<Vec<_>>()).unwrap_err().to_string()
}

#[test]
fn names_of_one_inode_share_a_number() {
    let tree = merged(&[layer(&["file a", "link b a", "link d/c a"])]);
    assert_eq!(show(&tree)[0], "file /a @0 x3");
    let number = |path: &[u8]| tree.resolve(path, false).unwrap().ino;
    assert_eq!(number(b"a"), number(b"b"));
    assert_eq!(number(b"a"), number(b"d/c"));
    assert_eq!(tree.summary().inodes, 3);
}

#[test]
fn the_link_count_is_that_of_the_merged_tree() {
    let got = shown(&[&["file a", "link b a", "link c a"], &["hide b", "file c"]]);
    assert_eq!(got, ["file /a @0", "file /c @1"]);
}

#[test]
fn a_link_keeps_the_inode_when_its_first_name_is_hidden_later() {
    assert_eq!(shown(&[&["file a", "link b a"], &["hide a"]]), ["file /b @0"]);
    assert_eq!(shown(&[&["file a", "link b a"], &["file a"]]), ["file /a @1", "file /b @0"]);
}

#[test]
fn a_link_to_a_lower_file_is_the_lower_inode() {
    let tree = merged(&[layer(&["file d/a"]), layer(&["lower b d/a"])]);
    assert_eq!(show(&tree), ["file /b @0 x2", "dir /d @0 implied", "file /d/a @0 x2"]);
    let layers = |path: &[u8]| tree.resolve(path, false).unwrap().layer;
    assert_eq!((layers(b"b"), layers(b"d/a")), (1, 0));
}

#[test]
fn a_link_whose_target_the_same_layer_hides_keeps_the_inode() {
    assert_eq!(shown(&[&["file a"], &["lower b a", "hide a"]]), ["file /b @0"]);
    assert_eq!(shown(&[&["file d/a"], &["lower b d/a", "hide d"]]), ["file /b @0"]);
    assert_eq!(
        shown(&[&["file d/a"], &["lower d/b d/a", "opaque d"]]),
        ["dir /d @1 implied", "file /d/b @0"]
    );
}

#[test]
fn a_link_may_replace_its_own_target() {
    assert_eq!(shown(&[&["file a"], &["lower a a", "hide a"]]), ["file /a @0"]);
}

#[test]
fn a_link_to_a_link_to_a_lower_file_is_one_inode() {
    let got = shown(&[&["file a"], &["lower b a", "hide a"], &["lower c b"]]);
    assert_eq!(got, ["file /b @0 x2", "file /c @0 x2"]);
}

#[test]
fn a_link_to_what_is_not_there_is_refused_by_name() {
    let expected = "layer 2: /b is a hard link to /a, which no layer below has";
    assert_eq!(refused(&[&["file x"], &["lower b a"]]), expected);
    // Its own layer's file does not count.
    assert_eq!(refused(&[&["file x"], &["lower b a", "file a"]]), expected);
}

#[test]
fn a_link_to_what_a_middle_layer_hid_is_refused() {
    for middle in ["hide d", "hide d/a", "opaque d", "opaque ", "file d"] {
        let error = refused(&[&["file d/a"], &[middle], &["lower b d/a"]]);
        assert!(error.starts_with("layer 3: /b is a hard link to /d/a, which no"), "{middle}");
    }
}

#[test]
fn a_link_through_a_middle_layers_folder_finds_the_lower_file() {
    let got = shown(&[&["file d/a"], &["file d/b", "hide d/c"], &["lower l d/a"]]);
    assert!(got.contains(&"file /l @0 x2".to_owned()));
}

#[test]
fn a_link_to_a_folder_is_refused() {
    for below in ["dir a", "file a/b"] {
        let layers = [layer(&[below]), layer(&["lower b a"])];
        let error = merge(&[&layers[0], &layers[1]]).unwrap_err();
        assert!(matches!(error, Error::LinkToDirectory { layer: 1, .. }), "{below}: {error}");
    }
}

#[test]
fn a_link_to_a_symlink_links_the_symlink() {
    let got = shown(&[&["symlink s gone"], &["lower t s"]]);
    assert_eq!(got, ["symlink /s @0 x2", "symlink /t @0 x2"]);
}
