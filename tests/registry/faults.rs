//! Wrong answers, late answers and none.

use std::time::{Duration, Instant};

use stratafs::content::registry::Error;
use stratafs::content::{self, Provider};
use stratafs::error::{Classify, Kind};
use stratafs::image::media_type;
use stratafs::io::ReadAt;

use super::fake::{Fake, Fault};
use super::{blob, config, pattern, repository, repository_with};

const LEN: usize = 50_000;

/// Reads all of a blob of a registry that does `faults` first.
fn read_through(faults: &[Fault]) -> (Fake, std::io::Result<()>, Duration) {
    let registry = Fake::start();
    let content = pattern(LEN);
    registry.add_blob(&content);
    registry.faults(faults.iter().cloned());
    let (_client, repository) = repository(&registry);
    let mut buf = vec![0; LEN - 100];
    let start = Instant::now();
    let outcome = repository.open(&blob(&content)).unwrap().read_exact_at(&mut buf, 100);
    if outcome.is_ok() {
        assert!(buf == content[100..], "after {faults:?} the bytes are wrong");
    }
    (registry, outcome, start.elapsed())
}

#[test]
fn short_faults_are_invisible() {
    let late = Duration::from_secs(2);
    for faults in [
        vec![Fault::Status(500), Fault::Status(502), Fault::Status(503), Fault::Status(504)],
        vec![Fault::Status(408), Fault::Status(429)],
        vec![Fault::Reset, Fault::Reset],
        vec![Fault::Late(late)],
        vec![Fault::Cut(0), Fault::Cut(10), Fault::Cut(10_000)],
        vec![Fault::Stall(10_000, late), Fault::Stall(0, late)],
        vec![Fault::OtherRange, Fault::NoContentRange],
        vec![Fault::Reset, Fault::Cut(7), Fault::Status(500), Fault::OtherRange],
    ] {
        let (_, outcome, _) = read_through(&faults);
        outcome.unwrap_or_else(|e| panic!("{faults:?}: {e}"));
    }
}

#[test]
fn what_came_before_a_break_is_not_asked_for_again() {
    let (registry, outcome, _) = read_through(&[Fault::Cut(30_000)]);
    outcome.unwrap();
    let requests = registry.requests();
    assert_eq!(requests[1].header("range"), Some(format!("bytes=30100-{}", LEN - 1).as_str()));
}

#[test]
fn a_registry_that_asks_to_wait_is_waited_for() {
    let (_, outcome, took) = read_through(&[Fault::Throttle(1)]);
    outcome.unwrap();
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_registry_that_asks_to_wait_too_long_is_an_error_at_once() {
    let (_, outcome, took) = read_through(&[Fault::Throttle(3600)]);
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("429"), "{error}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn faults_for_good_are_an_error_within_the_deadline() {
    let faults = [
        Fault::Status(503),
        Fault::Reset,
        Fault::Late(Duration::from_secs(60)),
        Fault::Stall(10, Duration::from_secs(60)),
        Fault::Cut(0),
    ];
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || {
                let registry = Fake::start();
                let content = pattern(LEN);
                registry.add_blob(&content);
                registry.inside().always = Some(fault.clone());
                let (_client, repository) = repository(&registry);
                let reader = repository.open(&blob(&content)).unwrap();
                let start = Instant::now();
                let error = reader.read_exact_at(&mut vec![0; LEN], 0).unwrap_err();
                let took = start.elapsed();
                assert!(took < Duration::from_secs(7), "{fault:?}: {took:?}");
                assert!(error.to_string().contains(&registry.host()), "{fault:?}: {error}");
                // No error is kept: the same reader works once the registry does.
                registry.inside().always = None;
                let mut buf = vec![0; LEN];
                reader.read_exact_at(&mut buf, 0).unwrap();
                assert!(buf == content, "{fault:?}");
            });
        }
    });
}

#[test]
fn a_slow_drip_of_bytes_is_an_error_within_the_deadline() {
    let registry = Fake::start();
    let content = pattern(LEN);
    registry.add_blob(&content);
    registry.inside().always = Some(Fault::Drip(LEN, Duration::from_millis(50)));
    let (_client, repository) = repository(&registry);
    let start = Instant::now();
    let reader = repository.open(&blob(&content)).unwrap();
    reader.read_exact_at(&mut vec![0; LEN], 0).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
}

#[test]
fn an_outage_is_waited_out() {
    let registry = Fake::start();
    let content = pattern(LEN);
    registry.add_blob(&content);
    let (_client, repository) = repository(&registry);
    let reader = repository.open(&blob(&content)).unwrap();
    let mut buf = vec![0; 1000];
    reader.read_exact_at(&mut buf, 0).unwrap();
    registry.set_down(true);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| reader.read_exact_at(&mut buf, 1000));
        std::thread::sleep(Duration::from_millis(1500));
        registry.set_down(false);
        read.join().unwrap().unwrap();
    });
    assert_eq!(buf, content[1000..2000]);
}

#[test]
fn a_registry_that_is_not_there_is_an_error_that_names_it() {
    let registry = Fake::start();
    let host = registry.host();
    let (_client, repository) = repository(&registry);
    drop(registry);
    let error = repository.resolve().unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    assert!(error.to_string().contains(&host), "{error}");
}

#[test]
fn content_of_another_size_is_refused() {
    let registry = Fake::start();
    let content = pattern(LEN);
    registry.add_blob(&content);
    let (_client, repository) = repository(&registry);
    for size in [LEN - 1, LEN + 1] {
        let descriptor = content::Descriptor { size: size as u64, ..blob(&content) };
        let reader = repository.open(&descriptor).unwrap();
        let error = reader.read_exact_at(&mut [0; 10], 5).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    }
    // Beyond the real end the registry has nothing at all to say.
    let descriptor = content::Descriptor { size: 1 << 40, ..blob(&content) };
    let reader = repository.open(&descriptor).unwrap();
    let error = reader.read_exact_at(&mut [0; 10], 1 << 30).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    registry.inside().always = Some(Fault::OtherTotal);
    let reader = repository.open(&blob(&content)).unwrap();
    reader.read_exact_at(&mut [0; 10], 0).unwrap_err();
}

#[test]
fn a_registry_that_always_gives_another_range_is_an_error_soon() {
    let registry = Fake::start();
    let content = pattern(LEN);
    registry.add_blob(&content);
    registry.inside().always = Some(Fault::OtherRange);
    let (_client, repository) = repository(&registry);
    let reader = repository.open(&blob(&content)).unwrap();
    let error = reader.read_exact_at(&mut [0; 10], 0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    assert!(registry.requests().len() <= 3);
}

#[test]
fn a_manifest_with_a_flipped_bit_is_never_taken() {
    let registry = Fake::start();
    let manifest = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    registry.add_manifest("latest", media_type::OCI_MANIFEST, manifest);
    let (_client, repository) = repository(&registry);
    // Once: asked for again. For good: an error.
    registry.faults([Fault::Flip]);
    assert_eq!(repository.resolve().unwrap().size, manifest.len() as u64);
    registry.inside().always = Some(Fault::Flip);
    let error = repository.resolve().unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_document_of_endless_size_is_refused() {
    let registry = Fake::start();
    registry.add_manifest("latest", media_type::OCI_MANIFEST, &vec![b' '; 9 << 20]);
    let (_client, repository) = repository(&registry);
    let error = repository.resolve().unwrap_err();
    assert!(error.to_string().contains("more than 8388608 bytes"), "{error}");
}

#[test]
fn without_ranges_breaks_are_mended_and_a_wrong_whole_is_found() {
    let registry = Fake::start();
    registry.inside().ignores_ranges = true;
    let content = pattern(LEN);
    registry.add_blob(&content);
    let (_client, repository) = repository(&registry);
    registry.faults([Fault::Cut(1), Fault::Cut(20_000), Fault::Reset, Fault::Status(503)]);
    let reader = repository.open(&blob(&content)).unwrap();
    let mut buf = vec![0; 1000];
    reader.read_exact_at(&mut buf, 40_000).unwrap();
    assert_eq!(buf, content[40_000..41_000]);
    registry.inside().always = Some(Fault::Flip);
    let other = pattern(LEN + 1);
    registry.add_blob(&other);
    let reader = repository.open(&blob(&other)).unwrap();
    // The last byte is there only once the whole was checked.
    let error = reader.read_exact_at(&mut [0], LEN as u64).unwrap_err();
    assert!(error.to_string().contains("has digest"), "{error}");
    registry.inside().always = None;
    reader.read_exact_at(&mut buf, LEN as u64 - 999).unwrap();
    assert_eq!(buf, other[LEN - 999..]);
}

#[test]
fn a_storm_of_faults_under_many_readers_gives_right_bytes_only() {
    let registry = Fake::start();
    let content = pattern(400_000);
    registry.add_blob(&content);
    let storm = [Fault::Status(503), Fault::Cut(100), Fault::Reset, Fault::OtherRange];
    registry.faults(storm.iter().cycle().take(40).cloned());
    let mut config = config();
    config.timing.total = Duration::from_secs(20);
    let (client, repository) = repository_with(&registry, config);
    let reader = repository.open(&blob(&content)).unwrap();
    let bad = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8usize)
            .map(|thread| {
                let (reader, content) = (&reader, &content);
                scope.spawn(move || {
                    let mut failed = 0;
                    for step in 0..10 {
                        let at = (thread * 31_337 + step * 40_961) % 390_000;
                        let mut buf = vec![0; 10_000];
                        match reader.read_exact_at(&mut buf, at as u64) {
                            Ok(()) => assert!(buf == content[at..at + 10_000]),
                            // A run of answers of other ranges is one that is not put up with.
                            Err(_) => failed += 1,
                        }
                    }
                    failed
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum::<usize>()
    });
    assert!(bad <= 3, "{bad} of 80 reads failed");
    assert!(client.traffic().retries() > 0);
}
