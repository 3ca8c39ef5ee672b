use std::process::Command;

use stratafs::fs::Filesystem;
use stratafs::fuse::Options;

use super::Mount;
use crate::fixture::{self, Layer};

/// `cap_net_raw=ep` as the kernel stores it (`struct vfs_cap_data`, revision 2).
const CAP_NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn getfattr(mount: &Mount, path: &str) -> String {
    let output = Command::new("getfattr")
        .args(["--absolute-names", "-h", "-d", "-m", "-", "-e", "hex"])
        .arg(mount.path(path))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn attributes_are_served_exactly() {
    let layer = Layer::new()
        .file("f", 0o755, b"x")
        .xattr("security.capability", &CAP_NET_RAW)
        .xattr("user.empty", b"")
        .xattr("user.binary", &[0, 1, 255])
        .symlink("l", "f")
        .xattr("trusted.of-link", b"v")
        .file("plain", 0o644, b"");
    let mount = Mount::of(layer);
    let found = getfattr(&mount, "f");
    assert!(found.contains("security.capability=0x0100000200200000"), "{found}");
    assert!(found.contains("user.binary=0x0001ff"), "{found}");
    assert!(found.contains("user.empty"), "{found}");
    assert!(getfattr(&mount, "l").contains("trusted.of-link=0x76"));
    assert_eq!(getfattr(&mount, "plain"), "");
    let caps = Command::new("getcap").arg(mount.path("f")).output().unwrap();
    assert!(String::from_utf8_lossy(&caps.stdout).contains("cap_net_raw=ep"), "{caps:?}");
}

#[test]
fn a_value_of_64_kib_and_many_names_fit() {
    let mut layer = Layer::new().file("f", 0o644, b"").xattr("user.large", &[7; 65_536]);
    for n in 0..200 {
        layer = layer.xattr(&format!("user.name-{n}"), b"v");
    }
    let mount = Mount::of(layer);
    let found = getfattr(&mount, "f");
    assert_eq!(found.lines().filter(|line| line.starts_with("user.")).count(), 201);
    assert!(found.contains(&"07".repeat(65_536)));
}

#[test]
fn without_attributes_there_is_no_data() {
    let mount = Mount::of(Layer::new().file("f", 0o644, b""));
    let output = Command::new("getfattr").args(["-n", "user.absent"]).arg(mount.path("f")).output();
    let output = output.unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("No such attribute"), "{text}");
}

#[test]
fn where_nothing_has_attributes_the_kernel_asks_once_and_files_are_copied_whole() {
    let layer = Layer::new().dir("", 0o755).file("f", 0o640, b"x").dir("d", 0o700);
    let fs = Filesystem::of_tree(fixture::in_memory(vec![layer]));
    assert!(!fs.has_xattrs());
    let mount = Mount::with(fs, &Options { xattrs: false, ..Options::rootfs() });
    let asked = || mount.mounted().stats().xattrs.get();
    let read = |path: &str| {
        let file = std::fs::File::open(mount.path(path)).unwrap();
        rustix::fs::fgetxattr(&file, "user.x", &mut [0_u8; 10][..]).unwrap_err()
    };
    assert_eq!(read("f"), rustix::io::Errno::OPNOTSUPP);
    let before = asked();
    for _ in 0..10 {
        assert_eq!(
            (read("f"), read("d")),
            (rustix::io::Errno::OPNOTSUPP, rustix::io::Errno::OPNOTSUPP)
        );
    }
    assert_eq!(asked(), before, "answered by the kernel");
    assert_eq!(getfattr(&mount, "f"), "");
    let copy = tempfile::tempdir().unwrap();
    let status = Command::new("cp").arg("-a").arg(mount.path("f")).arg(copy.path()).status();
    assert!(status.unwrap().success());
    // Permissions count as ever.
    mount.open_to_all();
    let cat = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "cat"])
        .arg(mount.path("f"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&cat.stderr).contains("Permission denied"), "{cat:?}");
    assert!(
        Filesystem::of_tree(fixture::in_memory(vec![
            Layer::new().file("f", 0o644, b"").xattr("user.x", b"y")
        ]))
        .has_xattrs()
    );
}

#[test]
fn posix_acls_of_an_image_count() {
    // user::rw-, user:65534:r--, group::---, mask::r--, other::---
    let mut acl = vec![2, 0, 0, 0];
    for (tag, perm, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 65_534),
        (4, 0, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&perm.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let layer = Layer::new()
        .dir("", 0o755)
        .file("acl", 0o640, b"granted")
        .xattr("system.posix_acl_access", &acl)
        .file("none", 0o640, b"secret");
    let mount = Mount::of(layer);
    let read = |path: &str, user: &str| {
        let output = Command::new("setpriv")
            .args(["--reuid", user, "--regid", user, "--clear-groups", "cat"])
            .arg(mount.path(path))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    mount.open_to_all();
    assert_eq!(read("acl", "65534"), "granted");
    assert_eq!(read("acl", "65533"), "");
    assert_eq!(read("none", "65534"), "");
}
