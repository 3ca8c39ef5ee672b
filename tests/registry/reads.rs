//! Right answers: how content is asked for.

use stratafs::content::Provider;
use stratafs::content::conformance::{self, Known};
use stratafs::image::media_type;
use stratafs::io::ReadAt;

use super::fake::Fake;
use super::{blob, pattern, repository};

#[test]
fn a_repository_keeps_every_promise_of_a_provider() {
    let registry = Fake::start();
    let known = [Known::new("x"), Known::new("{\"a\": 1}"), Known::new(pattern(300_000))];
    for k in &known {
        registry.add_blob(&k.content);
    }
    let (_client, repository) = repository(&registry);
    conformance::check(&repository, &known).unwrap();
}

#[test]
fn a_registry_without_ranges_keeps_them_too() {
    let registry = Fake::start();
    registry.inside().ignores_ranges = true;
    let known = [Known::new("x"), Known::new(pattern(300_000))];
    for k in &known {
        registry.add_blob(&k.content);
    }
    let (_client, repository) = repository(&registry);
    let held: Vec<_> = known.iter().map(|k| repository.open(&k.descriptor).unwrap()).collect();
    conformance::check(&repository, &known).unwrap();
    drop(held);
}

#[test]
fn a_registry_without_ranges_sends_each_layer_once() {
    let registry = Fake::start();
    registry.inside().ignores_ranges = true;
    let contents = [pattern(300_000), pattern(300_001)];
    for content in &contents {
        registry.add_blob(content);
    }
    let (_client, repository) = repository(&registry);
    for content in &contents {
        let reader = repository.open(&blob(content)).unwrap();
        std::thread::scope(|scope| {
            for at in (0..290_000).step_by(50_000) {
                let reader = &reader;
                scope.spawn(move || {
                    let mut buf = vec![0; 5000];
                    reader.read_exact_at(&mut buf, at as u64).unwrap();
                    assert!(buf == content[at..at + 5000]);
                });
            }
        });
    }
    let requests = registry.requests();
    let whole = requests.iter().filter(|l| l.header("range").is_none()).count();
    assert_eq!(whole, 2);
    // The first readers have asked for ranges before it was noticed, and never again.
    let second = blob(&contents[1]).digest.to_string();
    assert_eq!(requests.iter().filter(|l| l.path.ends_with(&second)).count(), 1);
}

#[test]
fn a_read_is_one_request_for_exactly_its_range() {
    let registry = Fake::start();
    let content = pattern(100_000);
    registry.add_blob(&content);
    let (client, repository) = repository(&registry);
    let blob = repository.open(&blob(&content)).unwrap();
    assert!(registry.requests().is_empty(), "opening asks nothing");
    let mut buf = vec![0; 1000];
    blob.read_exact_at(&mut buf, 4096).unwrap();
    assert_eq!(buf, content[4096..5096]);
    let requests = registry.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("range"), Some("bytes=4096-5095"));
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"));
    assert_eq!((client.traffic().requests(), client.traffic().bytes()), (1, 1000));
    // A read across the end is cut to what there is, and one beyond it asks nothing.
    assert_eq!(blob.read_at(&mut buf, 99_500).unwrap(), 500);
    assert_eq!(registry.requests()[1].header("range"), Some("bytes=99500-99999"));
    assert_eq!(blob.read_at(&mut buf, 100_000).unwrap(), 0);
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn a_sequential_read_is_whole_and_asks_for_large_pieces() {
    let registry = Fake::start();
    let content = pattern(11 << 20);
    registry.add_blob(&content);
    let (_client, repository) = repository(&registry);
    let blob = repository.open_sequential(&blob(&content)).unwrap();
    let mut at = 0;
    let mut buf = vec![0; 70_000];
    // As the index pass does: a look at the start, then all in order.
    blob.read_exact_at(&mut buf[..16], 0).unwrap();
    assert_eq!(buf[..16], content[..16]);
    while at < content.len() {
        let n = blob.read_at(&mut buf, at as u64).unwrap();
        assert!(n > 0 && buf[..n] == content[at..at + n], "at {at}");
        at += n;
    }
    assert!(registry.requests().len() <= 7, "{} requests", registry.requests().len());
    // Elsewhere is right too.
    blob.read_exact_at(&mut buf, 5_000_001).unwrap();
    assert_eq!(buf, content[5_000_001..5_070_001]);
}

#[test]
fn sequential_readers_at_the_same_time_do_not_disturb_each_other() {
    let registry = Fake::start();
    let content = pattern(5 << 20);
    registry.add_blob(&content);
    let (_client, repository) = repository(&registry);
    let blob = repository.open_sequential(&blob(&content)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (blob, content) = (&blob, &content);
            scope.spawn(move || {
                let mut buf = vec![0; 300_000 + thread];
                for at in (0..content.len() - buf.len()).step_by(buf.len()) {
                    blob.read_exact_at(&mut buf, at as u64).unwrap();
                    assert_eq!(buf, content[at..at + buf.len()]);
                }
            });
        }
    });
}

#[test]
fn a_tag_is_resolved_and_its_manifest_not_fetched_again() {
    let registry = Fake::start();
    let manifest = br#"{"schemaVersion":2,"manifests":[]}"#;
    registry.add_manifest("latest", media_type::OCI_INDEX, manifest);
    let (_client, repository) = repository(&registry);
    let descriptor = repository.resolve().unwrap();
    assert_eq!(descriptor.media_type, media_type::OCI_INDEX);
    assert_eq!(descriptor.size, manifest.len() as u64);
    assert_eq!(repository.read(&descriptor).unwrap(), manifest);
    let requests = registry.requests();
    assert_eq!(requests.len(), 1);
    let accept = requests[0].header("accept").unwrap();
    assert!(accept.contains(media_type::OCI_INDEX) && accept.contains(media_type::DOCKER_MANIFEST));
}

#[test]
fn a_digest_is_resolved_to_itself() {
    let registry = Fake::start();
    let manifest = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    registry.add_manifest("other", media_type::DOCKER_MANIFEST, manifest);
    let (client, _) = repository(&registry);
    let digest = stratafs::digest::Digest::sha256(manifest);
    let reference = format!("{}/app:gone@{digest}", registry.host()).parse().unwrap();
    let descriptor = client.repository(&reference).unwrap().resolve().unwrap();
    assert_eq!(
        (descriptor.digest, descriptor.media_type.as_str()),
        (digest, media_type::DOCKER_MANIFEST)
    );
}

#[test]
fn a_tag_that_is_not_there_is_said_by_name() {
    let registry = Fake::start();
    let (_client, repository) = repository(&registry);
    let error = repository.resolve().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("app:latest") && text.contains(&registry.host()), "{text}");
}

#[test]
fn the_reader_works_on_a_thread_of_another_runtime() {
    let registry = Fake::start();
    let content = pattern(1000);
    registry.add_blob(&content);
    let (client, repository) = repository(&registry);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut buf = vec![0; 1000];
        repository.open(&blob(&content)).unwrap().read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(buf, content);
        // Its own runtime may end on such a thread too.
        drop((repository, client));
    });
}
