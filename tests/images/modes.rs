//! Disks that are full and servers that are killed: as EROFS and by FUSE.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use super::layout::{Archive, Layer, Layout};
use super::local_data::{layers, registry};
use super::program::Stratafs;
use crate::disk::Disk;
use crate::fixture::noise;
use crate::oracle::{self, Snapshot};
use crate::watchdog::wait_until;

const LIMIT: Duration = Duration::from_secs(300);

/// What an image of the layers shows.
fn expected() -> Snapshot {
    let (_registry, image) = registry(&layers());
    let stratafs = Stratafs::new();
    oracle::snapshot(&stratafs.mount(&image, &["--mode", "fuse"]))
}

fn unmount(stratafs: &Stratafs, target: &Path) {
    stratafs.run(&["umount", target.to_str().unwrap()]);
}

#[rstest]
fn reads_go_on_where_the_disk_is_full(#[values("erofs", "fuse")] mode: &str) {
    let disk = Disk::new(64, &[], LIMIT);
    let (_registry, image) = registry(&layers());
    let stratafs = Stratafs::with_root(&disk.root());
    let target = stratafs.mount(&image, &["--mode", mode]);
    disk.fill();
    // What is fetched cannot be kept.
    oracle::assert_same(&expected(), &oracle::snapshot(&target));
    assert_eq!(stratafs.mount_on(&target)["mode"], mode);
    disk.give_back();
    oracle::assert_same(&expected(), &oracle::snapshot(&target));
    unmount(&stratafs, &target);
    let again = stratafs.mount(&image, &["--mode", mode]);
    oracle::assert_same(&expected(), &oracle::snapshot(&again));
    unmount(&stratafs, &again);
}

#[rstest]
fn a_first_mount_on_a_full_disk_says_so_and_leaves_nothing(#[values("erofs", "fuse")] mode: &str) {
    let disk = Disk::new(64, &[], LIMIT);
    let (_registry, image) = registry(&layers());
    let stratafs = Stratafs::with_root(&disk.root());
    // The folders of the state root are there.
    stratafs.run(&["status"]);
    disk.fill();
    let target = stratafs.target("full");
    let args = ["--log", "error", "mount", &image, target.to_str().unwrap(), "--mode", mode];
    let error = stratafs.refuse(&args);
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    assert_eq!(stratafs.run(&["--json", "mounts"]).trim(), "[]");
    disk.give_back();
    stratafs.run(&["mount", &image, target.to_str().unwrap(), "--mode", mode]);
    oracle::assert_same(&expected(), &oracle::snapshot(&target));
    unmount(&stratafs, &target);
}

#[test]
fn without_room_for_an_erofs_image_the_tree_is_shown_by_fuse() {
    let disk = Disk::new(64, &[], LIMIT);
    let (_registry, image) = registry(&layers());
    let stratafs = Stratafs::with_root(&disk.root());
    let first = stratafs.mount(&image, &["--mode", "fuse"]);
    unmount(&stratafs, &first);
    disk.fill();
    let target = stratafs.mount(&image, &["--mode", "auto"]);
    let told = stratafs.mount_on(&target);
    assert_eq!(told["mode"], "fuse");
    assert!(told["why"].as_str().unwrap().contains("No space left"), "{told}");
    oracle::assert_same(&expected(), &oracle::snapshot(&target));
    unmount(&stratafs, &target);
    let args = ["--log", "error", "mount", &image, first.to_str().unwrap(), "--mode", "erofs"];
    let error = stratafs.refuse(&args);
    assert!(error.contains("No space left"), "{error}");
    disk.give_back();
    let target = stratafs.mount(&image, &[]);
    assert_eq!(stratafs.mount_on(&target)["mode"], "erofs");
    oracle::assert_same(&expected(), &oracle::snapshot(&target));
    unmount(&stratafs, &target);
}

#[test]
fn without_room_for_the_data_of_a_whole_chain_they_go_on_through_fuse() {
    // There is room for the layers, and not for as much again.
    let disk = Disk::new(24, &[], LIMIT);
    let large = Archive::new().file("a", &noise(9_000_000)).finish();
    let (_registry, image) = registry(&[Layer::gzip(&large)]);
    let stratafs = Stratafs::with_root(&disk.root());
    let target = stratafs.mount(&image, &["--mode", "erofs"]);
    assert!(fs::read(target.join("a")).unwrap() == noise(9_000_000));
    std::thread::sleep(Duration::from_secs(2));
    assert!(fs::read(target.join("a")).unwrap() == noise(9_000_000));
    unmount(&stratafs, &target);
    let again = stratafs.mount(&image, &["--mode", "erofs"]);
    assert_eq!(stratafs.mount_on(&again)["local"], false);
    assert!(fs::read(again.join("a")).unwrap() == noise(9_000_000));
    unmount(&stratafs, &again);
}

#[rstest]
fn a_server_that_is_killed_is_an_error_and_the_next_mount_is_whole(
    #[values("erofs", "fuse")] mode: &str,
    #[values(false, true)] writable: bool,
) {
    let archive = Archive::new().file("read", &noise(50_000)).file("unread", &noise(3_000_000));
    let layout = Layout::of(&[Layer::gzip(&archive.finish())]);
    let stratafs = Stratafs::new();
    let upper = stratafs.root().join("upper");
    let mut args = vec!["--mode", mode];
    if writable {
        args.extend(["--rw", upper.to_str().unwrap()]);
    }
    let target = stratafs.mount(&layout.image(), &args);
    let file = File::open(target.join("read")).unwrap();
    assert!(fs::read(target.join("read")).unwrap() == noise(50_000));
    let pid = stratafs.mount_on(&target)["pid"].as_i64().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    wait_until("the server is gone", || {
        let line = stratafs.run(&["mounts"]);
        line.contains("its server is gone")
    });
    if mode == "erofs" {
        // Names and what was read need no server.
        assert_eq!(target.join("unread").metadata().unwrap().len(), 3_000_000);
        assert!(fs::read(target.join("read")).unwrap() == noise(50_000));
    }
    let mut bytes = vec![0; 50_000];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == noise(50_000), "an open file goes on as far as it was read");
    let error = fs::read(target.join("unread")).unwrap_err().raw_os_error();
    let wanted = [nix::libc::EIO, nix::libc::ENOTCONN, nix::libc::ECONNABORTED];
    assert!(error.is_some_and(|errno| wanted.contains(&errno)), "{error:?}");
    drop(file);
    unmount(&stratafs, &target);
    let image = layout.image();
    let again = ["mount", &image, target.to_str().unwrap()];
    stratafs.run(&[&again, &args[..]].concat());
    assert!(fs::read(target.join("unread")).unwrap() == noise(3_000_000));
    unmount(&stratafs, &target);
}

#[rstest]
fn the_kernel_is_told_once_that_an_image_has_no_attributes(#[values("erofs", "fuse")] mode: &str) {
    let layout = Layout::of(&[Layer::gzip(&Archive::new().file("a", b"a").finish())]);
    let stratafs = Stratafs::new();
    let target = stratafs.mount(&layout.image(), &["--mode", mode]);
    let answer = rustix::fs::getxattr(target.join("a"), "user.x", &mut [0_u8; 16][..]).unwrap_err();
    // By FUSE it is answered for all files at once; EROFS asks nobody anyway.
    let expected = match mode {
        "fuse" => rustix::io::Errno::OPNOTSUPP,
        _ => rustix::io::Errno::NODATA,
    };
    assert_eq!(answer, expected);
    unmount(&stratafs, &target);
}
