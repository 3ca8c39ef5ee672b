use super::*;
use crate::content::conformance::{self, Known};

type Builder = tar::Builder<Vec<u8>>;

fn file(builder: &mut Builder, path: &str, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, path, data).unwrap();
}

fn symlink(builder: &mut Builder, path: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, path, target).unwrap();
}

fn config(diff_ids: &[&Digest]) -> Vec<u8> {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

fn archive(build: impl FnOnce(&mut Builder)) -> Result<DockerArchive, Error> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    DockerArchive::new("docker-archive:test.tar".into(), Arc::new(builder.into_inner().unwrap()))
}

fn list(config: &str, layers: &[&str]) -> Vec<u8> {
    json!([{"Config": config, "RepoTags": ["a:1", "b:2"], "Layers": layers}])
        .to_string()
        .into_bytes()
}

#[test]
fn image_keeps_every_promise_of_a_provider() {
    let layers = [Known::new("one"), Known::new(vec![2; 5000]), Known::new("")];
    let ids: Vec<_> = layers.iter().map(|l| &l.descriptor.digest).collect();
    let config = config(&ids);
    let archive = archive(|b| {
        file(b, "1/layer.tar", &layers[0].content);
        file(b, "2.tar", &layers[1].content);
        file(b, "3/layer.tar", b"");
        symlink(b, "4/layer.tar", "../1/layer.tar");
        file(b, "c.json", &config);
        file(b, "manifest.json", &list("c.json", &["4/layer.tar", "2.tar", "3/layer.tar"]));
    })
    .unwrap();
    assert_eq!(archive.names().collect::<Vec<_>>(), [["a:1", "b:2"]]);
    let image = archive.image(0).unwrap().unwrap();
    let manifest = image.read(image.root()).unwrap();
    let manifest_json: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest_json["config"]["digest"], Digest::sha256(&config).to_string());
    assert_eq!(manifest_json["layers"][1]["size"], 5000);
    let mut known = layers.to_vec();
    known.extend([Known::new(config), Known::new(manifest)]);
    conformance::check(&image, &known).unwrap();
    assert!(archive.image(1).unwrap().is_none());
}

#[test]
fn compressed_layers_are_named_by_their_own_digest() {
    let plain = b"a plain layer";
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zip, plain).unwrap();
    let zipped = zip.finish().unwrap();
    let digest = Digest::sha256(&zipped);
    let diff_id = Digest::sha256(plain);
    let blob = format!("blobs/sha256/{}", digest.hex());
    for member in ["layer.tar.gz", &blob] {
        let archive = archive(|b| {
            file(b, member, &zipped);
            file(b, "c.json", &config(&[&diff_id]));
            file(b, "manifest.json", &list("c.json", &[member]));
        });
        let image = archive.unwrap().image(0).unwrap().unwrap();
        let manifest: serde_json::Value =
            serde_json::from_slice(&image.read(image.root()).unwrap()).unwrap();
        assert_eq!(manifest["layers"][0]["digest"], digest.to_string());
        assert_eq!(manifest["layers"][0]["mediaType"], LAYER_GZIP);
        conformance::check(&image, &[Known::new(zipped.clone())]).unwrap();
    }
}

#[test]
fn broken_archives_are_refused_by_name() {
    let id = Digest::sha256(b"x");
    let refused = |build: &dyn Fn(&mut Builder)| {
        let outcome = archive(|b| build(b)).and_then(|a| a.image(0).map(drop));
        outcome.unwrap_err().to_string()
    };
    assert!(refused(&|b| file(b, "x", b"")).contains("no member manifest.json"));
    assert!(refused(&|b| file(b, "oci-layout", b"")).contains("use oci-archive:"));
    assert!(refused(&|b| file(b, "manifest.json", b"{")).contains("manifest.json is broken"));
    assert!(refused(&|b| file(b, "manifest.json", &list("c.json", &[]))).contains("c.json"));
    let error = refused(&|b| {
        file(b, "c.json", &config(&[&id]));
        file(b, "manifest.json", &list("c.json", &[]));
    });
    assert!(error.contains("1 diffIDs, manifest.json 0 layers"), "{error}");
    let error = refused(&|b| {
        file(b, "c.json", &config(&[&id]));
        file(b, "manifest.json", &list("c.json", &["../../etc/passwd"]));
    });
    assert!(error.contains("no member ../../etc/passwd"), "{error}");
}

#[test]
fn null_lists_are_empty() {
    let archive = archive(|b| {
        file(b, "c.json", br#"{"rootfs":{"type":"layers","diff_ids":null}}"#);
        file(b, "manifest.json", br#"[{"Config":"c.json","RepoTags":null,"Layers":null}]"#);
    });
    let image = archive.unwrap().image(0).unwrap().unwrap();
    assert!(image.read(image.config()).is_ok());
}
