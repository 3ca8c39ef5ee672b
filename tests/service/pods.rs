//! The way of Kubernetes: pods whose images and sandboxes come lazily through containerd's CRI plugin.

use std::fs;

use rstest::rstest;

use super::containerd::{Containerd, Release, shims};
use super::cri::Client;
use super::fixture::{Daemon, copy_as, push, push_pause};
use crate::checkpoint::program::{COUNTER, Host, count, counted, path_with_criu};
use crate::images::corpus;
use crate::registry::distribution::Distribution;
use crate::watchdog::wait_until;

/// What containerd has of images: manifests and configurations, and layers that were downloaded.
fn blobs(containerd: &Containerd) -> usize {
    let listed = corpus::run(containerd.ctr_of("k8s.io").args(["content", "ls", "-q"]));
    listed.lines().count()
}

#[rstest]
#[case(Release::Installed)]
#[case(Release::V1_7)]
#[case(Release::V2)]
fn a_pod_runs_from_layers_that_are_not_unpacked(#[case] release: Release) {
    let registry = Distribution::start(false);
    let (sandbox, reference) = (push_pause(&registry), push(&registry, "server", "latest"));
    let containerd = Containerd::of(release, Some(&sandbox));
    let cri = Client::connect(&containerd.address());
    cri.pull(&reference, None).unwrap();
    let (pod, container) = cri.start(&reference, &["sleep", "600"]);
    assert!(cri.exec(&container, "cat /etc/os-release").contains("Debian"));
    assert_eq!(blobs(&containerd), 4, "a layer was downloaded");
    assert!(!containerd.daemon.log().contains("not lazy"), "{}", containerd.daemon.log());
    if release != Release::Installed {
        assert_eq!(cri.image_folder(), containerd.daemon.root().to_str().unwrap());
    }
    // All of it, as independent tools unpack it.
    let listed = cri.exec(&container, "cd / && find usr -xdev");
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    let all = corpus::unpacked("server", "latest");
    let mut expected: Vec<_> = all.keys().filter_map(|path| path.to_str()).collect();
    expected.retain(|path| *path == "usr" || path.starts_with("usr/"));
    expected.sort_unstable();
    assert_eq!(listed, expected);
    cri.remove(&pod);
    for image in [&reference, &sandbox] {
        cri.remove_image(image);
    }
    assert_eq!(cri.images(), 0);
    let root = containerd.daemon.root();
    let count = |dir: &str| fs::read_dir(root.join(dir)).unwrap().count();
    wait_until("all is collected", || {
        ["index", "trees", "snapshots", "trash", "images/chains"].iter().all(|dir| count(dir) == 0)
    });
}

#[rstest]
#[case(Release::V1_7)]
#[case(Release::V2)]
fn layers_that_are_not_lazy_are_unpacked_by_the_diff_service(#[case] release: Release) {
    let registry = Distribution::start(false);
    let (sandbox, reference) = (push_pause(&registry), push(&registry, "server", "latest"));
    // containerd reaches the registry, and the plugin is sent where nobody is.
    let hosts = tempfile::tempdir().unwrap();
    let folder = hosts.path().join(registry.host());
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("hosts.toml"), "server = \"http://127.0.0.1:1\"\n").unwrap();
    let daemon = Daemon::configured(&format!(
        "log = \"debug\"\n[snapshots]\nprepare_timeout = \"3s\"\n[registry]\nhosts_dirs = [{:?}]\n",
        hosts.path()
    ));
    let containerd = Containerd::with(daemon, release, Some(&sandbox));
    let cri = Client::connect(&containerd.address());
    cri.pull(&reference, None).unwrap();
    let (pod, container) = cri.start(&reference, &["sleep", "600"]);
    assert!(cri.exec(&container, "cat /etc/os-release").contains("Debian"));
    let log = containerd.daemon.log();
    assert!(log.contains("not lazy"), "{log}");
    let applied = log.lines().filter(|line| line.contains("applied a layer")).count();
    assert!(applied >= 4, "{applied} layers were applied here: {log}");
    // A test that ends before its pod leaves nothing running.
    let address = containerd.address();
    assert_eq!(shims(&address).len(), 1, "of {pod}");
    drop(containerd);
    wait_until("the shim has ended", || shims(&address).is_empty());
}

/// A pod's secret for the registry reaches the plugin where the kubelet asks it for images.
#[test]
fn a_private_image_is_read_with_the_secret_of_its_pod() {
    let (open, private) = (Distribution::start(false), Distribution::with_password());
    let sandbox = push_pause(&open);
    let reference = format!("{}/server:v1", private.host());
    copy_as(&corpus::image("server", "latest"), &format!("docker://{reference}"));
    let daemon = Daemon::configured("log = \"debug\"\n[kubelet]\nimage_service = true\n");
    let containerd = Containerd::with(daemon, Release::Installed, Some(&sandbox));
    let (runtime, images) =
        (Client::connect(&containerd.address()), Client::connect(&containerd.daemon.socket()));
    for secret in [None, Some(("user", "wrong"))] {
        let error = images.pull(&reference, secret).unwrap_err();
        assert!(!error.message().contains("wrong"), "{error}");
    }
    images.pull(&reference, Some(("user", "hunter2"))).unwrap();
    // One that opens nothing does not take the place of one that does.
    images.pull(&reference, Some(("user", "wrong"))).unwrap_err();
    let (pod, container) = runtime.start(&reference, &["sleep", "600"]);
    assert!(runtime.exec(&container, "find /usr -type f -exec cat {} + | wc -c").len() > 7);
    assert_eq!(blobs(&containerd), 4, "a layer was downloaded");
    assert_eq!(images.image_folder(), runtime.image_folder(), "other calls get through");
    assert_eq!(images.images(), runtime.images());
    let log = containerd.daemon.log();
    assert!(!log.contains("not lazy") && !log.contains("hunter2"), "{log}");
    runtime.remove(&pod);
}

/// What the kubelet has containerd write of a container.
#[test]
fn a_container_of_a_pod_is_restored_from_its_checkpoint() {
    let registry = Distribution::start(false);
    let (sandbox, reference) = (push_pause(&registry), push(&registry, "debian", "latest"));
    let containerd = Containerd::with_criu(Release::V2, &sandbox);
    let cri = Client::connect(&containerd.address());
    cri.pull(&reference, None).unwrap();
    let script = format!("rm -r /usr/share/doc; chown 7:8 /etc/fstab; {COUNTER}");
    let (pod, container) = cri.start(&reference, &["sh", "-c", &script]);
    wait_until("it counts", || counted(&cri.exec(&container, "cat /count || true")).0 > 20);
    let archive = containerd.daemon.path().join("checkpoint.tar");
    cri.checkpoint(&container, &archive);
    cri.remove(&pod);

    let host = Host::new();
    let archive = format!("archive:{}", archive.display());
    let shown = host.run(&["checkpoint", "inspect", &archive]);
    let image = format!("{}/debian@sha256:", registry.host());
    for part in [&*image, "/usr/share/doc", "sh -c rm -r", "parent 0, 1 threads: perl"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // The image is found by its name.
    host.run(&["checkpoint", "restore", &archive, "files"]);
    let rootfs = host.rootfs("files");
    assert!(count(&rootfs).0 >= 20 && !rootfs.join("usr/share/doc").exists());
    // Its process IDs were those of a namespace of the pod, which is not in the archive.
    let live = ["checkpoint", "restore", &archive, "live", "--live", "--detach"];
    let output = host.stratafs.command(&live).env("PATH", path_with_criu()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("criu refused: "), "{error}");
    assert!(!host.rootfs("live").exists());
}
