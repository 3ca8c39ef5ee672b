//! Tables of contents that the image vouches for and that lie all the same: `inspect` says why each
//! is refused, and what is mounted is the layer.

use std::io::Write as _;

use rstest::rstest;
use serde_json::{Value, json};

use super::discovery::{
    TOC_DIGEST, annotated, eager, indexes, inspected, layer, mounted, ungzip, with_soci,
};
use super::{range, vector};
use crate::images::layout::{Layer, Layout, digest};
use crate::images::program::Stratafs;
use crate::oracle;
use crate::registry::fake::Fake;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The archive around a table of contents.
fn archive(json: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(json.len() as u64);
    builder.append_data(&mut header, "stargz.index.json", json).unwrap();
    builder.into_inner().unwrap()
}

/// The files of the eStargz vector, and its table of contents.
pub(super) fn taken_apart() -> (Vec<u8>, Value) {
    let blob = vector("estargz.tar.gz");
    let footer = &blob[blob.len() - 51..];
    let offset = u64::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap();
    let member = range(&blob, offset, blob.len() as u64 - 51);
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(member));
    let entry = tar.entries().unwrap().next().unwrap().unwrap();
    let json = serde_json::from_reader(entry).unwrap();
    (range(&blob, 0, offset).to_vec(), json)
}

/// An image of the layer with another table of contents, in `member`, whose digest is right. The
/// footer says that it begins `shift` bytes later than it does.
fn with_member(toc: &Value, member: &[u8], shift: usize) -> Layout {
    let (mut blob, _) = taken_apart();
    let offset = blob.len() + shift;
    blob.extend(member);
    blob.extend(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0");
    blob.extend(format!("{offset:016x}STARGZ").as_bytes());
    blob.extend(b"\x01\0\0\xff\xff\0\0\0\0\0\0\0\0");
    annotated(of_blob(blob), &[(TOC_DIGEST, &digest(toc.to_string().as_bytes()))])
}

pub(super) fn with_toc(toc: &Value) -> Layout {
    with_member(toc, &gzip(&archive(toc.to_string().as_bytes())), 0)
}

/// The layer whose blob is `blob`.
fn of_blob(blob: Vec<u8>) -> Layer {
    let layer = Layer { diff_id: digest(&ungzip(&blob)), ..layer("estargz.tar.gz") };
    layer.with_blob(|old| *old = blob)
}

/// What `inspect` says against the table of contents; the mount is right, and not by it.
fn refused(layout: &Layout) -> String {
    let stratafs = Stratafs::new();
    let said = inspected(&stratafs, &layout.image(), &[]);
    assert_eq!(said["lazy"], false, "{said}");
    oracle::assert_same(&eager(), &mounted(&stratafs, &layout.image(), &[]));
    assert_eq!(indexes(&stratafs), (1, 0));
    said["refused"][0].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// The place of the first entry of `name`; of a file in several chunks, that of its first.
pub(super) fn entry<'a>(toc: &'a mut Value, name: &str) -> &'a mut Value {
    let entries = toc["entries"].as_array_mut().unwrap();
    entries.iter_mut().find(|entry| entry["name"] == name).unwrap()
}

#[rstest]
#[case::not_in_order("./big", json!({"chunkSize": 6000}), "chunks do not make up the file")]
#[case::overlapping("./zz-first", json!({"offset": 128}), "overlaps that of another")]
#[case::huge("./zz-first", json!({"size": 1_u64 << 40}), "cannot be verified at once")]
#[case::outside("./zz-first", json!({"offset": 1_u64 << 40}), "outside of the blob")]
#[case::negative("./zz-first", json!({"size": -1}), "out of range")]
#[case::climbing("./zz-first", json!({"name": "../../etc/passwd"}), "passwd")]
#[case::no_digest("./zz-first", json!({"chunkDigest": "", "digest": ""}), "no digest vouches")]
#[case::bad_digest("./zz-first", json!({"chunkDigest": "sha256:zz"}), "./zz-first")]
#[case::bad_type("./zz-first", json!({"type": "socket"}), "unknown type")]
fn a_table_of_contents_that_lies_is_refused_with_the_reason(
    #[case] name: &str,
    #[case] change: Value,
    #[case] reason: &str,
) {
    let (_, mut toc) = taken_apart();
    let changed = entry(&mut toc, name).as_object_mut().unwrap();
    changed.extend(change.as_object().unwrap().clone());
    let said = refused(&with_toc(&toc));
    assert!(said.starts_with("eStargz: ") && said.contains(reason), "{said}");
}

#[test]
fn a_table_of_contents_that_cannot_be_unpacked_is_refused_with_the_reason() {
    let (_, toc) = taken_apart();
    // As it is, it is taken: what follows fails by nothing else.
    assert_eq!(inspected(&Stratafs::new(), &with_toc(&toc).image(), &[])["format"], "eStargz");
    let member = gzip(&archive(toc.to_string().as_bytes()));
    // No header of a gzip member is where the footer says, or no archive, or no such file in it.
    for (member, shift, reason) in [
        (member.clone(), 1, "does not decompress"),
        (member, 10, "does not decompress"),
        (gzip(&[0; 1024]), 0, "no table of contents"),
        (gzip(&another()), 0, "no table of contents"),
    ] {
        let said = refused(&with_member(&toc, &member, shift));
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

/// An archive of another file.
fn another() -> Vec<u8> {
    let archive = crate::images::layout::Archive::new();
    archive.file(".prefetch.landmark", b"x").finish()
}

/// The zTOC of the vector with `from` instead of `to`, wherever it stands.
fn with_number(ztoc: &[u8], from: i64, to: i64) -> Vec<u8> {
    let (from, to) = (from.to_le_bytes(), to.to_le_bytes());
    let at = ztoc.windows(8).position(|w| w == from).expect("the number is there");
    let mut changed = ztoc.to_vec();
    changed[at..at + 8].copy_from_slice(&to);
    changed
}

#[rstest]
// Where `big` and `text` begin in the archive, and the length of `text`.
#[case::overlapping(28_672, 3100, "overlaps that of another")]
#[case::outside(28_672, i64::MAX / 2, "outside of the blob")]
#[case::negative(28_672, -5, "out of range")]
#[case::huge(199_852, i64::MAX, "outside of the blob")]
#[case::another_layer(52_830, 52_831, "the size differs")]
fn a_ztoc_that_lies_is_refused_with_the_reason(
    #[case] from: i64,
    #[case] to: i64,
    #[case] reason: &str,
) {
    let ztoc = with_number(&vector("layer.ztoc"), from, to);
    let said = refused(&with_soci(&ztoc, true, false).0);
    assert!(said.starts_with("SOCI: ") && said.contains(reason), "{said}");
}

/// A registry with an eStargz image whose table of contents is in another image; its reference.
fn external(registry: &Fake, toc: &Value, promise: &str) -> String {
    let (mut blob, _) = taken_apart();
    // The end of the archive, which the member of the table of contents has otherwise.
    blob.extend(gzip(&[0; 1024]));
    blob.extend(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x15\0SG\x11\0STARGZEXTERNALTOC");
    blob.extend(b"\x01\0\0\xff\xff\0\0\0\0\0\0\0\0");
    let layer = of_blob(blob);
    let about = layer.digest();
    let layout = annotated(layer, &[(TOC_DIGEST, promise)]);
    crate::registry::fill(registry, &layout, "1");
    let json = toc.to_string().into_bytes();
    let toc = Layer::gzip(&archive(&json));
    let beside = annotated(toc, &[("containerd.io/snapshot/stargz/layer.digest", &about)]);
    crate::registry::fill(registry, &beside, "1-esgztoc");
    format!("docker://{}/app:1", registry.host())
}

#[test]
fn a_table_of_contents_in_another_image_is_used_where_the_image_vouches_for_it() {
    let (_, toc) = taken_apart();
    let registry = Fake::start();
    let image = external(&registry, &toc, &digest(toc.to_string().as_bytes()));
    let stratafs = Stratafs::new();
    let said = inspected(&stratafs, &image, &[]);
    assert_eq!((&said["lazy"], &said["format"]), (&json!(true), &json!("eStargz")), "{said}");
    oracle::assert_same(&eager(), &mounted(&stratafs, &image, &["--prefetch", "none"]));
    assert_eq!(indexes(&stratafs), (0, 1));
    // Another one than the image vouches for, and none at all.
    let other = Fake::start();
    let image = external(&other, &toc, &format!("sha256:{}", "0".repeat(64)));
    for reason in ["the image says sha256:000", "TAG-esgztoc"] {
        let stratafs = Stratafs::new();
        let said = inspected(&stratafs, &image, &[]);
        assert!(said["refused"][0].as_str().unwrap().contains(reason), "{said}");
        oracle::assert_same(&eager(), &mounted(&stratafs, &image, &[]));
        assert_eq!(indexes(&stratafs), (1, 0));
        other.inside().manifests.remove("1-esgztoc");
    }
}
