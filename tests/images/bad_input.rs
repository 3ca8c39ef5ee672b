//! Images that are damaged or hostile: one clear error that names the object, and nothing left.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::layout::{Archive, KIND, LINK, Layer, Layout, NAME, SIZE};
use super::program::Stratafs;

/// Refuses to mount `image`, with an error that has all of `needles` in it, and leaves nothing but
/// the index of the sample layer, where that is a part of the image.
fn refused(image: &str, needles: &[&str]) {
    let sound = format!("index/{}.toc", Layer::gzip(&sample()).digest().replace(':', "-"));
    refused_but(image, needles, |path| path == Path::new(&sound));
}

/// As [`refused`], for layers that are sound alone and do not fit together: they keep their
/// indexes, and there is no merged tree.
fn unmergeable(layers: &[Layer], needles: &[&str]) {
    let of_one_layer =
        |path: &Path| path.starts_with("index") || path.to_str().unwrap().ends_with(".layer.tree");
    refused_but(&Layout::of(layers).image(), needles, of_one_layer);
}

fn refused_but(image: &str, needles: &[&str], may_stay: impl Fn(&Path) -> bool) {
    let stratafs = Stratafs::new();
    let target = stratafs.target("mount");
    let error = stratafs.refuse(&["mount", image, target.to_str().unwrap()]);
    for needle in needles {
        assert!(error.contains(needle), "no {needle:?} in: {error}");
    }
    assert_eq!(error.lines().filter(|line| !line.starts_with("  hint: ")).count(), 1, "{error}");
    let mut state = stratafs.state();
    state.retain(|path| !may_stay(path));
    assert!(state.is_empty(), "left behind: {state:?}");
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!table.contains(target.to_str().unwrap()), "still mounted");
}

/// Refuses an image of a sound layer and this one above it; the error names this one.
fn layer_refused(layer: &Layer, needles: &[&str]) {
    let layout = Layout::of(&[Layer::gzip(&sample()), layer.clone()]);
    refused(&layout.image(), &[&[layer.digest().as_str()], needles].concat());
}

fn archive_refused(tar: &[u8], needles: &[&str]) {
    layer_refused(&Layer::plain(tar), needles);
    layer_refused(&Layer::gzip(tar), needles);
}

fn changed_refused(change: impl FnOnce(&mut Value, &mut Value), needles: &[&str]) {
    refused(&Layout::changed(&[Layer::gzip(&sample())], change).image(), needles);
}

fn noise(len: usize) -> Vec<u8> {
    crate::fixture::noise(len)
}

fn sample() -> Vec<u8> {
    Archive::new().file("noise", &noise(100_000)).file("text", &b"text ".repeat(5000)).finish()
}

#[test]
fn truncated_layers() {
    for layer in [Layer::gzip(&sample()), Layer::zstd(&sample()), Layer::plain(&sample())] {
        for keep in [layer.blob.len() / 2, 40] {
            layer_refused(&layer.clone().with_blob(|blob| blob.truncate(keep)), &[]);
        }
    }
}

#[test]
fn corrupt_layers() {
    for layer in [Layer::gzip(&sample()), Layer::zstd(&sample())] {
        let middle = layer.blob.len() / 2;
        layer_refused(&layer.clone().with_blob(|blob| blob[middle..middle + 64].fill(0xff)), &[]);
        layer_refused(&layer.clone().with_blob(|blob| blob.extend_from_slice(b"trailing")), &[]);
    }
    let checksum = |blob: &mut Vec<u8>| {
        let place = blob.len() - 6;
        blob[place] ^= 1;
    };
    layer_refused(&Layer::gzip(&sample()).with_blob(checksum), &[]);
    let header = |blob: &mut Vec<u8>| blob[3] ^= 1;
    layer_refused(&Layer::plain(&sample()).with_blob(header), &["checksum"]);
}

#[test]
fn a_blob_that_is_not_what_its_digest_says() {
    let layer = Layer::plain(&sample());
    let layout = Layout::of(std::slice::from_ref(&layer));
    let mut blob = layer.blob.clone();
    blob[5000] ^= 1;
    fs::write(layout.blob(&layer.digest()), &blob).unwrap();
    refused(&layout.image(), &[&layer.digest(), &super::layout::digest(&blob)]);
}

#[test]
fn an_archive_that_is_not_what_its_diff_id_says() {
    let other = super::layout::digest(b"other");
    let layer = Layer { diff_id: other.clone(), ..Layer::gzip(&sample()) };
    let layout = Layout::of(std::slice::from_ref(&layer));
    refused(&layout.image(), &[&layer.digest(), &other, &super::layout::digest(&sample())]);
}

#[test]
fn names_that_climb_out() {
    for name in ["../climber", "a/../../climber", "/../climber", ".."] {
        archive_refused(&Archive::new().file(name, b"x").finish(), &[name, "climbs"]);
    }
    // A link's target is taken as in a chroot, where it stays below the root.
    let link = Archive::new().link("innocent", b'1', "../../etc/passwd").finish();
    unmergeable(&[Layer::gzip(&link)], &["layer 1", "/innocent", "/etc/passwd, which no"]);
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        archive_refused(&Archive::new().file(name, b"").finish(), &[name, "whiteout"]);
    }
}

#[test]
fn links_that_lead_nowhere() {
    // What a hard link leads to is known when the layers are merged: that error names the place of
    // the layer and both paths.
    let own = Layer::plain(&Archive::new().link("selfish", b'1', "selfish").finish());
    let pair = Archive::new().link("chicken", b'1', "egg").link("egg", b'1', "chicken").finish();
    for (layer, name) in [(own, "/selfish"), (Layer::plain(&pair), "/egg")] {
        unmergeable(&[Layer::gzip(&sample()), layer], &["layer 2", name, "hard link"]);
    }
    let through = Archive::new().link("a", b'2', "b").link("b", b'2', "a").file("a/inside", b"x");
    archive_refused(&through.finish(), &["a/inside"]);
    let folder = Archive::new().header(&[(NAME, b"folder"), (KIND, b"5")]);
    let link = folder.link("second", b'1', "folder").finish();
    archive_refused(&link, &["second", "director"]);
}

#[test]
fn sizes_that_no_file_has() {
    let size = [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]; // base 256: 2^63
    let giant = [(NAME, &b"giant"[..]), (SIZE, &size[..])];
    archive_refused(&Archive::new().header(&giant).unfinished(), &["giant"]);
    for text in ["9223372036854775808", "9223372036854775807", "99999999999999999999", "-1"] {
        let records = BTreeMap::from([("size", text)]);
        let tar = Archive::new().pax(&records).file("giant", b"x").finish();
        archive_refused(&tar, &[]);
    }
    for kind in [b"x", b"L", b"K"] {
        let extension = [(NAME, &b"pax"[..]), (KIND, &kind[..]), (SIZE, &b"77777777777"[..])];
        archive_refused(&Archive::new().header(&extension).unfinished(), &[]);
    }
    let sparse = BTreeMap::from([
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "giant"),
        ("GNU.sparse.realsize", "9223372036854775808"),
    ]);
    let map = b"1\n0\n1\n".to_vec();
    archive_refused(&Archive::new().pax(&sparse).file("x", &map).finish(), &["realsize"]);
}

#[test]
fn things_that_no_archive_holds() {
    let unknown = [(NAME, &b"strange"[..]), (KIND, &b"Q"[..])];
    archive_refused(&Archive::new().header(&unknown).finish(), &["strange"]);
    let empty = [(NAME, &b"pointless"[..]), (KIND, &b"2"[..]), (LINK, &b""[..])];
    archive_refused(&Archive::new().header(&empty).finish(), &["pointless"]);
    archive_refused(&noise(5000), &[]);
    archive_refused(&b"#!/bin/sh\n".repeat(100), &[]);
}

#[test]
fn blobs_that_are_not_there() {
    let layer = Layer::gzip(&sample());
    let layout = Layout::of(std::slice::from_ref(&layer));
    fs::remove_file(layout.blob(&layer.digest())).unwrap();
    refused(&layout.image(), &[&layer.digest(), "not in"]);

    let missing = super::layout::digest(b"missing");
    let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json",
                        "digest": missing, "size": 7});
    changed_refused(|manifest, _| manifest["config"] = config, &[&missing, "not in"]);

    let layout = Layout::of(&[]);
    let root = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
                      "digest": missing, "size": 7});
    layout.write_index(&json!({"schemaVersion": 2, "manifests": [root]}));
    refused(&layout.image(), &[&missing, "not in"]);
}

#[test]
fn manifests_and_configs_that_do_not_fit() {
    let one_more = |_: &mut Value, config: &mut Value| {
        let ids = config["rootfs"]["diff_ids"].as_array_mut().unwrap();
        ids.push(ids[0].clone());
    };
    changed_refused(one_more, &["1 layers", "2 diffIDs"]);
    let odd_digest = |manifest: &mut Value, _: &mut Value| {
        manifest["layers"][0]["digest"] = json!("md5:d41d8cd98f00b204e9800998ecf8427e");
    };
    changed_refused(odd_digest, &["md5"]);
    let climbing = |manifest: &mut Value, _: &mut Value| {
        manifest["layers"][0]["digest"] = json!("sha256:../../../../../etc/passwd");
    };
    changed_refused(climbing, &["passwd"]);
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    changed_refused(|m, _| m["layers"][0]["mediaType"] = json!(encrypted), &[encrypted]);
    let wrong_size = |m: &mut Value, _: &mut Value| m["layers"][0]["size"] = json!(1);
    changed_refused(wrong_size, &[&Layer::gzip(&sample()).digest(), "1"]);
    changed_refused(|m, _| m["layers"][0]["size"] = json!(-1), &[]);
    changed_refused(|m, _| m["layers"] = json!("none"), &[]);
    changed_refused(|_, config| *config = json!([]), &[]);
    let schema_1 = |manifest: &mut Value, _: &mut Value| {
        *manifest = json!({"schemaVersion": 1, "name": "old", "tag": "1", "fsLayers": [],
                           "history": [], "config": {}});
    };
    changed_refused(schema_1, &["schema"]);
}

#[test]
fn folders_and_files_that_are_no_images() {
    let empty = tempfile::tempdir().unwrap();
    let dir = empty.path().to_str().unwrap();
    refused(&format!("oci:{dir}"), &[dir]);
    refused(&format!("oci:{dir}/nothing"), &[dir]);
    for kind in ["oci-archive", "docker-archive"] {
        refused(&format!("{kind}:{dir}/nothing.tar"), &[dir]);
        refused(&format!("{kind}:{dir}"), &[dir]);
        let file = empty.path().join("noise");
        for content in [noise(10_000), vec![], vec![0; 10_240]] {
            fs::write(&file, content).unwrap();
            refused(&format!("{kind}:{}", file.display()), &[file.to_str().unwrap()]);
        }
    }
    refused("docker.io/library/debian", &["docker.io/library/debian", "oci:DIR"]);
    for index in ["", "{", "[]", r#"{"schemaVersion": 2, "manifests": {}}"#] {
        let layout = Layout::of(&[]);
        fs::write(layout.path().join("index.json"), index).unwrap();
        refused(&layout.image(), &[layout.path().to_str().unwrap()]);
    }
    let layout = Layout::of(&[]);
    refused(&format!("{}:other", layout.image()), &["other", "latest"]);
}
