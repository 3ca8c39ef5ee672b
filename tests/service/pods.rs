//! The way of Kubernetes: pods whose images and sandboxes come lazily through containerd's CRI plugin.

use std::fs;

use rstest::rstest;

use super::containerd::{Containerd, Release};
use super::cri::Cri;
use super::fixture::{Daemon, push, push_pause};
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
    let cri = Cri::connect(&containerd.address());
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
    // Nothing is ready in no time.
    let daemon = Daemon::configured("log = \"debug\"\n[snapshots]\nprepare_timeout = \"1ms\"\n");
    let containerd = Containerd::with(daemon, release, Some(&sandbox));
    let cri = Cri::connect(&containerd.address());
    cri.pull(&reference, None).unwrap();
    let (pod, container) = cri.start(&reference, &["sleep", "600"]);
    assert!(cri.exec(&container, "cat /etc/os-release").contains("Debian"));
    let log = containerd.daemon.log();
    assert!(log.contains("not lazy"), "{log}");
    let applied = log.lines().filter(|line| line.contains("applied a layer")).count();
    assert!(applied >= 4, "{applied} layers were applied here: {log}");
    cri.remove(&pod);
}
