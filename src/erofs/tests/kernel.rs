//! What the kernel makes of images.

use super::made::{Made, folder};
use crate::archive::{Device, FileType, Xattr};
use crate::erofs::{DataPath, Error, Image, probe};
use crate::layer::{Extent, Inode, Name, Target, Toc};
use crate::tree::tests::chain::{inode, layer, merged, path};

fn add(toc: &mut Toc, name: &str, new: Inode) {
    toc.names.push(Name { path: path(name), target: Target::Inode(toc.inodes.len() as u32) });
    toc.inodes.push(new);
    toc.names.sort_by(|a, b| a.path.cmp(&b.path));
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.into(), value: value.to_vec() }
}

/// Everything that an image can hold.
fn all() -> Toc {
    let mut toc = layer(&[
        "dir ",
        "dir d",
        "file d/a",
        "link d/b d/a",
        "symlink short d/a",
        "dir empty",
        "file -before-the-dots",
        "file .-between-the-dots",
        "file ..after",
        "file .hidden",
    ]);
    for (name, file_type) in
        [("char", FileType::CharDevice), ("block", FileType::BlockDevice), ("fifo", FileType::Fifo)]
    {
        let mut new = inode(file_type);
        if file_type != FileType::Fifo {
            new.metadata.device = Device { major: 0xabc, minor: 0xbcdef };
        }
        add(&mut toc, name, new);
    }
    for len in [1, 4031, 4032, 4033, 4095] {
        let mut new = inode(FileType::Symlink);
        new.link_target = vec![b'x'; len];
        add(&mut toc, &format!("link-{len}"), new);
    }
    let mut setuid = inode(FileType::Regular);
    setuid.metadata.mode = 0o7777;
    (setuid.metadata.uid, setuid.metadata.gid) = (u32::MAX - 1, 1 << 20);
    setuid.metadata.mtime.secs = -1;
    setuid.metadata.mtime.nanos = 999_999_999;
    add(&mut toc, "setuid", setuid);
    let mut far = inode(FileType::Regular);
    far.metadata.mtime.secs = 1 << 40;
    add(&mut toc, &"n".repeat(255), far);
    toc
}

#[test]
fn a_mounted_image_is_the_tree() {
    let tree = merged(&[all()]);
    let dir = folder();
    let made = Made::new(&tree, dir.path());
    made.check();
    made.compare_mounted(DataPath::Cached);
    made.compare_mounted(DataPath::Direct);
}

#[test]
fn attributes_of_all_namespaces_are_shown() {
    // `access` of POSIX ACLs as getxattr gives it: version 2; user, group and others rwx, r-x, r-x.
    let acl: Vec<u8> = [2, 0, 0, 0]
        .into_iter()
        .chain(
            [(1, 7), (4, 5), (32, 5)]
                .iter()
                .flat_map(|(tag, perm)| [*tag, 0, *perm, 0, 0xff, 0xff, 0xff, 0xff]),
        )
        .collect();
    // VFS_CAP_REVISION_2 with CAP_NET_RAW, effective.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut toc = layer(&["dir d", "file a", "file b", "file c", "file d/e"]);
    let one = vec![
        xattr("security.capability", &capability),
        xattr("system.posix_acl_access", &acl),
        xattr("trusted.x", b""),
        xattr("user.a", b"value"),
        xattr("user.bb", &[7; 4000]),
    ];
    toc.inodes[0].metadata.xattrs = vec![xattr("system.posix_acl_default", &acl)];
    toc.inodes[1].metadata.xattrs = one.clone();
    toc.inodes[2].metadata.xattrs = one;
    toc.inodes[3].metadata.xattrs =
        vec![xattr("security.capability", &capability), xattr("user.z", b"1")];
    let mut large: Vec<Xattr> =
        (0..600).map(|n| xattr(&format!("user.k{n:03}"), &[n as u8; 50])).collect();
    large.push(xattr("user.l", &[9; 20_000]));
    toc.inodes[4].metadata.xattrs = large;
    for inode in &mut toc.inodes {
        // An ACL's entries and the mode are two views of one thing.
        inode.metadata.mode = 0o755;
    }
    let tree = merged(&[toc]);
    let dir = folder();
    let made = Made::new(&tree, dir.path());
    made.check();
    made.compare_mounted(DataPath::Cached);
}

#[test]
fn many_shared_attributes_and_the_longest_value_are_shown() {
    let mut toc = layer(&["file a", "file b", "file c"]);
    let many: Vec<Xattr> =
        (0..300).map(|n| xattr(&format!("user.k{n:03}"), &[n as u8; 9])).collect();
    toc.inodes[0].metadata.xattrs = many.clone();
    toc.inodes[1].metadata.xattrs = many;
    toc.inodes[2].metadata.xattrs = vec![xattr("user.long", &vec![5; 65_535])];
    let tree = merged(&[toc]);
    let dir = folder();
    let made = Made::new(&tree, dir.path());
    made.check();
    made.compare_mounted(DataPath::Cached);
}

#[test]
fn holes_are_holes_and_read_as_zeros() {
    let mut toc = Toc::default();
    let extent = |file_offset, len| Extent { file_offset, len, layer_offset: file_offset / 3 };
    for (name, size, extents) in [
        ("all-hole", 1 << 30, vec![]),
        ("middle", 100_000, vec![extent(0, 10), extent(50_000, 8192), extent(99_999, 1)]),
        ("head-hole", 10 << 20, vec![extent(9 << 20, 5000)]),
        ("tail-hole", 5 << 30, vec![extent(4096, 4096)]),
        ("small-holes", 9000, vec![extent(1, 1), extent(5000, 1), extent(8999, 1)]),
        ("huge", 1 << 40, vec![extent(5, 10), extent(1 << 39, 10)]),
        ("empty", 0, vec![]),
    ] {
        let mut new = inode(FileType::Regular);
        (new.size, new.extents) = (size, extents);
        add(&mut toc, name, new);
    }
    let tree = merged(&[toc]);
    let dir = folder();
    let made = Made::new(&tree, dir.path());
    made.check();
    made.compare_mounted(DataPath::Cached);
    made.compare_mounted(DataPath::Direct);
    let mount = made.image.mount(&made.blob, DataPath::Cached).unwrap();
    let file = std::fs::File::open(mount.path().join("head-hole")).unwrap();
    let data = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)).unwrap();
    assert_eq!(data, 9 << 20);
}

#[test]
fn a_file_of_five_gib_is_read_at_both_ends() {
    let mut toc = Toc::default();
    let mut new = inode(FileType::Regular);
    // No 32 bits hold this size. Only what is read of the blob is ever written.
    new.size = (5 << 30) + 1;
    new.extents = vec![Extent { file_offset: 0, len: new.size, layer_offset: 0 }];
    add(&mut toc, "large", new);
    add(&mut toc, "next", layer(&["file a"]).inodes.remove(0));
    let tree = merged(&[toc]);
    let dir = folder();
    let image = Image::create(&tree, &dir.path().join("image")).unwrap();
    let blob = dir.path().join("blob");
    let file = std::fs::File::create(&blob).unwrap();
    file.set_len(tree.summary().data_len).unwrap();
    use std::os::unix::fs::FileExt;
    file.write_all_at(b"first", 0).unwrap();
    file.write_all_at(b"z", 5 << 30).unwrap();
    file.write_all_at(b"abc", (5 << 30) + 4096).unwrap();
    let mount = image.mount(&blob, DataPath::Cached).unwrap();
    let large = std::fs::File::open(mount.path().join("large")).unwrap();
    let mut found = [0; 5];
    large.read_exact_at(&mut found, 0).unwrap();
    assert_eq!(&found, b"first");
    assert_eq!(large.read_at(&mut found, 5 << 30).unwrap(), 1);
    assert_eq!(found[0], b'z');
    assert_eq!(std::fs::read(mount.path().join("next")).unwrap(), b"abc");
}

#[test]
fn a_probe_mounts_and_leaves_nothing() {
    let dir = folder();
    probe(dir.path()).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let error = probe(&dir.path().join("none")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
}

#[test]
fn an_empty_tree_mounts() {
    let tree = merged(&[]);
    let dir = folder();
    let made = Made::new(&tree, dir.path());
    made.check();
    made.compare_mounted(DataPath::Cached);
}

#[test]
fn a_refused_mount_says_why() {
    let tree = merged(&[layer(&["file a"])]);
    let dir = folder();
    let made = Made::new(&tree, dir.path());
    let error = made.image.mount(&dir.path().join("none"), DataPath::Cached).unwrap_err();
    assert!(matches!(error, Error::Mount { .. }));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("of erofs"), "{source}");
}

#[test]
fn paths_longer_than_a_mount_parameter_work() {
    let dir = folder();
    let deep = dir.path().join("x".repeat(200)).join("y".repeat(200));
    std::fs::create_dir_all(&deep).unwrap();
    let tree = merged(&[layer(&["file a"])]);
    Made::new(&tree, &deep).compare_mounted(DataPath::Cached);
}
