//! The writing side.

use std::io::Write;
use std::num::NonZeroUsize;

use serde_json::json;
use stratafs::content::{Ingester, Layout, Provider, ingest};
use stratafs::digest::Digest;
use stratafs::error::{Classify, Kind};
use stratafs::image::{self, Cancel, media_type};

use super::fake::{AuthMode, Fake, Fault, Logged};
use super::{Account, blob, config, pattern, repository, repository_with};

#[test]
fn a_blob_of_several_pieces_arrives_whole_through_faults() {
    let registry = Fake::start();
    let content = pattern(18 << 20);
    let (_client, repository) = repository(&registry);
    for faults in [
        vec![],
        vec![Fault::Status(503), Fault::Reset],
        // The first piece arrives, its answer does not.
        vec![Fault::Late(std::time::Duration::ZERO), Fault::Cut(0), Fault::Status(500)],
    ] {
        registry.inside().blobs.clear();
        registry.faults(faults);
        let descriptor = blob(&content);
        assert!(!repository.contains(&descriptor).unwrap());
        let mut writer = repository.resume(&descriptor).unwrap();
        writer.write_all(&content).unwrap();
        writer.commit(descriptor.size, &descriptor.digest).unwrap();
        assert!(repository.contains(&descriptor).unwrap());
        assert!(registry.inside().blobs[&descriptor.digest.to_string()] == content);
    }
}

#[test]
fn content_that_is_not_what_it_should_be_is_not_pushed() {
    let registry = Fake::start();
    let (_client, repository) = repository(&registry);
    let descriptor = blob(b"right");
    for (size, error) in [(5, "digest"), (4, "bytes")] {
        let mut writer = repository.resume(&descriptor).unwrap();
        writer.write_all(b"wrong").unwrap();
        let failure = writer.commit(size, &descriptor.digest).unwrap_err();
        assert_eq!(failure.kind(), Kind::DataLoss);
        assert!(failure.to_string().contains(error), "{failure}");
    }
    assert!(registry.inside().blobs.is_empty());
}

#[test]
fn an_image_is_copied_to_a_registry_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let local = Layout::create(dir.path().join("local")).unwrap();
    let layers = [pattern(100_000), Vec::new(), b"small".to_vec()]
        .map(|content| ingest(&local, media_type::OCI_LAYER, &content).unwrap());
    let ids: Vec<_> = layers.iter().map(|l| &l.digest).collect();
    let config_json = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": ids}});
    let put = |media_type: &str, document: serde_json::Value| {
        ingest(&local, media_type, document.to_string().as_bytes()).unwrap()
    };
    let image_config = put(media_type::OCI_CONFIG, config_json);
    let manifest = put(
        media_type::OCI_MANIFEST,
        json!({"schemaVersion": 2, "config": image_config, "layers": layers}),
    );
    let root = put(media_type::OCI_INDEX, json!({"schemaVersion": 2, "manifests": [manifest]}));

    let registry = Fake::start();
    registry.inside().auth = Some(AuthMode::TokenFor("user", "hunter2"));
    let credentials = Account::password("user", "hunter2");
    let config = stratafs::content::registry::Config { credentials, ..config() };
    let (_client, remote) = repository_with(&registry, config);
    let four = NonZeroUsize::new(4).unwrap();
    let cancel = Cancel::new();
    image::copy(&local, &remote, &root, |graph| graph, four, &|_, _| {}, &cancel).unwrap();
    remote.set_root(&root, "latest").unwrap();
    assert_eq!(remote.resolve().unwrap().digest, root.digest);

    let back = Layout::create(dir.path().join("back")).unwrap();
    image::copy(&remote, &back, &root, |graph| graph, four, &|_, _| {}, &cancel).unwrap();
    let there = image::resolve(&local, &root, None).unwrap();
    let here = image::resolve(&back, &root, None).unwrap();
    assert_eq!(there.layers, here.layers);
    for layer in &here.layers {
        assert!(back.read(&layer.descriptor).unwrap() == local.read(&layer.descriptor).unwrap());
    }
    // All is there: a second push sends nothing.
    let puts = |fake: &Fake| fake.requests().iter().filter(|l| l.method == "PUT").count();
    let before = puts(&registry);
    image::copy(&local, &remote, &root, |graph| graph, four, &|_, _| {}, &cancel).unwrap();
    assert_eq!(puts(&registry), before);
}

#[test]
fn referrers_are_found_with_and_without_the_registrys_help() {
    for helps in [true, false] {
        let registry = Fake::start();
        registry.inside().referrers = helps;
        let (_client, repository) = repository(&registry);
        let empty = ingest(&repository, media_type::OCI_EMPTY, b"{}").unwrap();
        let manifest = |extra: serde_json::Value| {
            let mut m = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": empty, "layers": []});
            m.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let bytes = m.to_string().into_bytes();
            let digest = Digest::sha256(&bytes);
            let size = bytes.len() as u64;
            let d = stratafs::content::Descriptor::new(media_type::OCI_MANIFEST, digest, size);
            let mut writer = repository.resume(&d).unwrap();
            writer.write_all(&bytes).unwrap();
            writer.commit(d.size, &d.digest).unwrap();
            d
        };
        let subject = manifest(json!({}));
        assert!(repository.referrers(&subject.digest, None).unwrap().is_empty());
        let index = manifest(json!({"subject": subject, "artifactType": "test/index"}));
        let other = manifest(json!({"subject": subject, "artifactType": "test/other"}));
        let mut all: Vec<_> = repository
            .referrers(&subject.digest, None)
            .unwrap()
            .into_iter()
            .map(|d| d.digest)
            .collect();
        all.sort();
        let mut expected = vec![index.digest.clone(), other.digest];
        expected.sort();
        assert_eq!(all, expected, "{helps}");
        let found = repository.referrers(&subject.digest, Some("test/index")).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].digest, index.digest);
        assert_eq!(repository.read(&found[0]).unwrap().len() as u64, index.size);
    }
}

#[test]
fn referrers_that_are_expected_are_asked_for_once() {
    let registry = Fake::start();
    registry.inside().referrers = true;
    let (_client, repository) = repository(&registry);
    let (subject, other) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    let asked = || {
        let is_list = |l: &&Logged| l.path.contains("/referrers/");
        registry.inside().log.iter().filter(is_list).count()
    };
    repository.expect_referrers(&subject);
    assert!(repository.referrers(&subject, None).unwrap().is_empty());
    assert_eq!(asked(), 1);
    // What was expected is not kept: the list can have changed.
    assert!(repository.referrers(&subject, None).unwrap().is_empty());
    assert_eq!(asked(), 2);
    repository.expect_referrers(&subject);
    assert!(repository.referrers(&other, None).unwrap().is_empty());
    assert!(repository.referrers(&subject, Some("test/index")).unwrap().is_empty());
    assert!(repository.referrers(&subject, None).unwrap().is_empty());
    assert_eq!(asked(), 5);
}
