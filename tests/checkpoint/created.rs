//! Checkpoints that the program made.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::containerd::{CHANGES, Containerd, IMAGE};
use super::program::{COUNTER, Host, count};
use crate::images::corpus;
use crate::oracle;
use crate::registry::distribution::Distribution;
use crate::watchdog::wait_until;

/// Runs a container to its end that makes all kinds of changes.
fn changed(host: &Host, name: &str) {
    let image = corpus::image("debian", "latest");
    host.run(&["run", "--name", name, &image, "sh", "-c", CHANGES]);
}

#[test]
fn a_container_goes_through_a_registry_to_an_empty_root() {
    let registry = Distribution::start(false);
    let reference = format!("docker://{}/check/point:1", registry.host());
    let here = Host::new();
    changed(&here, "here");
    let expected = oracle::snapshot_of_overlay(&here.rootfs("here"));
    let name = ["--image-name", IMAGE];
    here.run(
        &[&["checkpoint", "create", "here", &reference, "--rw", "--image"][..], &name].concat(),
    );

    let there = Host::new();
    there.run(&["checkpoint", "restore", &reference, "there"]);
    // The image's own files are in no folder there, and the changes are.
    let snapshots = there.stratafs.root().join("snapshots");
    let found = |name: &str| {
        let name = ["-name", name];
        corpus::run(Command::new("find").arg(&snapshots).args(name)).lines().count()
    };
    assert_eq!((found("written"), found("os-release"), found("debian_version")), (1, 0, 1));
    // A layer has the root only where more than its time changed.
    let same = |host: &Host, name: &str| {
        let restored = oracle::snapshot_of_overlay(&host.rootfs(name));
        let plain = |s: &oracle::Snapshot| oracle::without_root(s.clone());
        oracle::assert_same(&plain(&expected), &plain(&restored));
    };
    same(&there, "there");
    // It runs, with its changes.
    let again = Host::new();
    let output = again
        .stratafs
        .command(&["checkpoint", "restore", "--run", &reference, "again"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    assert!(again.rootfs("again").join("written").exists());
    // And once more from there, with the same result.
    let second = format!("docker://{}/check/point:2", registry.host());
    there.run(&["checkpoint", "create", "there", &second, "--rw", "--image"]);
    let last = Host::new();
    last.run(&["checkpoint", "restore", &second, "last"]);
    same(&last, "last");
    drop(registry);
}

#[test]
fn containerd_restores_what_was_created() {
    let (containerd, host) = (Containerd::start(), Host::new());
    changed(&host, "ours");
    let expected = oracle::snapshot_of_overlay(&host.rootfs("ours"));
    create_for(&containerd, &host, "ours", &[]);
    let theirs = containerd.id("theirs");
    containerd.ctr(&["containers", "restore", "--rw", &theirs, "example.com/cp:ours"]);
    let rootfs = containerd.path().join("mounted");
    fs::create_dir(&rootfs).unwrap();
    let mounts = containerd.ctr(&["snapshots", "mounts", rootfs.to_str().unwrap(), &theirs]);
    corpus::run(Command::new("sh").args(["-c", &mounts]));
    let restored = oracle::snapshot_of_overlay(&rootfs);
    let plain =
        |s| oracle::without_root(oracle::without_link_counts(oracle::without_overlay_xattrs(s)));
    oracle::assert_same(&plain(expected), &plain(restored));
    let info = containerd.ctr(&["containers", "info", &theirs]);
    assert!(info.contains("/etc/debian_version"), "{info}");
}

/// Makes a checkpoint of the container `name`, which containerd has as `example.com/cp:NAME` then.
fn create_for(containerd: &Containerd, host: &Host, name: &str, parts: &[&str]) {
    let layout = containerd.path().join("layout");
    let reference = format!("oci:{}:{name}", layout.display());
    let args = ["checkpoint", "create", name, &reference, "--image-name", IMAGE];
    host.run(&[&args[..], parts].concat());
    let tar = containerd.path().join("ours.tar");
    corpus::run(Command::new("tar").arg("cf").arg(&tar).arg("-C").arg(&layout).arg("."));
    let tar = tar.to_str().unwrap();
    containerd.ctr(&["images", "import", "--no-unpack", "--base-name", "example.com/cp", tar]);
}

#[test]
fn containerd_goes_on_from_the_memory_that_was_written() {
    let (containerd, host) = (Containerd::start(), Host::new());
    let image = corpus::image("debian", "latest");
    host.run(&["run", "--name", "ours", "--detach", &image, "sh", "-c", COUNTER]);
    let count = |rootfs: &Path| count(rootfs).0;
    wait_until("it has counted", || count(&host.rootfs("ours")) > 50);
    create_for(&containerd, &host, "ours", &["--rw", "--image", "--task", "--stop"]);
    let stopped = count(&host.rootfs("ours"));
    let theirs = containerd.id("theirs");
    containerd.ctr(&["containers", "restore", "--rw", "--live", &theirs, "example.com/cp:ours"]);
    // One that had begun anew would be far below for long.
    wait_until("it counts on", || count(&containerd.rootfs(&theirs)) > stopped);
    assert!(count(&containerd.rootfs(&theirs)) < stopped + 50);
}

#[test]
fn a_snapshot_alone_is_checkpointed_and_restored() {
    let host = Host::new();
    let image = corpus::image("debian", "latest");
    let top = host.run(&["unpack", "--lazy", &image]);
    host.run(&["snapshot", "prepare", "work", top.trim_end()]);
    let target = host.stratafs.target("work");
    host.run(&["snapshot", "mount", "work", target.to_str().unwrap()]);
    fs::write(target.join("new"), "new").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let reference = format!("oci:{}:work", dir.path().join("layout").display());
    let error = host.stratafs.refuse(&["checkpoint", "create", "work", &reference]);
    assert!(error.contains("--image-name"), "{error}");
    host.run(&["checkpoint", "create", "work", &reference, "--image-name", IMAGE]);
    host.run(&["checkpoint", "restore", &reference, "back"]);
    assert_eq!(fs::read(host.rootfs("back").join("new")).unwrap(), b"new");
    let graph = host.run(&["image", "tree", &reference]);
    let mut lines = graph.lines();
    assert!(lines.next().unwrap().starts_with("index sha256:"), "{graph}");
    assert!(lines.next().unwrap().contains("── manifest sha256:"), "{graph}");
    assert!(lines.last().unwrap().contains("└── layer sha256:"), "{graph}");
}

#[test]
fn without_criu_memory_is_refused_in_one_line() {
    let host = Host::new();
    let image = corpus::image("debian", "latest");
    host.run(&["run", "--name", "c", "--detach", &image, "sleep", "1000"]);
    let dir = tempfile::tempdir().unwrap();
    let reference = format!("oci:{}:c", dir.path().join("layout").display());
    let name = ["--image-name", IMAGE, "--task"];
    let args = [&["checkpoint", "create", "c", &reference][..], &name].concat();
    let output =
        host.stratafs.command(&args).env("PATH", "/usr/sbin:/usr/bin:/bin").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(error.starts_with("stratafs: memory images are made by CRIU"), "{error}");
    // It goes on.
    assert!(host.run(&["ps"]).contains("running"));
}
