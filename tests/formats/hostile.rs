//! Tables of contents that lie: refused, or caught when the lie would matter.

use std::sync::Arc;

use serde_json::{Value, json};
use stratafs::compress::{BlobSpans, SpanError, SpanSource};
use stratafs::digest::Digest;
use stratafs::layer::TocFault;
use stratafs::layer::lazy::{EntryFault, LazyError, ZtocFault, estargz, soci, zstd_chunked};

use super::{ZTOC, read_estargz, read_soci, vector};

const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn decode(entries: Value) -> Result<stratafs::layer::lazy::Lazy, LazyError> {
    let json = json!({ "version": 1, "entries": entries }).to_string();
    estargz::decode(json.as_bytes(), 10_000, 9_000)
}

fn fault(entries: Value) -> EntryFault {
    match decode(entries) {
        Err(LazyError::Entry { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

fn file(more: &Value) -> Value {
    let mut entry = json!({
        "name": "f", "type": "reg", "size": 10, "offset": 100, "chunkDigest": SHA,
    });
    let object = entry.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    entry
}

#[test]
fn footers_of_the_specifications() {
    let hex = |text: &str| hex::decode(text).unwrap();
    let full = hex(concat!(
        "1f8b08040000000000ff1a0053471600303030303030303030303165383438305354415247",
        "5a010000ffff0000000000000000"
    ));
    let footer = |tail: &[u8], size| estargz::Footer::parse(tail, size).unwrap();
    let at = |end| Some(estargz::Footer::Toc { offset: 2_000_000, end });
    assert_eq!(footer(&full, 3_000_051), at(3_000_000));
    let legacy = hex(concat!(
        "1f8b08040000000000ff160030303030303030303030316538343830535441",
        "52475a010000ffff0000000000000000"
    ));
    assert_eq!(footer(&[&[9; 4], &legacy[..]].concat(), 3_000_047), at(3_000_000));
    let external = hex(concat!(
        "1f8b08040000000000ff15005347110053544152475a45585445524e414c544f43",
        "010000ffff0000000000000000"
    ));
    assert_eq!(footer(&external, 100), Some(estargz::Footer::External));
    assert_eq!(footer(b"", 0), None);
    assert_eq!(footer(&[0; 51], 51), None);
    assert!(matches!(estargz::Footer::parse(&full, 2_000_051), Err(LazyError::Footer)));
    let stargz =
        hex("6c916206000000009e680f0000000000e74e5400000000000100000000000000476e556c496e5578");
    let storage = hex(concat!(
        "6c916206000000009e680f0000000000e74e540000000000010000000000000012fa710600000000d12f01",
        "00000000001516050000000000474e556c496e5578"
    ));
    for footer in [stargz, storage] {
        let size = 107_123_052 + 1_009_822 + footer.len() as u64;
        let position = zstd_chunked::Position::from_footer(&footer, size).unwrap().unwrap();
        assert_eq!((position.offset, position.len), (107_123_052, 1_009_822));
        assert_eq!((position.raw_len, position.payload_end()), (5_525_223, 107_123_044));
        let short = zstd_chunked::Position::from_footer(&footer, 107_123_052);
        assert!(matches!(short, Err(LazyError::Footer)));
        let cut = zstd_chunked::Position::from_footer(&footer[footer.len() - 20..], size);
        assert!(matches!(cut, Err(LazyError::Footer)));
    }
}

#[test]
fn annotations_that_lead_nowhere_are_refused() {
    for place in
        ["", "1:2:3", "1:2:3:2", "x:2:3:1", "7:2:3:1", "99:2:3:1", "18446744073709551615:9:9:1"]
    {
        let pairs =
            [(zstd_chunked::MANIFEST_POSITION, place), (zstd_chunked::MANIFEST_CHECKSUM, SHA)];
        let annotations = super::annotations(&pairs);
        let position = zstd_chunked::Position::from_annotations(&annotations, 100);
        assert!(matches!(position, Err(LazyError::Annotation(_))), "{place}");
    }
    let none = super::annotations(&[(zstd_chunked::MANIFEST_POSITION, "9:2:3:1")]);
    assert!(zstd_chunked::Position::from_annotations(&none, 100).unwrap().is_none());
}

#[test]
fn entries_that_make_no_sense_are_refused() {
    let chunk = |more: Value| {
        let mut chunk = file(&more);
        chunk["type"] = json!("chunk");
        chunk
    };
    for (entries, expected) in [
        (json!([{ "name": "f", "type": "socket" }]), EntryFault::Type("socket".into())),
        (json!([file(&json!({ "modtime": "now" }))]), EntryFault::Time("now".into())),
        (json!([file(&json!({ "uid": -1 }))]), EntryFault::Range("uid")),
        (json!([file(&json!({ "gid": 1_u64 << 32 }))]), EntryFault::Range("gid")),
        (json!([file(&json!({ "size": -1 }))]), EntryFault::Range("size")),
        (json!([file(&json!({ "offset": -1 }))]), EntryFault::Range("offset")),
        (json!([file(&json!({ "offset": 9000 }))]), EntryFault::Outside),
        (json!([file(&json!({ "innerOffset": 1_u64 << 40 }))]), EntryFault::Range("inner offset")),
        (json!([file(&json!({ "name": "a\u{fffd}" }))]), EntryFault::LostName),
        (json!([file(&json!({ "chunkDigest": "" }))]), EntryFault::NoDigest),
        (json!([file(&json!({ "chunkSize": 5 }))]), EntryFault::Chunks),
        (json!([file(&json!({ "chunkSize": 11 }))]), EntryFault::Chunks),
        (json!([file(&json!({ "chunkOffset": 1 }))]), EntryFault::Chunks),
        (json!([file(&json!({})), chunk(json!({}))]), EntryFault::Chunks),
        (
            json!([file(&json!({ "chunkSize": 5 })), chunk(json!({ "chunkOffset": 6 }))]),
            EntryFault::Chunks,
        ),
        (json!([chunk(json!({}))]), EntryFault::StrayChunk),
        (json!([{ "name": "d", "type": "dir" }, chunk(json!({}))]), EntryFault::StrayChunk),
        (json!([file(&json!({})), file(&json!({ "size": 11 }))]), EntryFault::Overlap),
        (json!([file(&json!({ "size": 1_u64 << 33 }))]), EntryFault::ChunkTooLarge(1 << 33)),
        (
            json!([file(&json!({ "chunkDigest": format!("sha512:{}", "0".repeat(128)) }))]),
            EntryFault::Algorithm,
        ),
    ] {
        assert_eq!(fault(entries.clone()), expected, "{entries}");
    }
    assert!(matches!(
        fault(json!([file(&json!({ "chunkDigest": "md5:0" }))])),
        EntryFault::Digest(_)
    ));
    let xattrs = json!({ "xattrs": { "user.a": "?" } });
    assert!(matches!(fault(json!([file(&xattrs)])), EntryFault::Xattr(_)));
}

#[test]
fn names_that_climb_are_refused() {
    let error = decode(json!([file(&json!({ "name": "../f" }))])).unwrap_err();
    assert!(matches!(error, LazyError::Toc(ref e) if matches!(e.fault, TocFault::Path(_))));
}

#[test]
fn hard_links_may_come_before_what_they_link_to() {
    let link = |name: &str, to: &str| json!({ "name": name, "type": "hardlink", "linkName": to });
    let links =
        json!([link("a", "b"), link("b", "./f"), file(&json!({})), link("x", "y"), link("y", "x")]);
    let names = decode(links).unwrap().toc.names;
    let shown: Vec<_> = names.iter().map(|n| format!("{} {:?}", n.path, n.target)).collect();
    assert_eq!(
        shown,
        ["/a Inode(0)", "/b Inode(0)", "/f Inode(0)", "/x Lower(/y)", "/y Lower(/y)"]
    );
}

#[test]
fn a_table_of_contents_with_another_digest_is_refused() {
    let blob = vector("estargz.tar.gz");
    let tail = &blob[blob.len() - estargz::FOOTER_SIZE..];
    let footer = estargz::Footer::parse(tail, blob.len() as u64).unwrap();
    let Some(estargz::Footer::Toc { offset, end }) = footer else { panic!("{footer:?}") };
    let member = super::range(&blob, offset, end);
    let other: Digest = SHA.parse().unwrap();
    assert!(matches!(estargz::toc_json(member, Some(&other)), Err(LazyError::Digest { .. })));
    assert!(matches!(estargz::toc_json(b"no gzip", Some(&other)), Err(LazyError::Decompress)));
    let empty = vector("layer.tar.gz");
    assert!(matches!(estargz::toc_json(&empty, Some(&other)), Err(LazyError::Missing)));
    let ztoc = soci::decode(&vector("layer.ztoc"), &other, 1);
    assert!(matches!(ztoc, Err(LazyError::Digest { .. })));
    let position = zstd_chunked::Position { offset: 8, len: 3, raw_len: 1 << 40 };
    let vouched = zstd_chunked::Vouched::Raw(&other);
    let huge = zstd_chunked::toc_json(b"abc", &position, vouched);
    assert!(matches!(huge, Err(LazyError::TooLarge(_))));
}

#[test]
fn a_ztoc_of_another_blob_is_refused() {
    let error = soci::decode(&vector("layer.ztoc"), &ZTOC.parse().unwrap(), 5).unwrap_err();
    assert!(matches!(error, LazyError::Ztoc(ZtocFault::Size)));
}

#[test]
fn no_changed_byte_of_a_ztoc_is_more_than_refused() {
    let good = vector("layer.ztoc");
    let size = vector("layer.tar.gz").len() as u64;
    // Windows are opaque bytes and make up most of it.
    let tail = good.len() - 3000;
    for at in (0..3000).chain(tail..good.len()) {
        let mut changed = good.clone();
        changed[at] ^= 0x41;
        let digest = Digest::sha256(&changed);
        let _ = soci::decode(&changed, &digest, size);
    }
    for cut in [0, 3, 4, 10, 100, good.len() / 2, good.len() - 1] {
        let _ = soci::decode(&good[..cut], &Digest::sha256(&good[..cut]), size);
    }
}

#[test]
fn changed_bytes_of_a_blob_are_caught_by_the_digests_of_its_chunks() {
    let estargz = vector("estargz.tar.gz");
    let layer = vector("layer.tar.gz");
    for (lazy, blob) in [(read_estargz(&estargz), &estargz), (read_soci(), &layer)] {
        let len = |&number: &u32| {
            let range = lazy.table.compressed_range(number).unwrap();
            range.end - range.start
        };
        // What follows the last chunk counts to its range.
        let last = u32::try_from(lazy.table.spans.len()).unwrap() - 1;
        let longest = (0..last).max_by_key(len).unwrap_or(last);
        let range = lazy.table.compressed_range(longest).unwrap();
        let mut broken = blob.clone();
        broken[usize::try_from(range.start + len(&longest) / 2).unwrap()] ^= 1;
        let spans = BlobSpans::new(lazy.table.clone(), Arc::new(lazy.windows.clone()), broken);
        let read = spans.read_span(longest, &mut |_, _| panic!("unverified bytes"));
        let error = read.unwrap_err();
        assert!(matches!(error, SpanError::Mismatch { .. } | SpanError::Decode { .. }), "{error}");
    }
}

#[test]
fn a_run_of_zeros_needs_no_chunk() {
    let zeros = file(&json!({ "chunkType": "zeros", "chunkDigest": "" }));
    let lazy = decode(json!([zeros])).unwrap();
    assert_eq!((lazy.toc.inodes[0].size, lazy.toc.inodes[0].extents.len()), (10, 0));
    assert_eq!(lazy.table.size, 0);
}
