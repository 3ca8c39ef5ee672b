//! The tree file, and reading it.

use super::chain::{identities, layer, merged, show};
use crate::error::{Classify, Kind};
use crate::tree::{Error, ROOT, Tree, merge};

#[test]
fn a_written_tree_reads_back_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.tree");
    let toc = layer(&["dir d", "file d/a", "symlink s d/a"]);
    let merged = merge(&[&toc]).unwrap();
    Tree::write(&merged, &identities(1), &path).unwrap();
    let tree = Tree::open(&path).unwrap();
    assert_eq!(show(&tree), ["dir /d @0", "file /d/a @0", "symlink /s @0"]);
    assert_eq!(tree.layers(), identities(1));
    assert_eq!(tree.chain_id().unwrap().digest(), identities(1)[0].diff_id.digest());
    assert_eq!(std::fs::read(&path).unwrap().len() % 4, 0);
    tree.verify().unwrap();
    let summary = tree.summary();
    assert_eq!((summary.inodes, summary.names, summary.directories), (4, 3, 2));
    assert_eq!((summary.bytes, summary.layers, summary.has_xattrs), (3, 1, false));
}

#[test]
fn layers_must_be_named_all() {
    let error = Tree::in_memory(&merge(&[]).unwrap(), &identities(1)).unwrap_err();
    assert!(matches!(error, Error::LayerCount { given: 1, merged: 0 }));
}

#[test]
fn a_missing_file_and_a_foreign_one_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let error = Tree::open(&path).unwrap_err();
    assert_eq!((error.kind(), error.needs_rebuild()), (Kind::NotFound, false));
    std::fs::write(&path, "something else").unwrap();
    let error = Tree::open(&path).unwrap_err();
    assert!(matches!(error, Error::NotATree { .. }) && error.needs_rebuild());
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Tree::open(&path), Err(Error::NotATree { .. })));
    assert!(matches!(Tree::open(dir.path()), Err(Error::Io { .. })));
}

#[test]
fn calls_on_the_wrong_kind_of_inode_are_refused() {
    let tree = merged(&[layer(&["file a", "symlink s a"])]);
    assert!(matches!(tree.node(0), Err(Error::NoSuchInode(0))));
    assert!(matches!(tree.node(4), Err(Error::NoSuchInode(4))));
    assert!(matches!(tree.node(u32::MAX), Err(Error::NoSuchInode(_))));
    assert!(matches!(tree.lookup(2, b"x"), Err(Error::NotADirectory(2))));
    assert!(matches!(tree.children(3, 0), Err(Error::NotADirectory(3))));
    assert!(matches!(tree.parent(2), Err(Error::NotADirectory(2))));
    assert!(matches!(tree.link_target(2), Err(Error::NotASymlink(2))));
    assert_eq!(tree.extents(ROOT, 0).unwrap().count(), 0);
    assert_eq!(tree.children(ROOT, 2).unwrap().count(), 0);
    assert_eq!(tree.children(ROOT, u64::MAX).unwrap().count(), 0);
}

#[test]
fn paths_resolve_as_in_a_chroot() {
    let tree = merged(&[layer(&[
        "dir a",
        "dir a/b",
        "file a/b/f",
        "symlink a/abs /a/b",
        "symlink a/rel b/../b",
        "symlink a/up ../../../../a/b/f",
        "symlink end a/abs/f",
        "symlink loop loop",
        "symlink dangling nothing",
        "symlink slash /",
    ])]);
    let ino = |path: &str, follow| tree.resolve(path.as_bytes(), follow).map(|place| place.ino);
    let file = ino("a/b/f", false).unwrap();
    for path in
        ["/a/b/f", "a//b/./f", "a/abs/f", "a/rel/f", "a/up", "end", "../../a/b/f", "slash/end"]
    {
        assert_eq!(ino(path, true).unwrap(), file, "{path}");
    }
    assert_ne!(ino("end", false).unwrap(), file);
    assert_eq!(ino("a/abs/..", true).unwrap(), ino("a", true).unwrap());
    assert_eq!(ino("a/abs/", false).unwrap(), ino("a/b", true).unwrap());
    assert_eq!(ino("", true).unwrap(), ROOT);
    assert_eq!(ino("/", true).unwrap(), ROOT);
    assert_eq!(tree.resolve(b"a/b/f", true).unwrap().parent, ino("a/b", true).unwrap());
    assert!(matches!(ino("loop", true), Err(Error::LinkLoop(_))));
    assert!(ino("loop", false).is_ok());
    assert!(matches!(ino("dangling", true), Err(Error::NotFound(_))));
    assert!(matches!(ino("a/b/g", true), Err(Error::NotFound(_))));
    assert!(matches!(ino("a/b/f/g", true), Err(Error::ThroughFile(_))));
    assert!(matches!(ino("a/b/f/", true), Err(Error::ThroughFile(_))));
    assert!(matches!(ino("a/b/f/..", true), Err(Error::ThroughFile(_))));
}

#[test]
fn names_of_any_bytes_and_255_of_them_are_found() {
    let long = "n".repeat(255);
    let mut toc = layer(&[&format!("file {long}"), "file a"]);
    toc.names[0].path = crate::archive::LayerPath::parse(b"\xff\xfe\x01").unwrap();
    toc.names.sort_by(|a, b| a.path.cmp(&b.path));
    let tree = merged(&[toc]);
    assert!(tree.lookup(ROOT, b"\xff\xfe\x01").unwrap().is_some());
    assert!(tree.lookup(ROOT, long.as_bytes()).unwrap().is_some());
    assert_eq!(tree.lookup(ROOT, &long.as_bytes()[..254]).unwrap(), None);
}
