//! Newer containerds than the installed one, and the clients that come with them.

use std::fs;
use std::process::Command;

use rstest::rstest;

use super::containerd::{Containerd, Release};
use super::containers::assert_all_lazy;
use super::fixture::{Daemon, push, registry_with};
use crate::images::corpus;
use crate::registry::distribution::Distribution;

/// `soci`, which is unpacked beside containerd 1.7.
fn soci() -> Command {
    Release::V1_7.command("soci")
}

/// How many layers are read by a format that is not ours.
fn foreign_indexes(containerd: &Containerd) -> usize {
    let files = fs::read_dir(containerd.daemon.root().join("index")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".toc") && name.matches('.').count() == 2).count()
}

#[rstest]
#[case(Release::V1_7)]
#[case(Release::V2)]
fn every_client_pulls_lazily(#[case] release: Release) {
    let registry = Distribution::start(false);
    let containerd = Containerd::of(release, None);
    let mut pulled = 0;
    let mut is_lazy = |name: &str, reference: &str| {
        let said = containerd.run(reference, name, &["cat", "/etc/os-release"]);
        assert!(said.contains("Debian"), "{name}: {said}");
        pulled += 2;
        // A manifest and a configuration of each, which some share, and no layer.
        let blobs = containerd.ctr(&["content", "ls", "-q"]);
        assert!(blobs.lines().count() <= pulled, "{name}: {blobs}");
    };
    let reference = push(&registry, "debian", "latest");
    assert_all_lazy(&containerd.rpull("default", &reference));
    is_lazy("rpull", &reference);
    let address = containerd.address();
    let namespace = containerd.namespace("default");
    let soci_index = crate::formats::registry::referrer("soci");
    for (name, tag) in [("stargz", "estargz"), ("soci", "soci"), ("ctr", "storage-zstd")] {
        // That of SOCI with its index beside it, which its client names.
        let reference = crate::formats::registry::pushed(&registry, tag);
        let reference = reference.strip_prefix("docker://").unwrap().to_owned();
        let mut pull = match name {
            "stargz" => Command::new("ctr-remote"),
            "soci" => soci(),
            // Only that of 2.1 asks for remote snapshots.
            _ if release == Release::V2 => release.command("ctr"),
            _ => continue,
        };
        pull.arg("-a").arg(&address).args(["-n", &namespace]);
        match name {
            "stargz" => pull.args(["images", "rpull"]),
            "soci" => pull.args(["image", "rpull", "--soci-index-digest", &soci_index]),
            _ => pull.args(["images", "pull"]),
        };
        pull.args(["--plain-http", "--snapshotter", "stratafs", &reference]);
        let before = foreign_indexes(&containerd);
        corpus::run(&mut pull);
        is_lazy(name, &reference);
        // The layers of the last have the diffIDs of those before: containerd has their snapshots.
        let is_new = foreign_indexes(&containerd) > before;
        assert!(is_new || name == "ctr", "{name}: {}", containerd.daemon.log());
    }
    assert!(!containerd.daemon.log().contains("not lazy"), "{}", containerd.daemon.log());
}

#[rstest]
#[case(Release::Installed, false)]
#[case(Release::V1_7, false)]
#[case(Release::V2, true)]
fn what_a_running_container_changed_is_committed(#[case] release: Release, #[case] by_us: bool) {
    let containerd = Containerd::with(Daemon::configured("log = \"debug\""), release, None);
    let (_registry, reference) = registry_with("debian");
    containerd.rpull("default", &reference);
    let script = "echo new > /etc/new; rm -r /usr/share/doc; touch /done; exec sleep 600";
    let run = ["run", "-d", "--snapshotter", "stratafs", &reference, "c1", "sh", "-c", script];
    containerd.ctr(&run);
    crate::watchdog::wait_until("the container has written", || {
        containerd.exec("c1", "e", "test -e /done").status.success()
    });
    // Of a container that goes on running.
    let diff = ["snapshot", "--snapshotter", "stratafs", "diff", "c1"];
    let diff = containerd.ctr_in("default").args(diff).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stderr));
    let layer = containerd.daemon.path().join("layer.tar.gz");
    fs::write(&layer, diff.stdout).unwrap();
    let names = corpus::run(Command::new("tar").arg("-tzf").arg(layer));
    let named = |name: &str| names.lines().any(|line| line == name);
    assert!(named("etc/new") && named("usr/share/.wh.doc"), "{names}");
    assert!(!named("etc/passwd"), "{names}");
    assert_eq!(containerd.daemon.log().contains("wrote a layer"), by_us);
    // As an image, with a checkpoint of the files alone.
    let image = format!("{reference}-committed");
    containerd.ctr(&["c", "checkpoint", "--rw", "--image", "c1", &image]);
    assert!(containerd.ctr(&["images", "ls", "-q"]).contains(&image));
}

/// The same layers by both differs: what a container then sees is the same.
#[test]
fn layers_that_are_downloaded_are_applied_by_the_diff_service() {
    let daemon = Daemon::configured("log = \"debug\"\n[snapshots]\nprepare_timeout = \"1ms\"\n");
    let containerd = Containerd::with(daemon, Release::V2, None);
    let (_registry, reference) = registry_with("server");
    for snapshotter in ["stratafs", "overlayfs"] {
        containerd.ctr(&[
            "images",
            "pull",
            "--plain-http",
            "--snapshotter",
            snapshotter,
            &reference,
        ]);
        let run = ["run", "-d", "--snapshotter", snapshotter, &reference, snapshotter];
        containerd.ctr(&[&run[..], &["sleep", "600"]].concat());
    }
    let log = containerd.daemon.log();
    assert!(log.contains("not lazy") && log.contains("applied a layer"), "{log}");
    containerd.assert_same_usr("stratafs", "overlayfs");
}
