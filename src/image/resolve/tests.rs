use serde_json::json;

use super::super::fixture::{Fixture, on};
use super::*;
use crate::digest::Digest;
use crate::error::{Classify, Kind};
use crate::image::{Index, MAX_DEPTH, parse_platform};

fn pick(f: &Fixture, root: &Descriptor, platform: &str) -> Result<Image, Error> {
    resolve(&f.layout, root, Some(&parse_platform(platform).unwrap()))
}

#[test]
fn layers_come_bottom_first_with_their_ids() {
    let f = Fixture::new();
    let root = f.image("linux/amd64", &["", "a", "b"]);
    let image = pick(&f, &root, "linux/amd64").unwrap();
    assert_eq!(image.layers.len(), 3);
    assert_eq!(image.layers[1].diff_id.digest(), &Digest::sha256(b"a"));
    assert_eq!(image.layers[0].descriptor.size, 0);
    assert_eq!(
        image.chain_id().unwrap().to_string(),
        "sha256:6e249d38c8038b0aefaa44893301e44ac47d767db1cb1a6cf4f2993a680add77"
    );
    assert_eq!(Digest::sha256(&image.manifest.raw), image.descriptor.digest);
    assert_eq!(Digest::sha256(&image.config.raw), image.manifest.config.digest);
}

#[test]
fn the_best_platform_of_an_index_is_taken() {
    let f = Fixture::new();
    let images = ["linux/386", "linux/amd64", "linux/arm64"].map(|p| (p, f.image(p, &[p])));
    let mut entries: Vec<_> = images.iter().map(|(p, d)| on(p, d)).collect();
    entries.insert(0, on("unknown/unknown", &f.image("linux/amd64", &["attestation"])));
    let root = f.index(&entries);
    for (platform, image) in &images {
        assert_eq!(pick(&f, &root, platform).unwrap().descriptor.digest, image.digest);
    }
    let error = pick(&f, &root, "linux/s390x").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let text = error.to_string();
    assert!(text.contains("linux/s390x") && text.contains("linux/arm64"), "{text}");
}

#[test]
fn entries_without_platform_are_judged_by_their_config() {
    let f = Fixture::new();
    let entries = ["linux/arm64", "linux/amd64"].map(|p| f.image(p, &[p]));
    let root = f.index(&entries);
    let image = pick(&f, &root, "linux/amd64").unwrap();
    assert_eq!(image.descriptor.digest, entries[1].digest);
    assert!(pick(&f, &root, "linux/riscv64").is_err());
}

#[test]
fn a_lone_manifest_is_taken_unless_a_platform_is_asked_for() {
    let f = Fixture::new();
    let root = f.image("plan9/mips", &["x"]);
    assert!(resolve(&f.layout, &root, None).is_ok());
    assert!(pick(&f, &root, "plan9/mips").is_ok());
    assert!(matches!(pick(&f, &root, "linux/amd64"), Err(Error::NoPlatform { .. })));
}

#[test]
fn indexes_may_lie_in_indexes_but_not_without_end() {
    let f = Fixture::new();
    let image = f.image("linux/amd64", &["x"]);
    let mut root = image.clone();
    for _ in 0..MAX_DEPTH {
        root = f.index(&[root]);
    }
    assert_eq!(pick(&f, &root, "linux/amd64").unwrap().descriptor.digest, image.digest);
    let error = pick(&f, &f.index(&[root]), "linux/amd64").unwrap_err();
    assert!(matches!(error, Error::TooMany { .. }), "{error}");
}

#[test]
fn what_is_named_many_times_is_looked_at_once() {
    let f = Fixture::new();
    let mut root = f.image("linux/arm64", &["x"]);
    for _ in 0..MAX_DEPTH {
        root = f.index(&vec![root; 40]);
    }
    let error = pick(&f, &root, "linux/amd64").unwrap_err();
    assert!(matches!(&error, Error::NoPlatform { offered, .. } if offered.len() == 1), "{error}");
}

#[test]
fn the_search_among_many_images_ends_at_the_bound() {
    let f = Fixture::new();
    let image = |i: usize| f.image("linux/arm64", &[&i.to_string()]);
    let root = f.index(&(0..MAX_DOCUMENTS / 2).map(image).collect::<Vec<_>>());
    let error = pick(&f, &root, "linux/amd64").unwrap_err();
    assert!(matches!(error, Error::TooMany { what: "documents", .. }), "{error}");
}

#[test]
fn nulls_of_go_are_empty() {
    let f = Fixture::new();
    let config = f.put(
        mt::OCI_CONFIG,
        &json!({
            "architecture": "amd64", "os": "linux", "history": null,
            "config": {"Env": null, "Cmd": null, "Entrypoint": null, "Labels": null,
                       "Volumes": null, "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": null},
        }),
    );
    let root = f.put(
        mt::OCI_MANIFEST,
        &json!({"schemaVersion": 2, "config": config, "layers": null, "annotations": null}),
    );
    let image = pick(&f, &root, "linux/amd64").unwrap();
    assert!(image.layers.is_empty() && image.chain_id().is_none());
    assert_eq!(image.config.config.exposed_ports, ["80/tcp"]);
    let config = f.put(mt::OCI_CONFIG, &json!({"config": null, "rootfs": null}));
    assert!(resolve(&f.layout, &f.manifest(&config, &[]), None).is_ok());
}

#[test]
fn documents_that_pass_for_another_type_are_refused() {
    let f = Fixture::new();
    let config = f.put(mt::OCI_CONFIG, &json!({}));
    let cases = [
        (mt::OCI_MANIFEST, json!({"config": config, "layers": [], "manifests": []})),
        (mt::OCI_INDEX, json!({"manifests": [], "layers": []})),
        (mt::OCI_INDEX, json!({"manifests": [], "config": config})),
        (mt::OCI_MANIFEST, json!({"mediaType": mt::OCI_INDEX, "config": config})),
        (mt::OCI_INDEX, json!({"mediaType": mt::OCI_MANIFEST, "manifests": []})),
        (mt::OCI_MANIFEST, json!({"mediaType": mt::DOCKER_MANIFEST, "config": config})),
    ];
    for (media_type, document) in cases {
        let error = resolve(&f.layout, &f.put(media_type, &document), None).unwrap_err();
        assert!(matches!(error, Error::Confused { .. }), "{document}: {error}");
    }
}

#[test]
fn schema_1_is_refused_with_the_way_out() {
    let f = Fixture::new();
    let document = json!({"schemaVersion": 1, "fsLayers": [{"blobSum": "sha256:00"}]});
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    for media_type in [signed, mt::DOCKER_MANIFEST] {
        let error = resolve(&f.layout, &f.put(media_type, &document), None).unwrap_err();
        assert!(matches!(error, Error::Schema1 { .. }), "{error}");
        assert!(error.to_string().contains("pull and push"));
    }
}

#[test]
fn broken_documents_are_named() {
    let f = Fixture::new();
    for root in [f.blob(mt::OCI_MANIFEST, "{"), f.blob(mt::OCI_INDEX, "[]")] {
        let error = resolve(&f.layout, &root, None).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
        assert!(error.to_string().contains(&root.digest.to_string()));
    }
    let missing = Descriptor::new(mt::OCI_MANIFEST, Digest::sha256(b"gone"), 4);
    assert_eq!(resolve(&f.layout, &missing, None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn layers_and_diff_ids_must_agree_in_number() {
    let f = Fixture::new();
    let image = pick(&f, &f.image("linux/amd64", &["a", "b"]), "linux/amd64").unwrap();
    let root = f.manifest(&image.manifest.config, &image.manifest.layers[..1]);
    let error = pick(&f, &root, "linux/amd64").unwrap_err();
    assert!(matches!(error, Error::LayerCount { layers: 1, diff_ids: 2, .. }), "{error}");
}

#[test]
fn what_cannot_be_mounted_is_refused() {
    let f = Fixture::new();
    let config = |n: usize| {
        let ids: Vec<_> = (0..n).map(|i| Digest::sha256(&[u8::try_from(i).unwrap()])).collect();
        f.put(mt::OCI_CONFIG, &json!({"os": "linux", "rootfs": {"diff_ids": ids}}))
    };
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        mt::EROFS_LAYER,
        "application/vnd.wasm.content.layer.v1+wasm",
    ] {
        let root = f.manifest(&config(1), &[f.blob(media_type, "x")]);
        let error = resolve(&f.layout, &root, None).unwrap_err();
        assert!(matches!(error, Error::UnsupportedLayer { .. }), "{error}");
    }
    let many = vec![f.blob(mt::OCI_LAYER, "x"); MAX_LAYERS + 1];
    let error = resolve(&f.layout, &f.manifest(&config(0), &many), None).unwrap_err();
    assert!(matches!(error, Error::TooMany { .. }), "{error}");
    let empty = f.put(mt::OCI_EMPTY, &json!({}));
    let error = resolve(&f.layout, &f.manifest(&empty, &[]), None).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
    let error = resolve(&f.layout, &empty, None).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_parsing_panic(raw in "[\\[\\]{}\",:a-z0-9]{0,80}") {
        let d = Descriptor::new(mt::OCI_MANIFEST, Digest::sha256(raw.as_bytes()), 0);
        let _ = Manifest::parse(&d, raw.clone().into_bytes());
        let _ = Index::parse(&d, raw.clone().into_bytes());
        let _ = Config::parse(&d, raw.into_bytes());
    }
}

#[test]
fn a_manifest_is_told_of_before_its_config_is_read() {
    let f = Fixture::new();
    let root = f.image("linux/amd64", &["a"]);
    let told = Mutex::new(Vec::new());
    let tell = |at: &Descriptor, manifest: &Manifest| {
        f.remove(&manifest.config.digest);
        told.lock().push(at.digest.clone());
    };
    let found = resolve_telling(&f.layout, &root, None, &tell);
    assert_eq!(found.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(*told.lock(), [root.digest]);
}
