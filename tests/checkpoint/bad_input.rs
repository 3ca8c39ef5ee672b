//! Checkpoints that are broken or hostile: a clear error each, and nothing left of them.

use std::fs;

use serde_json::{Value, json};
use stratafs::content::{Descriptor, Layout, ingest};
use stratafs::digest::Digest;
use stratafs::image::{Selector, Source, media_type as mt};

use super::archives::{CONFIG, gzip, spec, tar};
use super::program::{Host, path_with_criu};
use crate::images::corpus;

/// A layout with parts to make checkpoints of.
struct Parts {
    dir: tempfile::TempDir,
    layout: Layout,
}

impl Parts {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path().join("layout")).unwrap();
        Self { dir, layout }
    }

    fn part(&self, media_type: &str, content: &[u8]) -> Descriptor {
        ingest(&self.layout, media_type, content).unwrap()
    }

    fn layer(&self, name: &str) -> Descriptor {
        self.part(mt::OCI_LAYER_GZIP, &gzip(&tar(&[(name, b"x")])))
    }

    fn index(&self, members: &[Descriptor], annotations: Value) -> String {
        let index = json!({"schemaVersion": 2, "manifests": members, "annotations": annotations});
        let root = self.part(mt::OCI_INDEX, index.to_string().as_bytes());
        self.layout.set_root(&root, None).unwrap();
        let select = Selector::Digest(root.digest);
        Source::Oci { path: self.layout.path().to_owned(), select }.to_string()
    }

    fn archive(&self, bytes: &[u8]) -> String {
        let path = self.dir.path().join("archive");
        fs::write(&path, bytes).unwrap();
        format!("archive:{}", path.display())
    }
}

/// Restoring `reference` fails with `expected` and leaves nothing.
fn refused(host: &Host, reference: &str, expected: &str) {
    let image = corpus::image("debian", "latest");
    refused_with(host, &["--image", &image], reference, expected);
}

fn refused_with(host: &Host, args: &[&str], reference: &str, expected: &str) {
    let args = [&["checkpoint", "restore"][..], args, &[reference, "bad"]].concat();
    let mut command = host.stratafs.command(&args);
    let output = command.env("PATH", path_with_criu()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
    assert!(error.starts_with("stratafs: ") && !error.contains("panicked"), "{error}");
    assert!(error.contains(expected), "{reference}: {error}");
    assert_eq!(host.snapshots(), Vec::<String>::new(), "{error}");
    for folder in ["containers", "work"] {
        let left = fs::read_dir(host.stratafs.root().join(folder));
        assert_eq!(left.map(Iterator::count).unwrap_or(0), 0, "{folder}: {error}");
    }
}

#[test]
fn an_index_that_says_too_much_or_too_little_is_refused() {
    let (host, parts) = (Host::new(), Parts::new());
    let named = json!({"image.name": "debian:latest"});
    let (one, two) = (parts.layer("one"), parts.layer("two"));
    let good = parts.part(mt::CHECKPOINT_CONFIG, spec().as_bytes());
    let two_layers = parts.index(&[one.clone(), two], named.clone());
    refused(&host, &two_layers, "2 rw layers");
    refused(&host, &parts.index(std::slice::from_ref(&good), named.clone()), "no rw layer");
    refused_with(&host, &[], &parts.index(&[one.clone(), good.clone()], json!({})), "which image");
    let manifest = |name: &[u8]| Descriptor::new(mt::OCI_MANIFEST, Digest::sha256(name), 7);
    let images = [manifest(b"1"), manifest(b"2"), one.clone()];
    refused(&host, &parts.index(&images, named.clone()), "2 images");
    let missing = parts.index(&[manifest(b"gone"), one.clone()], named.clone());
    refused_with(&host, &[], &missing, "image of the container");
    refused_with(
        &host,
        &["--live"],
        &parts.index(std::slice::from_ref(&one), named.clone()),
        "no memory image",
    );
    for (spec, expected) in [
        (b"{".as_slice(), "no JSON"),
        (b"[1]", "no JSON object"),
        (b"{}", "what to run"),
        (b"\x0a\x7fshort", "ends inside of a field"),
    ] {
        let spec = parts.part(mt::CHECKPOINT_CONFIG, spec);
        refused(&host, &parts.index(&[one.clone(), spec], named.clone()), expected);
    }
    let debian = corpus::image("debian", "latest");
    refused(&host, &debian, "is no checkpoint: it is an image");
}

#[test]
fn a_rw_layer_that_is_not_the_one_named_leaves_nothing() {
    let (host, parts) = (Host::new(), Parts::new());
    let named = json!({"image.name": "debian:latest"});
    let layer = parts.layer("one");
    let good = parts.part(mt::CHECKPOINT_CONFIG, spec().as_bytes());
    let reference = parts.index(&[layer.clone(), good], named.clone());
    let blob = parts.layout.path().join("blobs/sha256").join(layer.digest.hex());
    let whole = fs::read(&blob).unwrap();
    let other = gzip(&tar(&[("two", b"x")]));
    assert_eq!(other.len(), whole.len());
    fs::write(&blob, other).unwrap();
    refused(&host, &reference, "the digest of the part");
    let mut broken = whole.clone();
    broken[whole.len() / 2] ^= 0xff;
    fs::write(&blob, broken).unwrap();
    refused(&host, &reference, &layer.digest.to_string());
    for (member, expected) in [("../../escaped", "escaped"), ("a/.wh...", "whiteout")] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..member.len()].copy_from_slice(member.as_bytes());
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
        let layer = parts.part(mt::OCI_LAYER, &tar.into_inner().unwrap());
        refused(&host, &parts.index(&[layer], named.clone()), expected);
    }
}

#[test]
fn hostile_archives_are_refused() {
    let (host, parts) = (Host::new(), Parts::new());
    let with = |name: &str, content: &[u8]| {
        let (diff, spec) = (tar(&[("new", b"x")]), spec());
        let members: [(&str, &[u8]); 4] = [
            ("config.dump", CONFIG.as_bytes()),
            ("spec.dump", spec.as_bytes()),
            ("rootfs-diff.tar", &diff),
            (name, content),
        ];
        let replaced: Vec<_> =
            members[..3].iter().filter(|(n, _)| *n != name).chain(&members[3..]).copied().collect();
        parts.archive(&tar(&replaced))
    };
    refused(&host, &with("deleted.files", br#"["/../../etc/passwd"]"#), ".. in it");
    refused(&host, &with("deleted.files", br#"{"a": 1}"#), "no JSON list");
    refused(&host, &with("spec.dump", b"not json"), "spec of the checkpoint");
    refused(&host, &with("config.dump", b"[]"), "config.dump is broken");
    refused(
        &host,
        &with("rootfs-diff.tar", b"not a tar at all, and long enough".repeat(40).as_slice()),
        "rw layer",
    );
    refused(&host, &parts.archive(&tar(&[("pod.dump", b"{}")])), "of a pod");
    refused(&host, &parts.archive(&tar(&[("x", b"{}")])), "neither config.dump nor spec.dump");
    refused(&host, &parts.archive(b"x"), "archive");
    let whole = gzip(&tar(&[("config.dump", CONFIG.as_bytes()), ("spec.dump", spec().as_bytes())]));
    refused(&host, &parts.archive(&whole[..whole.len() / 2]), "archive");
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Char] {
        let name = "checkpoint/pstree.img";
        refused(&host, &parts.archive(&member(name, kind)), name);
    }
    for name in ["../config.dump", "checkpoint/../../spec.dump"] {
        let archive = parts.archive(&member(name, tar::EntryType::Regular));
        refused(&host, &archive, "does not stay inside of the archive");
    }
}

/// A tar of one empty member.
fn member(name: &str, kind: tar::EntryType) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    // Written as it is: the crate refuses paths that climb.
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(0);
    if kind.is_symlink() || kind.is_hard_link() {
        header.set_link_name("/etc/shadow").unwrap();
    }
    header.set_cksum();
    builder.append(&header, std::io::empty()).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_hostile_memory_image_makes_no_container() {
    let (host, parts) = (Host::new(), Parts::new());
    let named = json!({"image.name": "debian:latest"});
    let image = corpus::image("debian", "latest");
    let live = ["--live", "--image", &image];
    let spec = parts.part(mt::CHECKPOINT_CONFIG, spec().as_bytes());
    let memory = |name: &str, kind| {
        let members = [parts.layer("one"), spec.clone(), parts.part(mt::CRIU, &member(name, kind))];
        parts.index(&members, named.clone())
    };
    let link = memory("pstree.img", tar::EntryType::Symlink);
    refused_with(&host, &live, &link, "\"pstree.img\" of the memory image is a symbolic link");
    let device = memory("core-1.img", tar::EntryType::Block);
    refused_with(&host, &live, &device, "\"core-1.img\" of the memory image is a device");
    let climbs = memory("../../pstree.img", tar::EntryType::Regular);
    refused_with(&host, &live, &climbs, "does not stay inside of the archive");
    let damaged = parts.part(mt::CRIU, b"no tar, but long enough to be one ".repeat(40).as_slice());
    let damaged = parts.index(&[parts.layer("one"), spec.clone(), damaged], named.clone());
    refused_with(&host, &live, &damaged, "the memory image");
}

#[test]
fn a_checkpoint_without_its_blobs_leaves_nothing() {
    let (host, parts) = (Host::new(), Parts::new());
    let named = json!({"image.name": "debian:latest"});
    let gone = |media_type: &str| Descriptor::new(media_type, Digest::sha256(b"gone"), 7);
    let layer = parts.index(&[gone(mt::OCI_LAYER_GZIP)], named.clone());
    refused(&host, &layer, &Digest::sha256(b"gone").to_string());
    let spec = parts.index(&[parts.layer("one"), gone(mt::CHECKPOINT_CONFIG)], named.clone());
    refused(&host, &spec, &Digest::sha256(b"gone").to_string());
    // The image that the checkpoint carries is damaged further down.
    let manifest = json!({
        "schemaVersion": 2, "config": gone(mt::OCI_CONFIG), "layers": [gone(mt::OCI_LAYER_GZIP)],
    });
    let manifest = parts.part(mt::OCI_MANIFEST, manifest.to_string().as_bytes());
    let image = parts.index(&[manifest, parts.layer("one")], named);
    refused_with(&host, &[], &image, "image of the container");
}
