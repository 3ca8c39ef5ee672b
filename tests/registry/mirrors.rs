//! Several servers for one registry.

use std::path::Path;
use std::time::Duration;

use stratafs::content::Provider;
use stratafs::content::registry::{Client, Config, Repository};
use stratafs::image::media_type;
use stratafs::io::ReadAt;

use super::fake::{Fake, Fault};
use super::{blob, config, pattern};

/// A repository of the registry `r.example`, which is `server`, with `mirrors` in front.
fn mirrored(dir: &Path, server: &Fake, mirrors: &[&Fake]) -> Repository {
    let mut text = format!("server = \"http://{}\"\n", server.host());
    for mirror in mirrors {
        text += &format!("[host.\"http://{}\"]\n", mirror.host());
    }
    std::fs::create_dir_all(dir.join("r.example")).unwrap();
    std::fs::write(dir.join("r.example/hosts.toml"), text).unwrap();
    let client = Client::new(Config { hosts_dirs: vec![dir.to_owned()], ..config() });
    client.repository(&"r.example/app".parse().unwrap()).unwrap()
}

fn read(repository: &Repository, content: &[u8]) {
    let mut buf = vec![0; content.len()];
    repository.open(&blob(content)).unwrap().read_exact_at(&mut buf, 0).unwrap();
    assert!(buf == content);
}

#[test]
fn mirrors_are_asked_in_order_and_told_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    let [server, first, second] = [(); 3].map(|()| Fake::start());
    let content = pattern(1000);
    server.add_blob(&content);
    second.add_blob(&content);
    let repository = mirrored(dir.path(), &server, &[&first, &second]);
    read(&repository, &content);
    assert_eq!([&first, &second, &server].map(|f| f.requests().len()), [1, 1, 0]);
    assert_eq!(second.requests()[0].query, "ns=r.example");
}

#[test]
fn what_no_mirror_has_comes_from_the_registry() {
    let dir = tempfile::tempdir().unwrap();
    let [server, mirror] = [(); 2].map(|()| Fake::start());
    let content = pattern(1000);
    server.add_blob(&content);
    server.add_manifest("latest", media_type::OCI_INDEX, br#"{"manifests":[]}"#);
    let repository = mirrored(dir.path(), &server, &[&mirror]);
    repository.resolve().unwrap();
    read(&repository, &content);
    let nowhere = pattern(1001);
    let reader = repository.open(&blob(&nowhere)).unwrap();
    let error = reader.read_exact_at(&mut [0; 10], 0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
}

#[test]
fn a_dead_mirror_is_passed_over_and_taken_back_once_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let [server, mirror] = [(); 2].map(|()| Fake::start());
    let content = pattern(1000);
    for fake in [&server, &mirror] {
        fake.add_blob(&content);
    }
    let repository = mirrored(dir.path(), &server, &[&mirror]);
    mirror.set_down(true);
    for _ in 0..5 {
        read(&repository, &content);
    }
    assert_eq!(server.requests().len(), 5);
    mirror.set_down(false);
    std::thread::sleep(Duration::from_millis(700));
    read(&repository, &content);
    assert_eq!((mirror.requests().len(), server.requests().len()), (1, 5));
}

#[test]
fn a_dead_registry_does_not_matter_while_a_mirror_lives() {
    let dir = tempfile::tempdir().unwrap();
    let [server, mirror] = [(); 2].map(|()| Fake::start());
    let content = pattern(1000);
    mirror.add_blob(&content);
    mirror.add_manifest("latest", media_type::OCI_INDEX, br#"{"manifests":[]}"#);
    server.set_down(true);
    let repository = mirrored(dir.path(), &server, &[&mirror]);
    repository.resolve().unwrap();
    read(&repository, &content);
}

#[test]
fn a_read_goes_on_at_the_next_server_where_the_first_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let [server, mirror] = [(); 2].map(|()| Fake::start());
    let content = pattern(10_000);
    for fake in [&server, &mirror] {
        fake.add_blob(&content);
    }
    mirror.faults([Fault::Cut(4000)]);
    let repository = mirrored(dir.path(), &server, &[&mirror]);
    read(&repository, &content);
    assert_eq!(server.requests()[0].header("range"), Some("bytes=4000-9999"));
}

#[test]
fn a_mirror_with_other_content_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let [server, mirror] = [(); 2].map(|()| Fake::start());
    let content = pattern(1000);
    server.add_blob(&content);
    mirror.inside().blobs.insert(blob(&content).digest.to_string(), pattern(999));
    let repository = mirrored(dir.path(), &server, &[&mirror]);
    read(&repository, &content);
}

#[test]
fn with_all_dead_the_read_fails_and_does_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    let [server, mirror] = [(); 2].map(|()| Fake::start());
    for fake in [&server, &mirror] {
        fake.set_down(true);
    }
    let repository = mirrored(dir.path(), &server, &[&mirror]);
    let start = std::time::Instant::now();
    let reader = repository.open(&blob(b"x")).unwrap();
    reader.read_exact_at(&mut [0], 0).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
}
