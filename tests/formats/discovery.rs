//! Images whose layers come in lazy formats, through the command line: what is found, what is
//! believed, and what is refused.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{STARGZ_ZSTD, STORAGE_ZSTD, vector};
use crate::images::layout::{Layer, Layout, digest};
use crate::images::program::Stratafs;
use crate::oracle::{self, Snapshot};

pub(super) const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
const SOCI_INDEX_DIGEST: &str = "com.amazon.soci.index-digest";

pub(super) fn ungzip(blob: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(blob), &mut tar).unwrap();
    tar
}

/// A layer of the vector `name`.
pub(super) fn layer(name: &str) -> Layer {
    let blob = vector(name);
    let (kind, tar) = match name.ends_with("gz") {
        true => ("tar+gzip", ungzip(&blob)),
        false => ("tar+zstd", zstd::decode_all(&blob[..]).unwrap()),
    };
    let media_type = format!("application/vnd.oci.image.layer.v1.{kind}");
    Layer { media_type, blob, diff_id: digest(&tar) }
}

pub(super) fn annotated(layer: Layer, annotations: &[(&str, &str)]) -> Layout {
    let annotations: Value =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    Layout::changed(&[layer], |manifest, _| manifest["layers"][0]["annotations"] = annotations)
}

fn estargz() -> Layout {
    annotated(layer("estargz.tar.gz"), &[(TOC_DIGEST, super::ESTARGZ_TOC)])
}

/// What `inspect` says of the only layer.
pub(super) fn inspected(stratafs: &Stratafs, image: &str, args: &[&str]) -> Value {
    let text = stratafs.run(&[&["--json", "inspect", image], args].concat());
    serde_json::from_str::<Value>(&text).unwrap()["layers"][0].take()
}

pub(super) fn mounted(stratafs: &Stratafs, image: &str, args: &[&str]) -> Snapshot {
    let target = stratafs.mount(image, args);
    let mut seen = oracle::snapshot(&target);
    // A child that another test's thread is about to start may have what was open here, for a moment.
    crate::watchdog::wait_until("nobody uses the mount", || {
        stratafs.command(&["umount", target.to_str().unwrap()]).output().unwrap().status.success()
    });
    // Files of the format, which a reader that does not know it shows.
    for name in [".prefetch.landmark", ".no.prefetch.landmark", "stargz.index.json"] {
        seen.remove(std::path::Path::new(name));
    }
    seen
}

/// What the layer looks like to who passes over it.
pub(super) fn eager() -> Snapshot {
    mounted(&Stratafs::new(), &Layout::of(&[layer("layer.tar.gz")]).image(), &[])
}

/// The index files of a state root, by whether they are of a foreign origin.
pub(super) fn indexes(stratafs: &Stratafs) -> (usize, usize) {
    let is_index = |path: &PathBuf| path.extension().is_some_and(|e| e == "toc");
    let of_origin = |path: PathBuf| path.to_str().unwrap().matches('.').count() == 2;
    let files: Vec<_> = stratafs.state().into_iter().filter(is_index).map(of_origin).collect();
    let foreign = files.iter().filter(|foreign| **foreign).count();
    (files.len() - foreign, foreign)
}

#[test]
fn layers_that_the_manifest_vouches_for_are_read_by_their_format() {
    let zstd = |name, annotations: &[_]| annotated(layer(name), annotations);
    let expected = eager();
    for (layout, format) in [
        (estargz(), "eStargz"),
        (zstd("stargz.tar.zst", &STARGZ_ZSTD), "zstd:chunked"),
        (zstd("storage.tar.zst", &STORAGE_ZSTD), "zstd:chunked"),
        (
            annotated(layer("stargz.tar.zst"), &[(TOC_DIGEST, super::STARGZ_ZSTD_TOC)]),
            "zstd:chunked",
        ),
    ] {
        let stratafs = Stratafs::new();
        let said = inspected(&stratafs, &layout.image(), &[]);
        assert_eq!((&said["lazy"], &said["format"]), (&json!(true), &json!(format)), "{said}");
        assert_eq!(indexes(&stratafs), (0, 0), "looking keeps nothing");
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
        assert_eq!(indexes(&stratafs), (0, 1), "{format}");
        // A second time, from what is kept.
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
        assert_eq!(indexes(&stratafs), (0, 1), "{format}");
        assert_eq!(inspected(&stratafs, &layout.image(), &[])["format"], format);
    }
}

#[test]
fn what_nothing_vouches_for_is_read_as_any_other_unless_the_user_says_so() {
    let expected = eager();
    for name in ["estargz.tar.gz", "stargz.tar.zst", "storage.tar.zst"] {
        let layout = Layout::of(&[layer(name)]);
        let stratafs = Stratafs::new();
        let said = inspected(&stratafs, &layout.image(), &[]);
        assert_eq!(said["lazy"], false, "{said}");
        assert!(said["refused"][0].as_str().unwrap().contains("no digest vouches"), "{said}");
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
        assert_eq!(indexes(&stratafs), (1, 0));
        let stratafs = Stratafs::new();
        let trusting = ["--trust-index", "any"];
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &trusting));
        assert_eq!(indexes(&stratafs), (0, 1));
        // Trust is not remembered, what was found is.
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &trusting));
        assert_eq!(indexes(&stratafs), (0, 1));
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
        assert_eq!(indexes(&stratafs), (1, 1));
    }
}

#[test]
fn a_wrong_table_of_contents_is_refused_with_the_reason_and_the_layer_is_right_all_the_same() {
    let expected = eager();
    let other = format!("sha256:{}", "0".repeat(64));
    let cut = |layer: Layer| {
        layer.with_blob(|blob| {
            let footer = blob.len() - 51 + 16;
            blob[footer..footer + 16].copy_from_slice(b"ffffffffffffffff");
        })
    };
    let position = ["io.github.containers.zstd-chunked.manifest-position", "1:2:3:1"];
    let moved = [STORAGE_ZSTD[0], (position[0], position[1])];
    for (layout, reason) in [
        (annotated(layer("estargz.tar.gz"), &[(TOC_DIGEST, &other)]), "the image says sha256:000"),
        (annotated(layer("estargz.tar.gz"), &[(TOC_DIGEST, "x")]), "annotation"),
        (annotated(layer("layer.tar.gz"), &[(TOC_DIGEST, &other)]), "footer is broken"),
        (
            annotated(cut(layer("estargz.tar.gz")), &[(TOC_DIGEST, super::ESTARGZ_TOC)]),
            "footer is broken",
        ),
        (
            annotated(layer("storage.tar.zst"), &[(STORAGE_ZSTD[0].0, &other), STORAGE_ZSTD[1]]),
            "the image says sha256:000",
        ),
        (annotated(layer("storage.tar.zst"), &moved), "annotation"),
    ] {
        let stratafs = Stratafs::new();
        let said = inspected(&stratafs, &layout.image(), &[]);
        assert_eq!(said["lazy"], false);
        assert!(said["refused"][0].as_str().unwrap().contains(reason), "{reason}: {said}");
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
        assert_eq!(indexes(&stratafs), (1, 0), "{reason}");
        let said = inspected(&stratafs, &layout.image(), &[]);
        assert!(said["refused"][0].as_str().unwrap().contains(reason), "{reason}: {said}");
    }
}

/// The layout of the plain gzip layer with the SOCI index of its zTOC; its digest.
pub(super) fn with_soci(ztoc: &[u8], vouched: bool, subject: bool) -> (Layout, String) {
    let layer = layer("layer.tar.gz");
    let blob = |bytes: &[u8]| json!({"mediaType": "application/octet-stream", "digest": digest(bytes), "size": bytes.len()});
    let mut entry = blob(ztoc);
    entry["annotations"] = json!({"com.amazon.soci.image-layer-digest": layer.digest()});
    let version = if subject { 1 } else { 2 };
    let mut config = blob(b"{}");
    config["mediaType"] = json!(format!("application/vnd.amazon.soci.index.v{version}+json"));
    let mut index = json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [entry]});
    let named = digest(index.to_string().as_bytes());
    let layout = Layout::changed(&[layer], |manifest, _| {
        if vouched {
            manifest["annotations"] = json!({SOCI_INDEX_DIGEST: named});
        }
    });
    let roots: Value =
        serde_json::from_slice(&fs::read(layout.path().join("index.json")).unwrap()).unwrap();
    let mut roots = roots["manifests"].as_array().unwrap().clone();
    if subject {
        let mut subject = roots[0].clone();
        subject.as_object_mut().unwrap().remove("annotations");
        index["subject"] = subject;
    }
    let bytes = index.to_string().into_bytes();
    for bytes in [&bytes[..], ztoc, b"{}"] {
        fs::write(layout.blob(&digest(bytes)), bytes).unwrap();
    }
    if subject {
        roots.push(json!({"mediaType": index["mediaType"], "digest": digest(&bytes),
            "size": bytes.len(), "artifactType": index["config"]["mediaType"]}));
        layout.write_index(&json!({"schemaVersion": 2, "manifests": roots}));
    }
    (layout, digest(&bytes))
}

#[test]
fn a_soci_index_that_the_manifest_names_is_used() {
    let (layout, _) = with_soci(&vector("layer.ztoc"), true, false);
    let stratafs = Stratafs::new();
    let said = inspected(&stratafs, &layout.image(), &[]);
    assert_eq!((&said["lazy"], &said["format"]), (&json!(true), &json!("SOCI")), "{said}");
    let expected = eager();
    oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
    oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
    assert_eq!(indexes(&stratafs), (0, 1));
}

#[test]
fn a_soci_index_that_only_refers_to_the_image_takes_trust() {
    let (layout, index) = with_soci(&vector("layer.ztoc"), false, true);
    let expected = eager();
    let stratafs = Stratafs::new();
    let said = inspected(&stratafs, &layout.image(), &[]);
    assert_eq!(said["lazy"], false, "{said}");
    let refused = said["refused"][0].as_str().unwrap();
    assert!(refused.contains(&format!("--trust-index {index}")), "{refused}");
    oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
    assert_eq!(indexes(&stratafs), (1, 0));
    for trust in ["any", &index] {
        let stratafs = Stratafs::new();
        let trusting = ["--trust-index", trust];
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &trusting));
        assert_eq!(indexes(&stratafs), (0, 1));
        assert_eq!(inspected(&stratafs, &layout.image(), &trusting)["format"], "SOCI");
    }
}

#[test]
fn a_broken_ztoc_is_refused_with_the_reason() {
    let expected = eager();
    let good = vector("layer.ztoc");
    for broken in [&good[..good.len() / 2], &good[..3], b"nonsense"] {
        let (layout, _) = with_soci(broken, true, false);
        let stratafs = Stratafs::new();
        let said = inspected(&stratafs, &layout.image(), &[]);
        assert!(said["refused"][0].as_str().unwrap().starts_with("SOCI: "), "{said}");
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
        assert_eq!(indexes(&stratafs), (1, 0));
    }
    // The index is gone, or is no index.
    for annotation in [format!("sha256:{}", "1".repeat(64)), "latest".to_owned()] {
        let layout = Layout::changed(&[layer("layer.tar.gz")], |manifest, _| {
            manifest["annotations"] = json!({SOCI_INDEX_DIGEST: annotation});
        });
        let stratafs = Stratafs::new();
        let said = inspected(&stratafs, &layout.image(), &[]);
        assert!(said["refused"][0].is_string(), "{said}");
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
    }
}

#[test]
fn a_lie_about_a_diff_id_is_seen_only_by_the_image_that_tells_it() {
    // A layer that is read lazily is never read whole, so that its diffID is not known.
    let victim = Layout::of(&[Layer::gzip(&ungzip(&Layer::gzip(b"").blob))]);
    let posing = Layer { diff_id: digest(b""), ..layer("estargz.tar.gz") };
    let posing = annotated(posing, &[(TOC_DIGEST, super::ESTARGZ_TOC)]);
    let stratafs = Stratafs::new();
    assert!(mounted(&stratafs, &posing.image(), &[]).len() > 5);
    assert_eq!(mounted(&stratafs, &victim.image(), &[]).len(), 1, "only its root");
    assert!(mounted(&stratafs, &posing.image(), &[]).len() > 5);
    assert_eq!(indexes(&stratafs), (1, 1));
}

#[test]
fn indexes_that_are_pushed_are_used_elsewhere_by_who_trusts_them() {
    let layers = [layer("layer.tar.gz"), Layer::plain(&ungzip(&Layer::gzip(b"").blob))];
    let layout = Layout::of(&layers);
    let artifact = Stratafs::new().run(&["index", "push", &layout.image()]);
    let artifact = artifact.trim();
    assert_eq!(Stratafs::new().run(&["index", "push", &layout.image()]).trim(), artifact);
    let expected = mounted(&Stratafs::new(), &layout.image(), &[]);
    for trust in ["any", artifact] {
        let stratafs = Stratafs::new();
        let trusting = ["--trust-index", trust];
        let said = inspected(&stratafs, &layout.image(), &trusting);
        assert_eq!(said["format"], "layer index", "{said}");
        oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &trusting));
        assert_eq!(indexes(&stratafs), (0, 2), "{trust}");
    }
    let stratafs = Stratafs::new();
    let said = inspected(&stratafs, &layout.image(), &[]);
    assert!(said["refused"][0].as_str().unwrap().contains(artifact), "{said}");
    oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &[]));
    assert_eq!(indexes(&stratafs), (2, 0));
    // A layer of it is damaged: the artifact is of no use, the image is.
    let bundle = fs::read(layout.blob(artifact)).unwrap();
    let manifest: Value = serde_json::from_slice(&bundle).unwrap();
    let bundle = layout.blob(manifest["layers"][0]["digest"].as_str().unwrap());
    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let stratafs = Stratafs::new();
    oracle::assert_same(&expected, &mounted(&stratafs, &layout.image(), &["--trust-index", "any"]));
    assert_eq!(indexes(&stratafs), (2, 0));
    let nothing = Stratafs::new().run(&["index", "push", &estargz().image()]);
    assert!(nothing.contains("nothing to push"), "{nothing}");
}
