//! Trees that no image can show, and images that are of no use.

use super::made::folder;
use crate::archive::{Device, FileType, Xattr};
use crate::erofs::{Error, Image, write};
use crate::error::{Classify, Kind};
use crate::layer::{Extent, Toc};
use crate::tree::Tree;
use crate::tree::tests::chain::{layer, merged};

fn refused(toc: Toc) -> Error {
    let error = write(&merged(&[toc]), &mut std::io::Cursor::new(Vec::new())).unwrap_err();
    assert!(error.is_limit() && error.kind() == Kind::NotImplemented);
    error
}

fn with_xattr(name: &str, len: usize) -> Toc {
    let mut toc = layer(&["file a"]);
    toc.inodes[0].metadata.xattrs = vec![Xattr { name: name.into(), value: vec![0; len] }];
    toc
}

#[test]
fn what_erofs_has_no_place_for_is_refused() {
    for name in ["system.nfs4_acl", "btrfs.compression", "user.", "plain"] {
        let error = refused(with_xattr(name, 1));
        assert!(matches!(error, Error::XattrNamespace { ino: 2, .. }), "{name}");
    }
    assert!(matches!(refused(with_xattr("user.a", 65_536)), Error::XattrValue { ino: 2, .. }));
    let mut many = layer(&["file a"]);
    many.inodes[0].metadata.xattrs = (0..5)
        .map(|n| Xattr { name: format!("user.{n}").into(), value: vec![0; 60_000] })
        .collect();
    assert!(matches!(refused(many), Error::Xattrs { ino: 2 }));
    let mut device = layer(&["file a"]);
    device.inodes[0] = crate::tree::tests::chain::inode(FileType::CharDevice);
    device.inodes[0].metadata.device = Device { major: 1 << 12, minor: 0 };
    assert!(matches!(refused(device), Error::Device { ino: 2, .. }));
    let mut large = layer(&["file a"]);
    large.inodes[0].size = 1 << 45;
    large.inodes[0].extents = vec![Extent { file_offset: 0, len: 1 << 45, layer_offset: 0 }];
    assert!(matches!(refused(large), Error::TooMany { what: "blocks of data", .. }));
}

#[test]
fn nothing_is_left_of_an_image_that_cannot_be() {
    let dir = folder();
    let tree = merged(&[with_xattr("system.x", 1)]);
    assert!(Image::create(&tree, &dir.path().join("image")).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn image_of(lines: &[&str]) -> (Tree, Vec<u8>) {
    let tree = merged(&[layer(lines)]);
    let mut out = std::io::Cursor::new(Vec::new());
    let len = write(&tree, &mut out).unwrap();
    assert_eq!(len, out.get_ref().len() as u64);
    (tree, out.into_inner())
}

#[test]
fn the_same_tree_gives_the_same_image_and_another_one_does_not_take_it() {
    let (tree, bytes) = image_of(&["file a"]);
    assert!(bytes == image_of(&["file a"]).1);
    let dir = folder();
    let path = dir.path().join("image");
    std::fs::write(&path, &bytes).unwrap();
    Image::open(&tree, &path).unwrap().verify().unwrap();
    let (other, _) = image_of(&["file b"]);
    assert!(matches!(Image::open(&other, &path), Err(Error::Stale { .. })));
    assert!(matches!(Image::open(&tree, &dir.path().join("none")), Err(Error::Io { .. })));
}

#[test]
fn any_damage_is_found() {
    let (tree, good) = image_of(&["dir d", "file d/a", "symlink s d"]);
    let dir = folder();
    let path = dir.path().join("image");
    // The first 1,024 bytes are nobody's.
    for place in (1024..good.len()).step_by(13) {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let checked = Image::open(&tree, &path).and_then(|image| image.verify());
        assert!(matches!(checked, Err(Error::Stale { .. })), "byte {place}");
    }
    for len in [0, 1000, 4096, good.len() - 1] {
        std::fs::write(&path, &good[..len]).unwrap();
        assert!(matches!(Image::open(&tree, &path), Err(Error::Stale { .. })), "{len}");
    }
}

#[test]
fn an_output_that_refuses_is_named() {
    let tree = merged(&[layer(&["file a"])]);
    let error = Image::create(&tree, std::path::Path::new("/proc/none/image")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && !error.is_limit());
    let mut short = [0; 1000];
    let error = write(&tree, &mut std::io::Cursor::new(&mut short[..])).unwrap_err();
    assert!(matches!(error, Error::Output(_)));
}

#[test]
fn the_last_block_of_a_directory_is_with_its_inode_wherever_it_fits() {
    let layout_of_root = |names: usize| {
        let lines: Vec<String> = (0..names).map(|n| format!("file {n:040}")).collect();
        let (_, bytes) = image_of(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        // The root is the first inode of block 1: bits 1 to 3 of `i_format`.
        bytes[4096] >> 1 & 7
    };
    // `.` and `..` take 27 bytes, a name takes 52, the inode 64.
    assert_eq!(layout_of_root(77), 2, "27 + 77 * 52 = 4031 bytes, in line");
    assert_eq!(layout_of_root(78), 0, "4083 bytes do not fit beside the inode");
    assert_eq!(layout_of_root(79), 2, "one block and 52 bytes of the next");
}
