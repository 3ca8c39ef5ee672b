//! Lazy formats as real tools write them, all of the same layer: eStargz and zstd:chunked by
//! stargz-snapshotter 0.12, zstd:chunked by skopeo 1.18, a zTOC by SOCI 0.4. The layer is GNU tar's,
//! the chunks of the first two have 3,000 bytes, the spans of the last 64 KiB.

mod discovery;
mod hostile;
mod landmark;
pub mod lies;
mod refused;
pub mod registry;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use stratafs::archive::FileType;
use stratafs::compress::{BlobSpans, SpanSource, SpanTable};
use stratafs::digest::{DiffId, Digest};
use stratafs::layer::lazy::{Lazy, estargz, soci, zstd_chunked};
use stratafs::layer::{BuildOptions, Expected, Inode, Target, Toc, build_index};

const ESTARGZ_TOC: &str = "sha256:94e4962d57d7d7407db7f30841a3d86022aae76d9e87348c9a689d28ba74f7f7";
const STARGZ_ZSTD_TOC: &str =
    "sha256:b04764bf837893dc7b889fc73239a83836f4210d84ee33c4e8a2ce9078de192e";
const ZTOC: &str = "sha256:0d53915d47114daa8d01c2800bdbb2d76df799e818e55b0e26cf3381eba79bc0";

/// The annotations of the two zstd:chunked layers.
const STARGZ_ZSTD: [(&str, &str); 2] = [
    (
        "io.containers.zstd-chunked.manifest-checksum",
        "sha256:5aff3b768caad436b6d21f3fdd648f19515e442be3ec0f4a1f44cd5c11c56f92",
    ),
    ("io.containers.zstd-chunked.manifest-position", "70313:4195:20336:1"),
];
const STORAGE_ZSTD: [(&str, &str); 3] = [
    (
        "io.github.containers.zstd-chunked.manifest-checksum",
        "sha256:2601430d6c9f25099ac119622aa4ca7c593e19c2cf99e6f83409184b4e86f7cf",
    ),
    ("io.github.containers.zstd-chunked.manifest-position", "52035:930:2676:1"),
    ("io.github.containers.zstd-chunked.tarsplit-position", "52973:984:17204"),
];

fn vector(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/vectors").join(name);
    std::fs::read(path).unwrap()
}

fn range(blob: &[u8], from: u64, to: u64) -> &[u8] {
    &blob[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()]
}

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn read_estargz(blob: &[u8]) -> Lazy {
    let size = blob.len() as u64;
    let tail = &blob[blob.len() - estargz::FOOTER_SIZE..];
    let footer = estargz::Footer::parse(tail, size).unwrap();
    let Some(estargz::Footer::Toc { offset, end }) = footer else { panic!("{footer:?}") };
    let member = range(blob, offset, end);
    let json = estargz::toc_json(member, Some(&ESTARGZ_TOC.parse().unwrap())).unwrap();
    estargz::decode(&json, size, offset).unwrap()
}

fn read_zstd_chunked(blob: &[u8], pairs: &[(&str, &str)]) -> Lazy {
    let size = blob.len() as u64;
    let (position, checksum) =
        zstd_chunked::Position::from_annotations(&annotations(pairs), size).unwrap().unwrap();
    let tail = &blob[blob.len() - zstd_chunked::FOOTER_SIZE..];
    let footer = zstd_chunked::Position::from_footer(tail, size).unwrap();
    assert_eq!(footer, Some(position), "footer and annotations agree");
    let frame = range(blob, position.offset, position.offset + position.len);
    let vouched = zstd_chunked::Vouched::Compressed(&checksum);
    let json = zstd_chunked::toc_json(frame, &position, vouched).unwrap();
    zstd_chunked::decode(&json, size, position.payload_end()).unwrap()
}

fn read_soci() -> Lazy {
    let blob = vector("layer.tar.gz");
    soci::decode(&vector("layer.ztoc"), &ZTOC.parse().unwrap(), blob.len() as u64).unwrap()
}

/// All of the stream that a span table describes, each span read alone, the last one first.
fn stream(table: &SpanTable, windows: &[u8], blob: &[u8]) -> Vec<u8> {
    let spans = BlobSpans::new(table.clone(), Arc::new(windows.to_vec()), blob.to_vec());
    let mut stream = vec![0; usize::try_from(table.size).unwrap()];
    for (number, span) in table.spans.iter().enumerate().rev() {
        let number = u32::try_from(number).unwrap();
        let at = usize::try_from(span.out_offset).unwrap();
        spans
            .read_span(number, &mut |given, bytes| {
                if given == number {
                    stream[at..at + bytes.len()].copy_from_slice(bytes);
                }
            })
            .unwrap();
    }
    stream
}

fn content(inode: &Inode, stream: &[u8]) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(inode.size).unwrap()];
    for extent in &inode.extents {
        let [file, layer, len] = [extent.file_offset, extent.layer_offset, extent.len]
            .map(|n| usize::try_from(n).unwrap());
        content[file..file + len].copy_from_slice(&stream[layer..layer + len]);
    }
    content
}

/// Every name with all that is said of it, its content, and the first name of its inode.
fn files(toc: &Toc, stream: &[u8]) -> BTreeMap<String, String> {
    let mut firsts: BTreeMap<u32, String> = BTreeMap::new();
    let mut files = BTreeMap::new();
    for name in &toc.names {
        let Target::Inode(number) = name.target else { panic!("{name:?}") };
        let inode = &toc.inodes[number as usize];
        let first = firsts.entry(number).or_insert_with(|| name.path.to_string());
        let content = Digest::sha256(&content(inode, stream)).short();
        let (metadata, target) = (&inode.metadata, String::from_utf8_lossy(&inode.link_target));
        let said = format!("{metadata:?} {} {target} {content} {first}", inode.size);
        files.insert(name.path.to_string(), said);
    }
    files
}

/// What a pass over the layer says of it.
fn scanned() -> (Toc, BTreeMap<String, String>) {
    let blob = vector("layer.tar.gz");
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&blob[..]), &mut tar).unwrap();
    let expected = Expected {
        digest: Digest::sha256(&blob),
        size: blob.len() as u64,
        diff_id: DiffId::new(Digest::sha256(&tar)),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
    };
    let options = BuildOptions::default();
    let index = build_index(&blob, &expected, &options, &mut |_| {}, &mut |_| {}).unwrap();
    let files = files(&index.toc, &tar);
    (index.toc, files)
}

fn assert_is_the_layer(lazy: &Lazy, blob: &[u8]) {
    let (toc, expected) = scanned();
    assert!(expected.len() > 10);
    let found = files(&lazy.toc, &stream(&lazy.table, &lazy.windows, blob));
    assert_eq!(found, expected);
    assert_eq!((&lazy.toc.whiteouts, &lazy.toc.opaques), (&toc.whiteouts, &toc.opaques));
    assert_eq!(toc.whiteouts.len(), 1);
}

#[test]
fn estargz_is_the_layer_that_it_was_made_from() {
    let blob = vector("estargz.tar.gz");
    let lazy = read_estargz(&blob);
    assert_is_the_layer(&lazy, &blob);
    // Two files were given priority: a few hundred bytes of the blob.
    let wanted = lazy.prefetch.unwrap();
    assert!((1..2000).contains(&wanted), "{wanted}");
    assert!(lazy.table.spans.iter().all(|span| span.len <= 3000));
}

#[test]
fn zstd_chunked_of_stargz_is_the_layer_that_it_was_made_from() {
    let blob = vector("stargz.tar.zst");
    assert_is_the_layer(&read_zstd_chunked(&blob, &STARGZ_ZSTD), &blob);
}

#[test]
fn zstd_chunked_of_containers_storage_is_the_layer_that_it_was_made_from() {
    let blob = vector("storage.tar.zst");
    let lazy = read_zstd_chunked(&blob, &STORAGE_ZSTD);
    assert_is_the_layer(&lazy, &blob);
}

#[test]
fn the_other_digest_vouches_for_stargz_zstd_chunked_too() {
    let blob = vector("stargz.tar.zst");
    let position = zstd_chunked::Position { offset: 70313, len: 4195, raw_len: 20336 };
    let frame = range(&blob, position.offset, position.offset + position.len);
    let digest: Digest = STARGZ_ZSTD_TOC.parse().unwrap();
    let vouched = zstd_chunked::Vouched::Raw(&digest);
    assert!(zstd_chunked::toc_json(frame, &position, vouched).is_ok());
}

#[test]
fn a_ztoc_is_the_layer_that_it_is_of() {
    let lazy = read_soci();
    assert_is_the_layer(&lazy, &vector("layer.tar.gz"));
}

#[test]
fn what_a_format_says_is_a_layer_index_as_any_other() {
    let blob = vector("layer.tar.gz");
    let lazy = read_soci();
    let regular = |inode: &&Inode| inode.metadata.file_type == FileType::Regular;
    assert!(lazy.toc.inodes.iter().any(|inode| regular(&inode) && inode.size > 0));
    let encoded = lazy.table.encode();
    let table = SpanTable::decode(&encoded).unwrap();
    assert_eq!(table, lazy.table);
    assert_eq!(stream(&table, &lazy.windows, &blob), stream(&lazy.table, &lazy.windows, &blob));
    let estargz = read_estargz(&vector("estargz.tar.gz")).table;
    assert_eq!(SpanTable::decode(&estargz.encode()).unwrap(), estargz);
}
