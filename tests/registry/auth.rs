//! Who we are, and to whom that is told.

use std::sync::Arc;
use std::time::Duration;

use stratafs::content::Provider;
use stratafs::content::registry::{Config, Credential, Credentials, Error};
use stratafs::error::{Classify, Kind};
use stratafs::image::media_type;
use stratafs::io::ReadAt;

use super::fake::{AuthMode, Fake};
use super::{Account, blob, config, pattern, repository, repository_with};

fn protected(mode: AuthMode) -> (Fake, Vec<u8>) {
    let registry = Fake::start();
    let content = pattern(10_000);
    registry.add_blob(&content);
    registry.inside().auth = Some(mode);
    (registry, content)
}

fn with(credentials: Arc<dyn Credentials>) -> Config {
    Config { credentials, ..config() }
}

/// Reads a blob; the bytes are right.
fn read(repository: &impl Provider, content: &[u8]) -> std::io::Result<()> {
    let mut buf = vec![0; content.len()];
    repository.open(&blob(content)).unwrap().read_exact_at(&mut buf, 0)?;
    assert!(buf == content);
    Ok(())
}

#[test]
fn a_token_is_fetched_once_for_many_readers() {
    let (registry, content) = protected(AuthMode::Token);
    let (client, repository) = repository(&registry);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| read(&repository, &content).unwrap());
        }
    });
    read(&repository, &content).unwrap();
    assert_eq!(registry.inside().issued, 1);
    assert!(client.traffic().tokens() >= 1);
}

#[test]
fn every_kind_of_credential_is_understood() {
    let password = Account::password("user", "hunter2");
    let identity = Arc::new(Account(Credential::IdentityToken("id-hunter2".into())));
    let cases: [(AuthMode, Arc<dyn Credentials>); 3] = [
        (AuthMode::Basic("user", "hunter2"), password.clone()),
        (AuthMode::TokenFor("user", "hunter2"), password),
        (AuthMode::TokenForIdentity("id-hunter2"), identity),
    ];
    for (mode, credentials) in cases {
        let (registry, content) = protected(mode);
        let (_client, repository) = repository_with(&registry, with(credentials));
        read(&repository, &content).unwrap();
    }
}

#[test]
fn wrong_or_missing_credentials_are_one_clear_error() {
    for mode in [AuthMode::Basic("user", "right"), AuthMode::TokenFor("user", "right")] {
        let (registry, content) = protected(mode);
        registry.add_manifest("latest", media_type::OCI_INDEX, b"{}");
        let wrong = with(Account::password("user", "wrong-hunter2"));
        for (config, cause) in [(config(), "there are none"), (wrong, "refuses our ")] {
            let (_client, repository) = repository_with(&registry, config);
            let error = repository.resolve().unwrap_err();
            assert_eq!(error.kind(), Kind::Unauthenticated, "{error}");
            // Which registry, what it was asked for, and what it has against us.
            for part in [&registry.host(), "app:latest", cause] {
                assert!(error.to_string().contains(part), "{part}: {error}");
            }
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
            // The same again, by what is remembered of the first time.
            let error = repository.resolve().unwrap_err();
            assert!(error.to_string().contains(cause), "{error}");
            let error = read(&repository, &content).unwrap_err();
            assert!(error.to_string().contains(cause), "{error}");
        }
    }
}

#[test]
fn a_token_that_ends_in_the_middle_is_renewed() {
    let (registry, content) = protected(AuthMode::TokenFor("user", "hunter2"));
    let credentials = Account::password("user", "hunter2");
    let (_client, repository) = repository_with(&registry, with(credentials));
    read(&repository, &content).unwrap();
    for _ in 0..3 {
        registry.inside().tokens.clear();
        read(&repository, &content).unwrap();
    }
    assert_eq!(registry.inside().issued, 4);
}

#[test]
fn a_token_is_not_used_beyond_its_life() {
    let (registry, content) = protected(AuthMode::Token);
    registry.inside().token_life = 1;
    let (_client, repository) = repository(&registry);
    read(&repository, &content).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    registry.inside().log.clear();
    read(&repository, &content).unwrap();
    let first = &registry.requests()[0];
    assert_eq!(first.header("authorization"), None, "an old token is sent");
}

#[test]
fn whoever_we_are_redirected_to_is_not_told_who_we_are() {
    let (registry, content) = protected(AuthMode::Basic("user", "hunter2"));
    let storage = Fake::start();
    storage.add_blob(&content);
    registry.inside().storage = Some(storage.host());
    let credentials = Account::password("user", "hunter2");
    let (_client, repository) = repository_with(&registry, with(credentials));
    read(&repository, &content).unwrap();
    assert!(!storage.requests().is_empty());
    for request in storage.requests() {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("referer"), None);
    }
}

#[test]
fn the_address_of_storage_is_kept_and_renewed_when_it_ends() {
    let registry = Fake::start();
    let storage = Fake::start();
    let content = pattern(10_000);
    for fake in [&registry, &storage] {
        fake.add_blob(&content);
    }
    registry.inside().storage = Some(storage.host());
    let (_client, repository) = repository(&registry);
    let reader = repository.open(&blob(&content)).unwrap();
    let mut buf = [0; 100];
    for at in [0, 500, 900] {
        reader.read_exact_at(&mut buf, at).unwrap();
    }
    assert_eq!((registry.requests().len(), storage.requests().len()), (1, 3));
    for fake in [&registry, &storage] {
        fake.inside().signature += 1;
    }
    reader.read_exact_at(&mut buf, 5000).unwrap();
    assert_eq!(buf, content[5000..5100]);
    assert_eq!((registry.requests().len(), storage.requests().len()), (2, 5));
    assert!(storage.requests().iter().all(|l| l.method == "GET"), "no HEAD to a signed address");
}

#[test]
fn no_secret_is_in_an_error_of_a_storage_host() {
    let registry = Fake::start();
    let storage = Fake::start();
    let content = pattern(10_000);
    registry.add_blob(&content);
    registry.inside().storage = Some(storage.host());
    registry.inside().signature = 123_456;
    let (_client, repository) = repository(&registry);
    let error = read(&repository, &content).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("123456"), "{error:?}");
    assert!(error.to_string().contains(&storage.host()), "{error}");
    drop(storage);
    let error = read(&repository, &content).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("123456"), "{error:?}");
}

#[test]
fn a_broken_configuration_does_not_stop_what_is_open_to_all() {
    struct Broken;
    impl Credentials for Broken {
        fn credential(&self, _: &str, _: &str) -> Result<Option<Credential>, String> {
            Err("credential helper \"gone\" failed".to_owned())
        }
    }
    let (registry, content) = protected(AuthMode::Token);
    let (_client, repository) = repository_with(&registry, with(Arc::new(Broken)));
    read(&repository, &content).unwrap();
    registry.inside().auth = Some(AuthMode::Basic("user", "x"));
    let (_client, repository) = repository_with(&registry, with(Arc::new(Broken)));
    let error = repository.resolve().unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }));
    assert!(error.to_string().contains("credential helper"), "{error}");
}
