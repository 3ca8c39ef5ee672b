//! Storage behind signed addresses, tokens that end at the worst moment, and uploads that are lost.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::sync::Arc;

use rstest::rstest;
use stratafs::content::conformance::{self, Known};
use stratafs::content::registry::{Client, Config, Repository};
use stratafs::content::{Documents, Ingester, Layout, Provider, Remembered, ingest};
use stratafs::image::{self, Cancel, media_type};
use stratafs::io::ReadAt;

use super::fake::{AuthMode, Fake, Fault};
use super::{Account, blob, config, pattern, repository, repository_with};

#[rstest]
fn an_address_that_has_ended_is_asked_for_anew(#[values(400, 401, 403, 404)] status: u16) {
    let [registry, storage] = [(); 2].map(|()| Fake::start());
    let content = pattern(10_000);
    for fake in [&registry, &storage] {
        fake.add_blob(&content);
    }
    registry.inside().storage = Some(storage.host());
    storage.inside().ended = status;
    let (_client, repository) = repository(&registry);
    let reader = repository.open(&blob(&content)).unwrap();
    let mut buf = [0; 100];
    for round in 0..3_u16 {
        reader.read_exact_at(&mut buf, u64::from(round) * 1000).unwrap();
        assert_eq!(buf, content[usize::from(round) * 1000..][..100]);
        for fake in [&registry, &storage] {
            fake.inside().signature += 1;
        }
    }
    // Each address is asked once after its end, and then never again.
    assert_eq!((registry.requests().len(), storage.requests().len()), (3, 5));
}

#[test]
fn nobody_but_the_registry_is_asked_for_the_head_of_a_blob() {
    let [registry, storage] = [(); 2].map(|()| Fake::start());
    let content = pattern(10_000);
    for fake in [&registry, &storage] {
        fake.add_blob(&content);
    }
    registry.inside().storage = Some(storage.host());
    let (_client, repository) = repository(&registry);
    assert!(repository.contains(&blob(&content)).unwrap());
    let sequential = repository.open_sequential(&blob(&content)).unwrap();
    sequential.read_exact_at(&mut [0; 100], 0).unwrap();
    repository.open(&blob(&content)).unwrap().read_exact_at(&mut [0; 100], 50).unwrap();
    assert!(registry.requests().iter().any(|request| request.method == "HEAD"));
    assert!(!storage.requests().is_empty());
    assert!(storage.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn a_token_that_ends_while_an_answer_is_read_is_renewed_for_the_rest() {
    let registry = Fake::start();
    let content = pattern(50_000);
    registry.add_blob(&content);
    registry.inside().auth = Some(AuthMode::TokenFor("user", "hunter2"));
    registry.faults([Fault::Expire(20_000), Fault::Expire(10_000)]);
    let credentials = Account::password("user", "hunter2");
    let (_client, repository) = repository_with(&registry, Config { credentials, ..config() });
    let mut buf = vec![0; content.len()];
    repository.open(&blob(&content)).unwrap().read_exact_at(&mut buf, 0).unwrap();
    assert!(buf == content);
    assert_eq!(registry.inside().issued, 3);
    // What came before each break was not fetched again.
    let ranges: Vec<_> =
        registry.requests().iter().filter_map(|r| r.header("range").map(str::to_owned)).collect();
    assert!(ranges.contains(&"bytes=20000-49999".to_owned()), "{ranges:?}");
    assert!(ranges.contains(&"bytes=30000-49999".to_owned()), "{ranges:?}");
}

#[test]
fn a_registry_whose_documents_are_remembered_keeps_every_promise() {
    let registry = Fake::start();
    let known = [Known::new("x"), Known::new("{\"a\": 1}"), Known::new(pattern(300_000))];
    for k in &known {
        registry.add_blob(&k.content);
    }
    let (_client, repository) = repository(&registry);
    let dir = tempfile::tempdir().unwrap();
    let remembered = Remembered::new(Documents::new(dir.path()), Arc::new(repository));
    for _ in 0..2 {
        conformance::check(&remembered, &known).unwrap();
    }
}

/// A repository of the registry as another process has it.
fn process(registry: &Fake, uploads: &std::path::Path) -> (Client, Repository) {
    repository_with(registry, Config { uploads_dir: Some(uploads.to_owned()), ..config() })
}

#[test]
fn another_process_goes_on_with_an_upload_where_the_registry_has_it() {
    let registry = Fake::start();
    let dir = tempfile::tempdir().unwrap();
    let content = pattern(20 << 20);
    let descriptor = blob(&content);
    let (client, repository) = process(&registry, dir.path());
    let mut writer = repository.resume(&descriptor).unwrap();
    writer.write_all(&content).unwrap();
    drop((writer, repository, client));
    let (_client, repository) = process(&registry, dir.path());
    let mut writer = repository.resume(&descriptor).unwrap();
    let there = usize::try_from(writer.written()).unwrap();
    assert_eq!(there, 16 << 20, "two pieces of eight were sent");
    writer.write_all(&content[there..]).unwrap();
    writer.commit(descriptor.size, &descriptor.digest).unwrap();
    assert!(registry.inside().blobs[&descriptor.digest.to_string()] == content);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // What the registry has forgotten, or what is not of this blob, begins anew.
    registry.inside().blobs.clear();
    let (_client, repository) = process(&registry, dir.path());
    let mut writer = repository.resume(&descriptor).unwrap();
    writer.write_all(&content).unwrap();
    drop(writer);
    registry.inside().uploads.clear();
    assert_eq!(repository.resume(&descriptor).unwrap().written(), 0);
}

#[rstest]
fn an_upload_that_the_registry_loses_is_begun_again(#[values(1, 2, 3)] request: u32) {
    let registry = Fake::start();
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("layout")).unwrap();
    let content = pattern(20 << 20);
    let layer = ingest(&layout, media_type::OCI_LAYER, &content).unwrap();
    let (_client, repository) = process(&registry, &dir.path().join("uploads"));
    // The first, the second or the last piece of three breaks off.
    registry.inside().loses_upload_at = Some(request);
    let (one, cancel) = (NonZeroUsize::new(1).unwrap(), Cancel::new());
    image::copy(&layout, &repository, &layer, |graph| graph, one, &|_, _| {}, &cancel).unwrap();
    assert!(registry.inside().blobs[&layer.digest.to_string()] == content);
    assert_eq!(registry.inside().loses_upload_at, None, "it was lost");
}
