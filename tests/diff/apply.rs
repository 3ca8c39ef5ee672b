//! What applying keeps of a layer, and what it refuses.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use stratafs::archive::{FileType, LayerPath, Metadata, TarWriter};
use stratafs::diff::{Applied, ApplyOptions, Error, Target, apply};
use stratafs::digest::Digest;
use stratafs::error::{Classify, Kind};

use super::archive::{Member, dir, file, link, node, symlink, tar};
use super::fixture::{Stack, apply_bytes};

/// Applies `members` to an empty folder.
fn applied(members: &[Member]) -> (tempfile::TempDir, Applied) {
    let temp = tempfile::tempdir().unwrap();
    let applied = apply_bytes(tar(members), &Target::Folder(temp.path().into())).unwrap();
    (temp, applied)
}

fn refused(bytes: Vec<u8>) -> Error {
    let temp = tempfile::tempdir().unwrap();
    apply_bytes(bytes, &Target::Folder(temp.path().into())).unwrap_err()
}

fn stat(root: &Path, path: &str) -> fs::Metadata {
    fs::symlink_metadata(root.join(path)).unwrap()
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

#[test]
fn metadata_are_kept_in_full() {
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (root, _) = applied(&[
        dir("d", 0o2751).owner(10, 20).record("mtime", "1.000000001"),
        file("d/suid", "x").mode(0o6755).owner(1000, 1001),
        file("d/cap", "x").owner(3, 4).xattr("security.capability", capability),
        symlink("nowhere", "d/link").owner(5, 6).record("mtime", "-5.5"),
        file("d/big", "x").record("uid", "4000000000").record("gid", "3000000"),
        node(b'4', "d/block", (8, 1_048_575)).mode(0o660).owner(0, 6),
        node(b'3', "d/char", (511, 7)),
        node(b'6', "d/fifo", (0, 0)).mode(0o1622),
    ]);
    let at = |path| stat(root.path(), path);
    let mode = |path| at(path).mode() & 0o7777;
    let owner = |path| (at(path).uid(), at(path).gid());
    let mtime = |path| (at(path).mtime(), at(path).mtime_nsec());

    assert_eq!((mode("d"), owner("d"), mtime("d")), (0o2751, (10, 20), (1, 1)));
    assert_eq!((mode("d/suid"), owner("d/suid")), (0o6755, (1000, 1001)));
    assert_eq!(owner("d/cap"), (3, 4));
    assert_eq!(xattr(&root.path().join("d/cap"), "security.capability").unwrap(), capability);
    assert_eq!((owner("d/link"), mtime("d/link")), ((5, 6), (-6, 500_000_000)));
    assert_eq!(owner("d/big"), (4_000_000_000, 3_000_000));
    assert_eq!((mode("d/block"), owner("d/block")), (0o660, (0, 6)));
    assert_eq!(at("d/block").rdev(), libc::makedev(8, 1_048_575));
    assert_eq!(at("d/char").rdev(), libc::makedev(511, 7));
    assert_eq!(mode("d/fifo"), 0o1622);
    assert_eq!(mtime("d/suid"), (1_700_000_000, 0));
}

/// containerd's `TestTarWithXattr`.
#[test]
fn tar_with_xattr() {
    let label = b"unconfined_u:object_r:default_t:s0\0";
    for (name, value) in [("user.key", &b"value"[..]), ("security.selinux", label)] {
        let (root, applied) = applied(&[file("/file", "").xattr(name, value)]);
        assert_eq!(xattr(&root.path().join("file"), name).unwrap(), value);
        assert_eq!(applied.refused_xattrs, 0);
    }
}

#[test]
fn attributes_that_cannot_be_set_are_left_out_and_counted() {
    let (root, applied) = applied(&[
        file("f", "").xattr("trusted.overlay.redirect", "/etc").xattr("user.overlay.opaque", "y"),
        dir("d", 0o755).xattr("trusted.overlay.opaque", "y").xattr("trusted.kept", "1"),
        symlink("f", "l").xattr("user.not.on.links", "1"),
    ]);
    assert_eq!(applied.refused_xattrs, 4);
    let at = |path, name| xattr(&root.path().join(path), name);
    assert_eq!(at("d", "trusted.kept").unwrap(), b"1");
    for (path, name) in [("f", "trusted.overlay.redirect"), ("d", "trusted.overlay.opaque")] {
        assert_eq!(at(path, name), None);
    }
}

/// A folder of a layer takes the attributes of the lower one away; what one layer says twice adds.
#[test]
fn attributes_of_folders_are_those_of_the_last_layer() {
    let (root, _) = applied(&[
        dir("d", 0o755).xattr("user.a", "1"),
        dir("d", 0o755).xattr("user.b", "2"),
        file("d/kept", ""),
    ]);
    let names = || {
        let d = root.path().join("d");
        ["user.a", "user.b", "user.c"].map(|name| xattr(&d, name).is_some())
    };
    assert_eq!(names(), [true, true, false]);
    let next = tar(&[dir("d", 0o700).xattr("user.c", "3")]);
    apply_bytes(next, &Target::Folder(root.path().into())).unwrap();
    assert_eq!(names(), [false, false, true]);
    assert!(root.path().join("d/kept").exists());
}

/// containerd's `TestApplyTar`, case `DirectoryCreation`.
#[test]
fn directory_creation() {
    let (root, _) = applied(&[dir("/etc", 0o755)]);
    let next = tar(&[
        dir("/etc/subdir", 0o755),
        dir("/etc/subdir2/", 0o755),
        dir("/etc/subdir2/more", 0o755),
        dir("/other/noparent-1/1", 0o755),
        dir("/other/noparent-2/2/", 0o755),
    ]);
    apply_bytes(next, &Target::Folder(root.path().into())).unwrap();
    for path in ["etc/subdir2/more", "etc/subdir", "other/noparent-1/1", "other/noparent-2/2"] {
        assert!(stat(root.path(), path).is_dir());
    }
    let implied = stat(root.path(), "other/noparent-1");
    assert_eq!((implied.mode() & 0o7777, implied.mtime()), (0o755, 0));
    // Its content has changed, its own entry has not.
    assert_eq!(stat(root.path(), "etc").mtime(), 1_700_000_000);
}

#[test]
fn the_root_takes_the_metadata_of_its_entry() {
    for name in ["./", "/", "."] {
        let (root, _) = applied(&[dir(name, 0o711).owner(1, 2), file("f", "")]);
        let root = stat(root.path(), "");
        let seen = (root.mode() & 0o7777, root.uid(), root.gid(), root.mtime());
        assert_eq!(seen, (0o711, 1, 2, 1_700_000_000), "{name}");
    }
}

#[test]
fn access_lists_of_the_target_are_not_inherited() {
    let temp = tempfile::tempdir().unwrap();
    // Version 2, then (tag, permissions, id): owner, user 1000, group, mask, others.
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, !0), (2, 7, 1000), (4, 7, !0), (0x10, 7, !0), (0x20, 7, !0)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()));
        acl.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_default";
    rustix::fs::setxattr(temp.path(), name, &acl, rustix::fs::XattrFlags::empty()).unwrap();
    let members = [dir("d", 0o750), file("d/f", "").mode(0o640), node(b'6', "p", (0, 0))];
    let archive = tar(&[&members[..], &[file("implied/f", "").mode(0o600)]].concat());
    apply_bytes(archive, &Target::Folder(temp.path().into())).unwrap();
    for (path, mode) in
        [("d", 0o750), ("d/f", 0o640), ("p", 0o600), ("implied", 0o755), ("implied/f", 0o600)]
    {
        let at = temp.path().join(path);
        assert_eq!(stat(temp.path(), path).mode() & 0o7777, mode, "{path}");
        assert_eq!(xattr(&at, "system.posix_acl_access"), None, "{path}");
        assert_eq!(xattr(&at, name), None, "{path}");
    }
}

#[test]
fn sparse_files_have_holes() {
    let path = LayerPath::parse(b"sparse").unwrap();
    let metadata = Metadata { file_type: FileType::Regular, ..Metadata::implied_directory() };
    let mut writer = TarWriter::new(Vec::new());
    writer.sparse_file(&path, &metadata, 1 << 34, &[0..5, 1 << 30..(1 << 30) + 3]).unwrap();
    writer.data(b"first").unwrap();
    writer.data(b"mid").unwrap();
    let temp = tempfile::tempdir().unwrap();
    let archive = writer.finish().unwrap();
    apply_bytes(archive, &Target::Folder(temp.path().into())).unwrap();
    let made = stat(temp.path(), "sparse");
    assert_eq!(made.len(), 1 << 34);
    assert!(made.blocks() < 1024, "{} blocks", made.blocks());
    let file = fs::File::open(temp.path().join("sparse")).unwrap();
    let mut middle = [0xff; 5];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut middle, (1 << 30) - 1).unwrap();
    assert_eq!(&middle, b"\0mid\0");
}

/// containerd's `TestHandleTarTypeBlockCharFifoDeviceRange`: a number that is no device number.
#[test]
fn device_numbers_out_of_range_are_refused() {
    for (flag, field) in [(b'3', 329), (b'3', 337), (b'4', 329), (b'4', 337)] {
        for number in [(1_u64 << 32).to_be_bytes(), (-1_i64).to_be_bytes()] {
            let mut archive = tar(&[node(flag, "dev", (1, 1))]);
            archive[field..field + 8].copy_from_slice(&number);
            archive[field] |= 0x80;
            let sum: u32 =
                archive[..148].iter().chain(&archive[156..512]).map(|&b| u32::from(b)).sum();
            let sum = format!("{:06o}\0 ", sum + 8 * u32::from(b' '));
            archive[148..156].copy_from_slice(sum.as_bytes());
            assert!(matches!(refused(archive), Error::Archive(_)));
        }
    }
}

/// containerd's `TestPrefixHeaderReadable`: what Go's archive/tar wrote before 1.8.
#[test]
fn prefix_header_readable() {
    let blob = b"\x1f\x8b\x08\x08\x44\x21\x68\x59\x00\x03\x74\x2e\x74\x61\x72\x00\x4b\xcb\xcf\x67\
        \xa0\x35\x30\x80\x00\x86\x06\x10\x47\x01\xc1\x37\x40\x00\x54\xb6\xb1\xa1\xa9\x99\x09\x48\x25\
        \x1d\x40\x69\x71\x49\x62\x91\x02\xe5\x76\xa1\x79\x84\x21\x91\xd6\x80\x72\xaf\x8f\x82\x51\x30\
        \x0a\x46\x36\x00\x00\xf0\x1c\x1e\x95\x00\x06\x00\x00";
    let temp = tempfile::tempdir().unwrap();
    apply_bytes(blob.to_vec(), &Target::Folder(temp.path().into())).unwrap();
    assert!(stat(temp.path(), &format!("{}/foo", "a".repeat(97))).is_file());
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_compression_gives_the_same_diff_id() {
    let plain = tar(&[file("f", "content".repeat(100_000)), dir("d", 0o755)]);
    let with_trailer = [&plain[..], &[7; 70_000]].concat();
    for bytes in [plain, with_trailer, Vec::new()] {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        for blob in [
            bytes.clone(),
            gzip(&bytes),
            [gzip(head), gzip(tail)].concat(),
            zstd::encode_all(&bytes[..], 1).unwrap(),
            [zstd::encode_all(head, 1).unwrap(), zstd::encode_all(tail, 1).unwrap()].concat(),
        ] {
            let temp = tempfile::tempdir().unwrap();
            let applied = apply_bytes(blob, &Target::Folder(temp.path().into())).unwrap();
            assert_eq!(applied.diff_id.digest(), &Digest::sha256(&bytes));
            assert_eq!(applied.size, bytes.len() as u64);
            assert_eq!(temp.path().join("f").exists(), !bytes.is_empty());
        }
    }
}

#[test]
fn truncated_layers_are_refused() {
    let plain = tar(&[file("f", "x".repeat(3000)), file("g", "y".repeat(600))]);
    for len in [1, 511, 513, 1024, 3500, 3800] {
        assert_eq!(refused(plain[..len].to_vec()).kind(), Kind::DataLoss, "{len}");
    }
    let compressed = gzip(&plain);
    for len in [4, 20, compressed.len() - 1] {
        let e = refused(compressed[..len].to_vec());
        assert!(matches!(e, Error::Stream(_)), "{len}: {e}");
        assert_eq!(e.kind(), Kind::DataLoss, "{len}");
    }
}

#[test]
fn a_layer_may_have_a_bound() {
    let temp = tempfile::tempdir().unwrap();
    let options = ApplyOptions { max_size: 1 << 20, ..ApplyOptions::default() };
    let bomb = gzip(&tar(&[file("f", vec![0; 100 << 20])]));
    let refused = apply(Cursor::new(bomb), &Target::Folder(temp.path().into()), &options);
    assert!(matches!(refused, Err(Error::TooLarge { limit: 1_048_576 })));
    assert!(stat(temp.path(), "f").len() <= 2 << 20);
}

#[test]
fn owners_may_be_left_to_the_process() {
    let temp = tempfile::tempdir().unwrap();
    let options = ApplyOptions { keep_owner: false, ..ApplyOptions::default() };
    let archive = tar(&[dir("d", 0o755).owner(7, 7), file("d/f", "").owner(8, 8)]);
    apply(Cursor::new(archive), &Target::Folder(temp.path().into()), &options).unwrap();
    for path in ["d", "d/f"] {
        assert_eq!((stat(temp.path(), path).uid(), stat(temp.path(), path).gid()), (0, 0));
    }
}

#[test]
fn what_is_no_folder_has_no_content() {
    let e = refused(tar(&[file("f", ""), file("f/g", "")]));
    assert_eq!(e.kind(), Kind::InvalidArgument, "{e}");
    // But a file of a lower layer makes way.
    let (root, _) = applied(&[file("f", "")]);
    apply_bytes(tar(&[file("f/g", "new")]), &Target::Folder(root.path().into())).unwrap();
    assert_eq!(fs::read(root.path().join("f/g")).unwrap(), b"new");
}

#[test]
fn hard_links_need_a_target_that_is_a_file() {
    let e = refused(tar(&[link("nothing", "l")]));
    assert!(matches!(e, Error::LinkTarget { .. }), "{e}");
    for target in ["d", "/", "."] {
        let e = refused(tar(&[dir("d", 0o755), link(target, "l")]));
        assert!(matches!(e, Error::LinkToDirectory { .. }), "{e}");
    }
    let (root, _) = applied(&[file("f", "x"), link("f", "f"), link("f", "g").mode(0o777)]);
    assert_eq!(stat(root.path(), "f").nlink(), 2);
    assert_eq!(stat(root.path(), "g").mode() & 0o7777, 0o644);
}

/// containerd fails on these: the target of the link is in a lower layer only.
#[test]
fn hard_links_to_files_of_lower_layers() {
    let mut stack = Stack::new();
    let lower = [
        dir("a", 0o750).owner(1, 2),
        file("a/f", "content").mode(0o4755).owner(3, 4).xattr("user.x", "1"),
        link("a/f", "a/twin"),
        symlink("f", "a/s"),
        node(b'3', "a/c", (5, 6)),
    ];
    stack.apply(tar(&lower)).unwrap();
    stack.apply(tar(&[dir("between", 0o755)])).unwrap();
    stack
        .apply(tar(&[
            link("a/f", "f2"),
            link("/a/f", "b/f3"),
            link("a/s", "s2"),
            link("a/c", "c2"),
        ]))
        .unwrap();
    let mount = stack.mount();
    let root = mount.path().join(".");
    let at = |path| stat(&root, path);
    assert_eq!(at("f2").ino(), at("a/f").ino());
    assert_eq!(at("b/f3").ino(), at("a/f").ino());
    assert_eq!((at("f2").mode() & 0o7777, at("f2").uid(), at("f2").gid()), (0o4755, 3, 4));
    assert_eq!(at("f2").mtime(), 1_700_000_000);
    assert_eq!(fs::read(root.join("b/f3")).unwrap(), b"content");
    assert_eq!(xattr(&root.join("f2"), "user.x").unwrap(), b"1");
    assert_eq!(fs::read_link(root.join("s2")).unwrap(), Path::new("f"));
    assert_eq!(at("c2").rdev(), libc::makedev(5, 6));
    let a = at("a");
    assert_eq!((a.mode() & 0o7777, a.uid(), a.gid(), a.mtime()), (0o750, 1, 2, 1_700_000_000));
}

#[test]
fn hard_links_do_not_reach_what_is_hidden() {
    for hide in ["a/.wh.f", ".wh.a", "a/.wh..wh..opq", ".wh..wh..opq"] {
        let mut stack = Stack::new();
        stack.apply(tar(&[file("a/f", "content")])).unwrap();
        let e = stack.apply(tar(&[file(hide, ""), link("a/f", "l")])).unwrap_err();
        assert!(matches!(e, Error::LinkTarget { .. }), "{hide}: {e}");
    }
}

/// A large file of a lower layer is copied whole, its holes kept.
#[test]
fn copied_up_files_keep_their_holes() {
    let mut stack = Stack::new();
    let base = stack.target();
    let Target::Overlay { upper, .. } = &base else { panic!() };
    let file = fs::File::create(upper.join("f")).unwrap();
    file.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", 1 << 29).unwrap();
    stack.push(base);
    stack.apply(tar(&[link("f", "g")])).unwrap();
    let copy = stack.lowers()[0].join("g");
    let copied = fs::metadata(&copy).unwrap();
    assert_eq!(copied.len(), 1 << 30);
    assert!(copied.blocks() < 1024);
    let mut end = [0; 3];
    let copy = fs::File::open(copy).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&copy, &mut end, 1 << 29).unwrap();
    assert_eq!(&end, b"end");
}

/// Over a lower `lib -> usr/lib`, `lib/x` is `usr/lib/x`, in a folder and in an overlay.
#[test]
fn paths_through_links_of_lower_layers_are_followed() {
    let lower = [
        dir("usr/lib", 0o751).owner(1, 2),
        file("usr/lib/hidden", "x"),
        file("usr/lib/linked", "linked"),
        symlink("usr/lib", "lib"),
        symlink("../lib/./", "usr/up"),
        symlink("/nowhere/yet", "dead"),
        symlink("/gone", "replaced"),
    ];
    let upper = [
        file("lib/x", "x"),
        file("usr/up/deep/y", "y"),
        file("lib/.wh.hidden", ""),
        link("/lib/linked", "l"),
        file("dead/z", "z"),
        dir("replaced", 0o700),
        file("replaced/own", ""),
    ];
    let (folder, _) = applied(&lower);
    apply_bytes(tar(&upper), &Target::Folder(folder.path().into())).unwrap();
    let mut stack = Stack::new();
    stack.apply(tar(&lower)).unwrap();
    stack.apply(tar(&upper)).unwrap();
    let mount = stack.mount();
    for root in [folder.path(), &mount.path().join(".")] {
        let read = |path| fs::read_to_string(root.join(path)).unwrap();
        assert!(stat(root, "lib").is_symlink());
        assert_eq!((read("usr/lib/x"), read("usr/lib/deep/y")), ("x".into(), "y".into()));
        assert_eq!((read("nowhere/yet/z"), read("l")), ("z".into(), "linked".into()));
        assert!(!root.join("usr/lib/hidden").exists());
        assert_eq!(stat(root, "l").ino(), stat(root, "usr/lib/linked").ino());
        let lib = stat(root, "usr/lib");
        assert_eq!((lib.mode() & 0o7777, lib.uid(), lib.gid()), (0o751, 1, 2));
        assert!(stat(root, "replaced").is_dir() && !root.join("gone").exists());
    }
}
