//! Images that containerd runs without having downloaded their layers.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::thread;

use rstest::rstest;
use stratafs::content::registry::Client;
use stratafs::content::{Descriptor, Ingester as _, Provider as _};

use super::containerd::{Containerd, Release};
use super::fixture::{Daemon, copy, push, registry_with};
use crate::images::corpus;
use crate::registry::config;
use crate::registry::distribution::Distribution;
use crate::watchdog::wait_until;

fn layers(pulled: &serde_json::Value) -> (usize, usize) {
    let layers = pulled["layers"].as_array().unwrap();
    (layers.iter().filter(|layer| layer["lazy"] == true).count(), layers.len())
}

/// Fails where a layer of what `rpull` tells is not lazy.
pub fn assert_all_lazy(pulled: &serde_json::Value) {
    let (lazy, all) = layers(pulled);
    assert!(lazy == all && all > 0, "{lazy} of {all} layers are lazy");
}

#[test]
fn a_container_starts_from_layers_that_are_not_unpacked() {
    let containerd = Containerd::new();
    let (_registry, reference) = registry_with("server");
    let (lazy, all) = layers(&containerd.rpull("default", &reference));
    assert!(lazy == all && all > 1, "{lazy} of {all} layers are lazy");
    // The layers are not in containerd: no blob but manifest and configuration.
    let blobs = containerd.ctr(&["content", "ls", "-q"]);
    assert_eq!(blobs.lines().count(), 2, "{blobs}");
    let said = containerd.ctr(&[
        "run",
        "--rm",
        "--snapshotter",
        "stratafs",
        &reference,
        "c1",
        "cat",
        "/etc/os-release",
    ]);
    assert!(said.contains("Debian"), "{said}");
    // The same files as where containerd itself has downloaded and unpacked everything.
    containerd.ctr(&["image", "pull", "--plain-http", "--snapshotter", "overlayfs", &reference]);
    let list = "cd / && find usr etc -xdev ! -type d -printf '%p %y %m %U %G %s %T@ %l\\n' | sort; \
                find usr etc -xdev -type d -printf '%p %y %m %U %G %T@\\n' | sort; \
                find usr etc -xdev -type f -exec sha256sum {} + | sort -k 2";
    let seen = |snapshotter: &str| {
        let id = format!("compare-{snapshotter}");
        let run = ["run", "--rm", "--snapshotter", snapshotter, &reference, &id, "sh", "-c", list];
        containerd.ctr(&run)
    };
    let (ours, theirs) = (seen("stratafs"), seen("overlayfs"));
    assert!(ours.lines().count() > 1000);
    let differs = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b);
    assert!(ours == theirs, "{differs:?}");
}

#[test]
fn an_image_that_is_removed_leaves_nothing() {
    let containerd = Containerd::new();
    let (_registry, reference) = registry_with("debian");
    containerd.rpull("default", &reference);
    containerd.rpull("other", &reference);
    containerd.ctr(&[
        "run",
        "--rm",
        "--snapshotter",
        "stratafs",
        &reference,
        "c1",
        "touch",
        "/written",
    ]);
    let root = containerd.daemon.root();
    let files = |dir: &str| fs::read_dir(root.join(dir)).unwrap().count();
    assert!(files("index") > 0 && files("trees") > 0);
    for namespace in ["default", "other"] {
        assert!(!containerd.snapshots(namespace).is_empty(), "both namespaces have it");
        let mut remove = containerd.ctr_in(namespace);
        corpus::run(remove.args(["image", "rm", "--sync", &reference]));
    }
    wait_until("all is collected", || {
        let chains = root.join("images/chains");
        files("index") == 0 && files("trees") == 0 && fs::read_dir(chains).unwrap().count() == 0
    });
    wait_until("snapshots are deleted", || files("snapshots") == 0 && files("trash") == 0);
    let shown = containerd.daemon.path().join("run/layers/chains");
    assert_eq!(fs::read_dir(shown).unwrap().count(), 0, "no layers are mounted");
}

#[test]
fn twenty_pulls_at_once_do_the_work_once() {
    let containerd = Containerd::new();
    let (_registry, reference) = registry_with("debian");
    thread::scope(|scope| {
        let pull = |n: usize| {
            let namespace = if n < 10 { "default" } else { "other" };
            let (lazy, all) = layers(&containerd.rpull(namespace, &reference));
            assert_eq!(lazy, all);
        };
        for n in 0..20 {
            scope.spawn(move || pull(n));
        }
    });
    let made = containerd.daemon.log().matches("image is ready").count();
    assert_eq!(made, 1, "{}", containerd.daemon.log());
    let said = containerd.ctr(&[
        "run",
        "--rm",
        "--snapshotter",
        "stratafs",
        &reference,
        "c1",
        "echo",
        "runs",
    ]);
    assert_eq!(said, "runs\n");
}

#[test]
fn other_clients_pull_lazily_by_their_own_labels() {
    let containerd = Containerd::new();
    let (_registry, reference) = registry_with("debian");
    let mut pull = Command::new("ctr-remote");
    pull.arg("-a").arg(containerd.address()).arg("-n").arg(containerd.namespace("default"));
    pull.args(["images", "rpull", "--plain-http", "--snapshotter", "stratafs", &reference]);
    corpus::run(&mut pull);
    let blobs = containerd.ctr(&["content", "ls", "-q"]);
    assert_eq!(blobs.lines().count(), 2, "{blobs}");
    let said = containerd.ctr(&[
        "run",
        "--rm",
        "--snapshotter",
        "stratafs",
        &reference,
        "c1",
        "echo",
        "runs",
    ]);
    assert_eq!(said, "runs\n");
}

#[test]
fn a_layer_that_cannot_be_lazy_is_unpacked_by_containerd() {
    let mut containerd = Containerd::new();
    // Nothing is ready in no time.
    containerd.daemon.stop();
    containerd.daemon.config = "[snapshots]\nprepare_timeout = \"1ms\"\n".to_owned();
    containerd.daemon.start();
    containerd.wait_for_plugin();
    let (_registry, reference) = registry_with("debian");
    let (lazy, all) = layers(&containerd.rpull("default", &reference));
    assert_eq!((lazy, all), (0, 1), "{}", containerd.daemon.log());
    assert!(containerd.daemon.log().contains("not lazy"), "{}", containerd.daemon.log());
    let said = containerd.ctr(&[
        "run",
        "--rm",
        "--snapshotter",
        "stratafs",
        &reference,
        "c1",
        "sh",
        "-c",
        "echo runs",
    ]);
    assert_eq!(said, "runs\n");
}

/// The formats of real tools, each pulled lazily, and what a running container sees of it.
#[rstest]
#[case("server", "latest", "front to back")]
#[case("plain", "", "front to back")]
#[case("lazy", "estargz", "eStargz")]
#[case("lazy", "stargz-zstd", "zstd:chunked")]
#[case("lazy", "storage-zstd", "zstd:chunked")]
#[case("lazy", "soci", "SOCI")]
#[case("soci-v2", "", "SOCI")]
fn every_format_is_lazy_and_whole(#[case] name: &str, #[case] tag: &str, #[case] format: &str) {
    // What a manifest vouches for needs no trust.
    let trusted = if tag == "soci" { "[registry]\ntrust_index = [\"any\"]\n" } else { "" };
    let daemon = Daemon::configured(&format!("log = \"debug\"\n{trusted}"));
    let containerd = Containerd::with(daemon, Release::Installed, None);
    let registry = Distribution::start(false);
    let reference = match name {
        "plain" => push_plain(&registry),
        "soci-v2" => push_soci_v2(&registry),
        "lazy" => format!("{}/some/app:{tag}", registry.host()),
        _ => push(&registry, name, tag),
    };
    if name == "lazy" {
        // With what refers to it.
        crate::formats::registry::pushed(&registry, tag);
    }
    assert_all_lazy(&containerd.rpull("default", &reference));
    let blobs = containerd.ctr(&["content", "ls", "-q"]);
    assert_eq!(blobs.lines().count(), 2, "{blobs}");
    let log = containerd.daemon.log();
    let counted = log.lines().filter(|line| line.contains(format)).count();
    assert!(counted > 1 && !log.contains("not lazy"), "{log}");
    containerd.ctr(&["image", "pull", "--plain-http", "--snapshotter", "overlayfs", &reference]);
    for snapshotter in ["stratafs", "overlayfs"] {
        let run = ["run", "-d", "--snapshotter", snapshotter, &reference, snapshotter];
        containerd.ctr(&[&run[..], &["sleep", "600"]].concat());
    }
    containerd.assert_same_usr("stratafs", "overlayfs");
}

/// The image with a SOCI index that its manifest names.
fn push_soci_v2(registry: &Distribution) -> String {
    crate::formats::registry::pushed(registry, "soci");
    let reference = format!("{}/some/app:soci", registry.host());
    let there = Client::new(config()).repository(&reference.parse().unwrap()).unwrap();
    let root = there.resolve().unwrap();
    let index = there.referrers(&root.digest, None).unwrap().remove(0).digest;
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&there.read(&root).unwrap()).unwrap();
    manifest["annotations"] = serde_json::json!({ "com.amazon.soci.index-digest": index });
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let named = Descriptor {
        digest: stratafs::digest::Digest::sha256(&bytes),
        size: bytes.len() as u64,
        ..root
    };
    let mut writer = there.resume(&named).unwrap();
    writer.write_all(&bytes).unwrap();
    writer.commit(named.size, &named.digest).unwrap();
    there.set_root(&named, "v2").unwrap();
    format!("{}/some/app:v2", registry.host())
}

/// The server image with layers that are not compressed.
fn push_plain(registry: &Distribution) -> String {
    let dir = tempfile::tempdir().unwrap();
    let plain = format!("dir:{}", dir.path().join("plain").display());
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "-q", "--dest-decompress", &corpus::image("server", "latest"), &plain]);
    corpus::run(&mut skopeo);
    let reference = format!("{}/plain:v1", registry.host());
    copy(&plain, &format!("docker://{reference}"));
    reference
}

#[test]
fn what_a_container_changed_is_committed_through_containerd() {
    let containerd = Containerd::new();
    let (_registry, reference) = registry_with("debian");
    containerd.rpull("default", &reference);
    let script = "echo new > /etc/new; rm -r /usr/share/doc; chmod 700 /srv";
    containerd.ctr(&["run", "--snapshotter", "stratafs", &reference, "c1", "sh", "-c", script]);
    let mut diff = containerd.ctr_in("default");
    let diff = diff.args(["snapshot", "--snapshotter", "stratafs", "diff", "c1"]).output().unwrap();
    let layer = containerd.daemon.path().join("layer.tar.gz");
    fs::write(&layer, diff.stdout).unwrap();
    let names = corpus::run(Command::new("tar").arg("-tzf").arg(layer));
    let named = |name: &str| names.lines().any(|line| line == name);
    assert!(named("etc/new") && named("usr/share/.wh.doc") && named("srv/"), "{names}");
    assert!(!named("etc/passwd"), "{names}");
    containerd.ctr(&["snapshot", "--snapshotter", "stratafs", "commit", "mine", "c1"]);
    containerd.ctr(&["snapshot", "--snapshotter", "stratafs", "prepare", "again", "mine"]);
    let mounts =
        containerd.ctr(&["snapshot", "--snapshotter", "stratafs", "mounts", "/mnt", "again"]);
    assert!(mounts.contains("mount -t overlay"), "{mounts}");
}
