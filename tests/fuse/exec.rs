use std::process::Command;

use super::Mount;
use crate::fixture::Layer;
use stratafs::archive::FileType;
use stratafs::fs::Filesystem;
use stratafs::fuse::Options;

fn program(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn programs_run_from_the_mount() {
    let layer = Layer::new().file("bin/echo", 0o755, &program("/bin/echo"));
    let mount = Mount::of(layer.file("script", 0o755, b"#!/bin/sh\necho script $1\n"));
    let output = Command::new(mount.path("bin/echo")).arg("hello").output().unwrap();
    assert_eq!(output.stdout, b"hello\n");
    let output = Command::new(mount.path("script")).arg("runs").output().unwrap();
    assert_eq!(output.stdout, b"script runs\n");
}

/// Runs `id -u` from the mount, setuid of user 4321, as another user.
fn effective_user(options: &Options) -> String {
    let layer =
        Layer::new().dir("", 0o755).file("id", 0o4755, &program("/usr/bin/id")).owner(4321, 0);
    let fs = Filesystem::of_tree(crate::fixture::in_memory(vec![layer]));
    let mount = Mount::with(fs, options);
    mount.open_to_all();
    let output = Command::new("setpriv")
        .args(["--reuid", "1234", "--regid", "1234", "--clear-groups"])
        .arg(mount.path("id"))
        .arg("-u")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn setuid_counts_in_a_root_filesystem_and_not_by_default() {
    assert_eq!(effective_user(&Options::rootfs()), "4321");
    assert_eq!(effective_user(&Options::default()), "1234");
}

#[test]
fn devices_open_in_a_root_filesystem_and_not_by_default() {
    let layer = || Layer::new().node("null", FileType::CharDevice, 1, 3);
    let open = |options: &Options| {
        let fs = Filesystem::of_tree(crate::fixture::in_memory(vec![layer()]));
        let mount = Mount::with(fs, options);
        std::fs::File::open(mount.path("null")).map(drop).map_err(|e| e.raw_os_error())
    };
    assert_eq!(open(&Options::rootfs()), Ok(()));
    assert_eq!(open(&Options::default()), Err(Some(nix::libc::EACCES)));
}
