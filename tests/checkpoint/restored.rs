//! Checkpoints that containerd made, restored by the program.

use std::fs;
use std::path::Path;

use serde_json::json;
use stratafs::checkpoint::Any;
use stratafs::content::{Layout, ingest};
use stratafs::image::{Selector, Source, media_type as mt};

use super::containerd::{CHANGES, Containerd, IMAGE};
use super::program::{COUNTER, Host, count};
use crate::images::corpus;
use crate::oracle;

#[test]
fn a_checkpoint_of_containerd_becomes_the_container_that_it_was() {
    let (containerd, host) = (Containerd::start(), Host::new());
    let one = containerd.id("one");
    containerd.run(&one, "sleep 1000");
    containerd.exec(&one, CHANGES);
    let expected = oracle::snapshot_of_overlay(&containerd.rootfs(&one));
    containerd.ctr(&["containers", "checkpoint", "--rw", "--image", &one, "example.com/cp:1"]);
    let reference = containerd.export("example.com/cp:1", "cp.tar");

    host.run(&["checkpoint", "restore", &reference, "back"]);
    let restored = oracle::snapshot_of_overlay(&host.rootfs("back"));
    oracle::assert_same(&plain(expected), &plain(restored));
    // It has no specification, so it runs what its image says.
    let bundle = host.rootfs("back").parent().unwrap().join("config.json");
    let spec: serde_json::Value = serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap();
    assert_eq!(spec["root"]["path"], "rootfs");

    let error = host.stratafs.refuse(&["checkpoint", "restore", &reference, "back"]);
    assert!(error.contains("exists already") && error.contains("hint"), "{error}");
    fs::write(host.rootfs("back").join("written"), "else").unwrap();
    host.run(&["checkpoint", "restore", "--reuse", &reference, "back"]);
    assert_eq!(fs::read(host.rootfs("back").join("written")).unwrap(), b"new\n");

    let shown = host.run(&["checkpoint", "inspect", "--json", &reference]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["image"], IMAGE);
    assert_eq!(shown["snapshotter"], "overlayfs");
    let largest = &shown["changed"][0];
    assert_eq!(
        (largest["path"].as_str(), shown["changed"].as_array().unwrap().len() > 5),
        (Some("/tmp/ls"), true)
    );
    let deleted: Vec<&str> =
        shown["deleted"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    assert!(deleted.contains(&"/etc/motd"), "{deleted:?}");

    host.run(&["rm", "back"]);
    assert!(!host.rootfs("back").exists());
    assert!(!host.snapshots().contains(&"back".to_owned()));
}

/// containerd's layers have whole seconds. Link counts and sets depend on how much of a set of hard links is in the upper folder.
fn plain(snapshot: oracle::Snapshot) -> oracle::Snapshot {
    let snapshot = oracle::without_parts_of_seconds(snapshot);
    let snapshot = oracle::without_overlay_xattrs(snapshot);
    oracle::without_root(oracle::without_link_counts(oracle::without_link_sets(snapshot)))
}

#[test]
fn the_form_of_2017_is_restored() {
    let host = Host::new();
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("layout")).unwrap();
    let debian = corpus::image("debian", "latest");
    let spec = json!({
        "ociVersion": "1.0.0-rc5", "root": {"path": "rootfs"},
        "process": {"args": ["cat", "/from-2017"], "cwd": "/", "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/usr/bin:/bin"]},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    });
    // The specification as it was written then: JSON alone, and in a message of another type.
    let text = spec.to_string().into_bytes();
    let message = Any { type_url: "1.0.0-rc5".into(), value: text.clone() }.encode();
    for (tag, spec) in [("json", text), ("message", message)] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(4);
        header.set_mode(0o644);
        tar.append_data(&mut header, "from-2017", b"old\n".as_slice()).unwrap();
        let members = [
            ingest(&layout, mt::OCI_LAYER, &tar.into_inner().unwrap()).unwrap(),
            ingest(&layout, mt::CHECKPOINT_CONFIG, &spec).unwrap(),
        ];
        let index = json!({
            "schemaVersion": 2, "manifests": members, "annotations": {"image.name": "debian:latest"},
        });
        let index = ingest(&layout, mt::OCI_INDEX, index.to_string().as_bytes()).unwrap();
        layout.set_root(&index, Some(tag)).unwrap();
        let select = Selector::Name(tag.to_owned());
        let source = Source::Oci { path: layout.path().to_owned(), select }.to_string();
        let args = ["checkpoint", "restore", "--image", &debian, "--run", &source, tag];
        assert_eq!(host.run(&args), "old\n");
    }
}

#[test]
fn a_checkpoint_of_a_task_is_restored_too() {
    let (containerd, host) = (Containerd::start(), Host::new());
    let task = containerd.id("task");
    containerd.run(&task, "echo here > /file; exec sleep 1000");
    crate::watchdog::wait_until("the file is there", || {
        containerd.rootfs(&task).join("file").exists()
    });
    containerd.ctr(&["task", "checkpoint", &task]);
    let images = containerd.ctr(&["images", "ls", "-q"]);
    let name = images.lines().find(|name| name.contains("checkpoint/task-")).unwrap();
    let reference = containerd.export(name, "task.tar");
    let shown = host.run(&["checkpoint", "inspect", "--json", &reference]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["command"][2], "echo here > /file; exec sleep 1000");
    assert_eq!(shown["processes"][0]["name"], "sleep");
    host.run(&["checkpoint", "restore", &reference, "task"]);
    assert_eq!(fs::read(host.rootfs("task").join("file")).unwrap(), b"here\n");
}

#[test]
fn memory_that_containerd_wrote_goes_on_elsewhere() {
    let (containerd, host) = (Containerd::start(), Host::new());
    let counter = containerd.id("counter");
    containerd.run(&counter, COUNTER);
    let count = |rootfs: &Path| count(rootfs).0;
    let rootfs = containerd.rootfs(&counter);
    crate::watchdog::wait_until("it has counted", || count(&rootfs) > 50);
    let before = count(&rootfs);
    let parts = ["--rw", "--task", "--image"];
    let name = [counter.as_str(), "example.com/cp:live"];
    containerd.ctr(&[&["containers", "checkpoint"][..], &parts, &name].concat());
    let reference = containerd.export("example.com/cp:live", "live.tar");
    host.run(&["checkpoint", "restore", &reference, "on", "--live", "--detach"]);
    crate::watchdog::wait_until("it counts on", || count(&host.rootfs("on")) > before);
}
