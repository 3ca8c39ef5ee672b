use std::io::Write;

use super::*;
use crate::content::conformance::{self, Known};
use crate::content::ingest;
use crate::error::{Classify, Kind};

struct Fixture {
    dir: tempfile::TempDir,
    layout: Layout,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path().join("layout")).unwrap();
        Self { dir, layout }
    }

    fn put(&self, content: &[u8]) -> Descriptor {
        ingest(&self.layout, "application/octet-stream", content).unwrap()
    }

    fn leftovers(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.layout.path().join("ingest"));
        folder
            .into_iter()
            .flatten()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i * i % 251).unwrap()).collect()
}

#[test]
fn layout_folder_keeps_every_promise_of_a_provider() {
    let f = Fixture::new();
    let known =
        [Known::new(""), Known::new("x"), Known::new(pattern(300_000)), Known::new("{\"a\":1}")];
    for k in &known {
        f.put(&k.content);
    }
    conformance::check(&f.layout, &known).unwrap();
}

#[test]
fn a_flipped_byte_in_a_document_is_found() {
    let f = Fixture::new();
    let d = f.put(b"{\"a\": 1}");
    std::fs::write(f.layout.blob_path(&d.digest), b"{\"a\": 2}").unwrap();
    let error = f.layout.read(&d).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(
        conformance::check(&f.layout, &[Known { descriptor: d, content: b"{\"a\": 1}".into() }])
            .is_err()
    );
}

#[test]
fn content_with_wrong_size_or_digest_is_never_in_the_store() {
    let f = Fixture::new();
    let right = Known::new("right");
    let wrong = Known::new("wrong");
    let write = |size: u64, digest: &Digest| {
        let mut writer = f.layout.resume(&right.descriptor).unwrap();
        writer.write_all(b"wrong").unwrap();
        writer.commit(size, digest)
    };
    let error = write(5, &right.descriptor.digest).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let error = write(4, &wrong.descriptor.digest).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    assert!(!f.layout.contains(&right.descriptor).unwrap());
    assert!(!f.layout.contains(&wrong.descriptor).unwrap());
    assert_eq!(f.leftovers(), [""; 0]);
}

#[test]
fn a_dropped_writer_leaves_nothing_behind() {
    let f = Fixture::new();
    let mut writer = f.layout.create(Algorithm::Sha256).unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    assert!(!f.layout.path().join("ingest").exists());
}

#[test]
fn a_writer_goes_on_where_the_last_one_stopped() {
    let f = Fixture::new();
    let known = Known::new(pattern(100_000));
    let mut writer = f.layout.resume(&known.descriptor).unwrap();
    assert_eq!(writer.written(), 0);
    writer.write_all(&known.content[..60_000]).unwrap();
    drop(writer);
    let mut writer = f.layout.resume(&known.descriptor).unwrap();
    assert_eq!(writer.written(), 60_000);
    writer.write_all(&known.content[60_000..]).unwrap();
    writer.commit(known.descriptor.size, &known.descriptor.digest).unwrap();
    conformance::check(&f.layout, &[known]).unwrap();
    assert_eq!(f.leftovers(), [""; 0]);
}

#[test]
fn two_writers_of_one_blob_do_not_wait_for_each_other() {
    let f = Fixture::new();
    let known = Known::new(pattern(5000));
    let d = &known.descriptor;
    let mut first = f.layout.resume(d).unwrap();
    let mut second = f.layout.resume(d).unwrap();
    first.write_all(&known.content[..10]).unwrap();
    assert_eq!(second.written(), 0);
    second.write_all(&known.content).unwrap();
    second.commit(d.size, &d.digest).unwrap();
    first.write_all(&known.content[10..]).unwrap();
    first.commit(d.size, &d.digest).unwrap();
    conformance::check(&f.layout, &[known]).unwrap();
}

#[test]
fn many_writers_at_once_all_succeed() {
    let f = Fixture::new();
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let f = &f;
            scope.spawn(move || {
                for i in 0..20u8 {
                    // Half of the contents are written by several threads.
                    f.put(&[thread % 4, i]);
                }
            });
        }
    });
    for thread in 0..4u8 {
        conformance::check(&f.layout, &[Known::new([thread, 19])]).unwrap();
    }
    assert_eq!(f.leftovers(), [""; 0]);
}

#[test]
fn files_of_dead_writers_are_swept() {
    let f = Fixture::new();
    let folder = f.layout.path().join("ingest");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("new-dead"), b"x").unwrap();
    let alive = f.layout.create(Algorithm::Sha256).unwrap();
    let other = f.layout.create(Algorithm::Sha512).unwrap();
    assert_eq!(f.leftovers().len(), 2);
    drop((alive, other));
}

#[test]
fn sha512_content_is_kept_beside_sha256() {
    let f = Fixture::new();
    let mut hasher = crate::digest::Hasher::new(Algorithm::Sha512);
    hasher.update(b"long hash");
    let digest = hasher.finish();
    let mut writer = f.layout.create(Algorithm::Sha512).unwrap();
    writer.write_all(b"long hash").unwrap();
    writer.commit(9, &digest).unwrap();
    let descriptor = Descriptor::new("text/plain", digest, 9);
    assert_eq!(f.layout.read(&descriptor).unwrap(), b"long hash");
}

#[test]
fn names_move_and_untagged_roots_stay_single() {
    let f = Fixture::new();
    let a = f.put(b"a");
    let b = f.put(b"b");
    f.layout.set_root(&a, Some("latest")).unwrap();
    f.layout.set_root(&a, Some("v1")).unwrap();
    f.layout.set_root(&b, Some("latest")).unwrap();
    f.layout.set_root(&b, None).unwrap();
    f.layout.set_root(&b, None).unwrap();
    let roots = f.layout.roots().unwrap();
    let seen: Vec<_> = roots
        .iter()
        .map(|d| (d.annotations.get(REF_NAME).map(String::as_str), &d.digest))
        .collect();
    assert_eq!(seen, [(Some("v1"), &a.digest), (Some("latest"), &b.digest), (None, &b.digest)]);
}

#[test]
fn names_set_at_once_are_all_kept() {
    let f = Fixture::new();
    let d = f.put(b"a");
    std::thread::scope(|scope| {
        for i in 0..16 {
            let (f, d) = (&f, &d);
            scope.spawn(move || f.layout.set_root(d, Some(&format!("tag{i}"))).unwrap());
        }
    });
    assert_eq!(f.layout.roots().unwrap().len(), 16);
}

#[test]
fn foreign_fields_of_the_index_survive() {
    let f = Fixture::new();
    let path = f.layout.path().join("index.json");
    std::fs::write(&path, r#"{"schemaVersion":2,"annotations":{"x":"y"},"manifests":null}"#)
        .unwrap();
    f.layout.set_root(&f.put(b"a"), None).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["annotations"]["x"], "y");
    assert_eq!(json["manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_no_layout_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        let error = Layout::open(path).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        error.to_string()
    };
    assert!(message(dir.path()).contains("no file oci-layout"));
    assert!(message(&dir.path().join("none")).contains("no such folder"));
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(message(&file).contains("not a folder"));
    std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(message(dir.path()).contains("2.0.0"));
    std::fs::write(dir.path().join("oci-layout"), "junk").unwrap();
    assert!(message(dir.path()).contains("broken"));
    assert!(Layout::create(dir.path().join("..")).is_err());
}

#[test]
fn a_fifo_for_a_blob_does_not_hang() {
    let f = Fixture::new();
    let known = Known::new("x");
    let path = f.layout.blob_path(&known.descriptor.digest);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(f.layout.open(&known.descriptor).is_err());
    assert!(f.dir.path().exists());
}
