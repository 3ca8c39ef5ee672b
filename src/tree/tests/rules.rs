//! One test a rule of merging.

use super::chain::{layer, merged, path, show, tree_of};
use crate::archive::{FileType, Xattr};
use crate::layer::{Target, Toc};
use crate::tree::{Error, Fault, ROOT, merge, raw};

fn shown(layers: &[&[&str]]) -> Vec<String> {
    let layers: Vec<Toc> = layers.iter().map(|lines| layer(lines)).collect();
    show(&merged(&layers))
}

#[test]
fn an_empty_chain_is_an_empty_root() {
    let tree = merged(&[]);
    assert_eq!(show(&tree), Vec::<String>::new());
    let root = tree.node(ROOT).unwrap();
    assert_eq!((root.file_type, root.mode, root.nlink), (FileType::Directory, 0o755, 2));
}

#[test]
fn a_whiteout_hides_lower_layers_with_all_below() {
    let got = shown(&[&["dir d", "file d/a", "dir d/s", "file d/s/b", "file e"], &["hide d"]]);
    assert_eq!(got, ["file /e @0"]);
}

#[test]
fn a_whiteout_beside_a_readded_folder_hides_the_lower_one_wholly() {
    let got = shown(&[&["dir d", "file d/old"], &["hide d", "dir d", "file d/new"]]);
    assert_eq!(got, ["dir /d @1", "file /d/new @1"]);
}

#[test]
fn a_whiteout_beside_an_implied_folder_hides_the_lower_attributes_too() {
    let got = shown(&[&["dir d", "file d/old"], &["hide d", "file d/new"]]);
    assert_eq!(got, ["dir /d @1 implied", "file /d/new @1"]);
}

#[test]
fn a_whiteout_does_not_hide_layers_above_it() {
    let got = shown(&[&["file a"], &["hide a"], &["file a"]]);
    assert_eq!(got, ["file /a @2"]);
}

#[test]
fn a_whiteout_of_nothing_makes_nothing() {
    assert_eq!(shown(&[&["file a"], &["hide x/y/z"]]), ["file /a @0"]);
    assert_eq!(shown(&[&["file a"], &["hide a/b"]]), ["file /a @0"]);
}

#[test]
fn an_opaque_folder_hides_lower_content_and_keeps_lower_attributes() {
    let got = shown(&[&["dir d", "file d/a", "dir d/s", "file d/s/b"], &["opaque d", "file d/n"]]);
    assert_eq!(got, ["dir /d @0", "file /d/n @1"]);
}

#[test]
fn an_opaque_marker_alone_makes_no_folder() {
    assert_eq!(shown(&[&["file a"], &["opaque d"]]), ["file /a @0"]);
    assert_eq!(shown(&[&["file d"], &["opaque d"]]), ["file /d @0"]);
}

#[test]
fn an_opaque_root_hides_all_lower_layers() {
    assert_eq!(shown(&[&["file a", "dir d"], &["opaque ", "file b"]]), ["file /b @1"]);
}

#[test]
fn a_file_replaces_a_folder_and_its_content() {
    assert_eq!(shown(&[&["dir d", "file d/a"], &["file d"]]), ["file /d @1"]);
}

#[test]
fn a_folder_replaces_a_file() {
    let got = shown(&[&["file d"], &["dir d", "file d/a"]]);
    assert_eq!(got, ["dir /d @1", "file /d/a @1"]);
}

#[test]
fn what_a_file_hid_stays_hidden_under_a_folder_above_it() {
    let got = shown(&[&["dir d", "file d/old"], &["file d"], &["file d/new"]]);
    assert_eq!(got, ["dir /d @2 implied", "file /d/new @2"]);
}

#[test]
fn an_implied_folder_replaces_a_symlink_and_does_not_follow_it() {
    let got = shown(&[&["dir usr", "dir usr/bin", "symlink bin usr/bin"], &["file bin/x"]]);
    assert_eq!(got, ["dir /bin @1 implied", "file /bin/x @1", "dir /usr @0", "dir /usr/bin @0"]);
}

#[test]
fn folders_merge_and_take_the_topmost_attributes() {
    let got = shown(&[&["dir d", "file d/a"], &["dir d", "file d/b"], &["file d/c"]]);
    assert_eq!(got, ["dir /d @1", "file /d/a @0", "file /d/b @1", "file /d/c @2"]);
}

#[test]
fn missing_parents_are_roots_and_of_1970() {
    let got = shown(&[&["file a/b/c"]]);
    assert_eq!(got, ["dir /a @0 implied", "dir /a/b @0 implied", "file /a/b/c @0"]);
}

#[test]
fn siblings_that_sort_between_a_folder_and_its_content_stay_apart() {
    let got = shown(&[&["file a/x", "file a-b", "file a.b"], &["file a!/y", "file a/w"]]);
    let paths: Vec<&str> = got.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(paths, ["/a", "/a/w", "/a/x", "/a!", "/a!/y", "/a-b", "/a.b"]);
    let tree = merged(&[layer(&["file a/x", "file a-b", "file a.b"])]);
    let names: Vec<_> = tree.children(ROOT, 0).unwrap().map(|c| c.unwrap().name).collect();
    assert_eq!(names, [&b"a"[..], b"a-b", b"a.b"]);
}

#[test]
fn the_root_takes_the_topmost_listed_attributes() {
    let mut low = layer(&["dir ", "file a"]);
    low.inodes[0].metadata.mode = 0o700;
    let mut high = layer(&["dir ", "file b"]);
    high.inodes[0].metadata.mode = 0o711;
    let tree = merged(&[low, high, layer(&["file c"])]);
    let root = tree.node(ROOT).unwrap();
    assert_eq!((root.mode, root.layer), (0o711, 1));
    assert_eq!(tree.parent(ROOT).unwrap(), ROOT);
}

#[test]
fn folders_count_their_subfolders() {
    let tree = merged(&[layer(&["dir a", "dir a/b", "file a/f", "dir a/c"]), layer(&["dir a/d"])]);
    let ino = tree.resolve(b"a", false).unwrap().ino;
    assert_eq!(tree.node(ino).unwrap().nlink, 5);
    assert_eq!(tree.node(ROOT).unwrap().nlink, 3);
}

#[test]
fn overlay_attributes_are_hidden_but_not_in_a_layer_alone() {
    let mut toc = layer(&["file a"]);
    toc.inodes[0].metadata.xattrs =
        ["security.capability", "trusted.overlay.opaque", "trusted.overlayx", "user.overlay.x"]
            .map(|name| Xattr { name: name.into(), value: b"y".to_vec() })
            .to_vec();
    let names = |tree: &crate::tree::Tree| {
        let ino = tree.resolve(b"a", false).unwrap().ino;
        let names = tree.xattrs(ino).unwrap().map(|x| x.unwrap().0.to_vec());
        names.map(|n| String::from_utf8(n).unwrap()).collect::<Vec<_>>()
    };
    let alone = tree_of(&raw(&toc).unwrap());
    assert_eq!(names(&alone).len(), 4);
    assert_eq!(names(&merged(&[toc])), ["security.capability", "trusted.overlayx"]);
}

#[test]
fn an_inode_with_only_overlay_attributes_has_none() {
    let mut toc = layer(&["dir d"]);
    toc.inodes[0].metadata.xattrs =
        vec![Xattr { name: b"trusted.overlay.opaque".to_vec(), value: b"y".to_vec() }];
    let tree = merged(&[toc]);
    assert!(!tree.node(2).unwrap().has_xattrs && !tree.summary().has_xattrs);
}

#[test]
fn a_folder_that_is_named_as_a_marker_takes_its_place() {
    let toc = layer(&["dir d", "opaque d", "hide d/.wh..wh..opq/x"]);
    let tree = tree_of(&raw(&toc).unwrap());
    let expected = ["dir /d @0", "dir /d/.wh..wh..opq @0 implied", "file /d/.wh..wh..opq/.wh.x @0"];
    assert_eq!(show(&tree), expected);
}

#[test]
fn a_layer_alone_shows_its_whiteouts() {
    let toc = layer(&["dir d", "file d/a", "hide d/x", "hide y/z", "opaque d", "lower l q/r"]);
    let tree = tree_of(&raw(&toc).unwrap());
    assert_eq!(
        show(&tree),
        [
            "dir /d @0",
            "file /d/.wh..wh..opq @0",
            "file /d/.wh.x @0",
            "file /d/a @0",
            "symlink /l @0",
            "dir /y @0 implied",
            "file /y/.wh.z @0",
        ]
    );
    let link = tree.resolve(b"l", false).unwrap().ino;
    assert_eq!(tree.link_target(link).unwrap(), b"/q/r");
}

fn fault(toc: &Toc) -> Fault {
    match merge(&[&Toc::default(), toc]).unwrap_err() {
        Error::BrokenToc { layer: 1, fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn broken_tables_are_refused_by_layer_and_path() {
    let mut unsorted = layer(&["file a", "file b"]);
    unsorted.names.swap(0, 1);
    assert_eq!(fault(&unsorted), Fault::Order);
    let mut twice = layer(&["file a"]);
    twice.names.push(twice.names[0].clone());
    assert_eq!(fault(&twice), Fault::Order);
    let mut unsorted = layer(&["hide a", "hide b"]);
    unsorted.whiteouts.swap(0, 1);
    assert_eq!(fault(&unsorted), Fault::Order);
    let mut outside = layer(&["file a"]);
    outside.names[0].target = Target::Inode(1);
    assert_eq!(fault(&outside), Fault::Inode);
    assert_eq!(fault(&layer(&["file a", "file a/b"])), Fault::NotADirectory);
    assert_eq!(fault(&layer(&["lower a x", "file a/b"])), Fault::NotADirectory);
    assert_eq!(fault(&layer(&["file "])), Fault::Root);
    assert_eq!(fault(&layer(&["dir a", "link b a"])), Fault::DirectoryLink);
    assert_eq!(fault(&layer(&["symlink a "])), Fault::LinkTarget);
}

#[test]
fn attributes_out_of_range_are_refused() {
    let with = |change: fn(&mut crate::layer::Inode)| {
        let mut toc = layer(&["file a"]);
        change(&mut toc.inodes[0]);
        fault(&toc)
    };
    assert_eq!(with(|i| i.metadata.mode = 0o10000), Fault::Attributes);
    assert_eq!(with(|i| i.metadata.mtime.nanos = 1_000_000_000), Fault::Attributes);
    assert_eq!(with(|i| i.size = 1 << 63), Fault::Size);
    assert_eq!(with(|i| i.size = 2), Fault::Extents);
    assert_eq!(with(|i| i.extents[0].len = 0), Fault::Extents);
    assert_eq!(with(|i| i.extents[0].layer_offset = u64::MAX), Fault::Size);
    assert_eq!(with(|i| i.extents.push(i.extents[0])), Fault::Extents);
    let xattr = |name: &[u8], len| Xattr { name: name.to_vec(), value: vec![0; len] };
    for xattrs in [
        vec![xattr(b"b", 0), xattr(b"a", 0)],
        vec![xattr(b"a", 0), xattr(b"a", 1)],
        vec![xattr(b"", 0)],
        vec![xattr(&[b'x'; 256], 0)],
        vec![xattr(b"a", 65_537)],
    ] {
        let mut toc = layer(&["file a"]);
        toc.inodes[0].metadata.xattrs = xattrs;
        assert_eq!(fault(&toc), Fault::Xattrs);
    }
}

#[test]
fn an_error_names_the_path() {
    let error = merge(&[&layer(&["file a", "file a/b"])]).unwrap_err();
    assert_eq!(error.to_string(), "layer 1: /a/b: it lies below something that is no directory");
    assert!(matches!(error, Error::BrokenToc { path: p, .. } if p == path("a/b")));
}
