use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::archive::{Device, FileType, LayerPath, Metadata, Timestamp, Xattr};
use crate::compress::{AccessPoint, Codec, Span, SpanDigest, SpanTable, Start, Window};
use crate::digest::{Algorithm, DiffId, Digest};
use crate::layer::{Extent, Inode, Name, Target, Toc};

fn file_types() -> impl Strategy<Value = FileType> {
    prop::sample::select(vec![
        FileType::Regular,
        FileType::Regular,
        FileType::Directory,
        FileType::Symlink,
        FileType::CharDevice,
        FileType::BlockDevice,
        FileType::Fifo,
    ])
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let xattr = ("user\\.[a-c]{1,3}", vec(any::<u8>(), 0..4));
    let lists = vec(xattr, 0..3).prop_map(|list| {
        let unique: std::collections::BTreeMap<_, _> = list.into_iter().collect();
        unique.into_iter().map(|(name, value)| Xattr { name: name.into(), value }).collect()
    });
    prop_oneof![3 => Just(Vec::new()), 1 => lists]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let times = (prop_oneof![any::<i64>(), 0..2_000_000_000_i64], 0..1_000_000_000_u32);
    let devices = (any::<u32>(), any::<u32>());
    (file_types(), 0..=0o7777_u16, any::<u32>(), any::<u32>(), times, devices, xattrs()).prop_map(
        |(file_type, mode, uid, gid, (secs, nanos), (major, minor), xattrs)| {
            let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
            let device = if is_device { Device { major, minor } } else { Device::default() };
            let mtime = Timestamp { secs, nanos };
            Metadata { file_type, mode, uid, gid, mtime, device, xattrs }
        },
    )
}

fn inodes() -> impl Strategy<Value = Inode> {
    let place = prop_oneof![0..1_u64 << 20, Just((1 << 62) - 1)];
    let runs = vec((0..3_u64, 1..5000_u64, place), 0..4);
    (metadata(), runs, 0..100_u64, "[a-z./]{1,9}").prop_map(|(metadata, runs, tail, target)| {
        let (mut size, mut extents) = (0, Vec::new());
        let mut link_target = Vec::new();
        if metadata.file_type == FileType::Regular {
            for (gap, len, layer_offset) in runs {
                extents.push(Extent { file_offset: size + gap, len, layer_offset });
                size += gap + len;
            }
            size += tail;
        }
        if metadata.file_type == FileType::Symlink {
            link_target = target.into_bytes();
        }
        Inode { metadata, size, extents, link_target }
    })
}

fn paths() -> impl Strategy<Value = BTreeSet<LayerPath>> {
    let path = vec("[a-c\u{e9}.-]{1,4}", 0..4).prop_map(|parts| {
        let parts: Vec<_> = parts.into_iter().filter(|p| p != "." && p != "..").collect();
        LayerPath::parse(parts.join("/").as_bytes()).unwrap()
    });
    btree_set(path, 0..20)
}

fn tocs() -> impl Strategy<Value = Toc> {
    let target = prop_oneof![4 => any::<prop::sample::Index>().prop_map(Some), 1 => Just(None)];
    let names = (paths(), vec(target, 20));
    (vec(inodes(), 1..12), names, paths(), paths()).prop_map(
        |(inodes, (names, targets), whiteouts, opaques)| {
            let target = |target: Option<prop::sample::Index>| match target {
                Some(index) => Target::Inode(u32::try_from(index.index(inodes.len())).unwrap()),
                None => Target::Lower(LayerPath::parse(b"usr/lib/x").unwrap()),
            };
            let names = names.into_iter().zip(targets);
            let names = names.map(|(path, t)| Name { path, target: target(t) }).collect();
            let (whiteouts, opaques) = (whiteouts.into_iter(), opaques.into_iter());
            Toc { inodes, names, whiteouts: whiteouts.collect(), opaques: opaques.collect() }
        },
    )
}

fn table() -> SpanTable {
    let window = Some(Window { offset: 0, len: 4, part: 0 });
    let start = Start::Deflate { bits: 3, window };
    let points = vec![AccessPoint { out_offset: 0, in_offset: 10, skip: 0, start }];
    let span = |out_offset, len| Span { out_offset, len, point: 0, digest: [7; 32] };
    SpanTable {
        codec: Codec::Gzip,
        blob_size: 999,
        size: 3000,
        points,
        spans: vec![span(0, 1000), span(1000, 2000)],
        windows_size: 4,
        span_digest: SpanDigest::Blake3,
    }
}

fn index(toc: Toc) -> LayerIndex {
    let sha512 = Digest::from_bytes(Algorithm::Sha512, &[9; 64]).unwrap();
    let identity = Identity {
        digest: Digest::sha256(b"blob"),
        diff_id: DiffId::new(sha512),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        origin: Origin::Scan,
    };
    LayerIndex { identity, toc, table: table(), windows: b"wind".to_vec(), apart: None }
}

fn small() -> LayerIndex {
    let inode = Inode {
        metadata: Metadata { file_type: FileType::Regular, ..Metadata::implied_directory() },
        size: 10,
        extents: vec![Extent { file_offset: 0, len: 10, layer_offset: 512 }],
        link_target: Vec::new(),
    };
    let path = LayerPath::parse(b"etc/hosts").unwrap();
    let names = vec![Name { path, target: Target::Inode(0) }];
    index(Toc { inodes: vec![inode], names, ..Toc::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_index_round_trips(toc in tocs()) {
        let index = index(toc);
        let file = index.encode().unwrap();
        prop_assert_eq!(LayerIndex::decode(&file).unwrap(), index);
    }

    #[test]
    fn any_bytes_in_a_toc_are_refused_or_read(bytes in vec(any::<u8>(), 0..400)) {
        let frame = zstd::bulk::compress(&bytes, 1).unwrap();
        let section = [&(bytes.len() as u64).to_le_bytes()[..], &frame].concat();
        let _ = toc::decode_toc(&section);
    }
}

/// Columns with any one byte changed, behind right checksums.
#[test]
fn a_changed_column_is_refused_or_read() {
    let index = small();
    let file = index.encode().unwrap();
    let header = decode::Header::decode(&file, file.len() as u64).unwrap();
    let section = &file[usize::try_from(header.toc.offset).unwrap()..];
    let raw = zstd::bulk::decompress(&section[8..], 1 << 20).unwrap();
    for at in 0..raw.len() {
        for value in [0, 1, 2, 0x7f, 0x80, 0xff, raw[at].wrapping_add(1), raw[at] ^ 0x10] {
            let mut changed = raw.clone();
            changed[at] = value;
            let frame = zstd::bulk::compress(&changed, 1).unwrap();
            let section = [&(raw.len() as u64).to_le_bytes()[..], &frame].concat();
            let _ = toc::decode_toc(&section);
        }
    }
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    let file = small().encode().unwrap();
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            assert!(LayerIndex::decode(&damaged).is_err(), "bit {bit} of byte {at}");
        }
        assert!(LayerIndex::decode(&file[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(LayerIndex::decode(&[&file[..], b"x"].concat()), Err(FormatError::Trailing));
}

#[test]
fn another_version_is_told_from_damage() {
    let mut file = small().encode().unwrap();
    file[8] = 99;
    assert_eq!(LayerIndex::decode(&file), Err(FormatError::Version(99)));
    assert_eq!(LayerIndex::decode(b"something else"), Err(FormatError::Magic));
    assert_eq!(LayerIndex::decode(b""), Err(FormatError::Magic));
}

#[test]
fn a_toc_that_claims_to_be_huge_is_refused_before_it_is_decompressed() {
    for len in [u64::MAX, layout::MAX_COLUMNS + 1, 1 << 29] {
        let section = [&len.to_le_bytes()[..], &[0; 100]].concat();
        assert_eq!(toc::decode_toc(&section), Err(FormatError::TooLarge(len)));
    }
}

#[test]
fn the_toc_of_a_usual_layer_is_small() {
    let mut toc = Toc::default();
    let mut place = 0;
    for i in 0..20_000_u32 {
        let metadata = Metadata { file_type: FileType::Regular, ..Metadata::implied_directory() };
        let size = u64::from(i.wrapping_mul(2_654_435_761) >> 18) + 1;
        let extents = vec![Extent { file_offset: 0, len: size, layer_offset: place + 512 }];
        place = (place + 512 + size).next_multiple_of(512);
        toc.inodes.push(Inode { metadata, size, extents, link_target: Vec::new() });
        let path = format!("usr/lib/python3/package{:03}/module{:03}.py", i / 100, i % 100);
        let path = LayerPath::parse(path.as_bytes()).unwrap();
        toc.names.push(Name { path, target: Target::Inode(i) });
    }
    let len = toc.names.len();
    let file = index(toc).encode().unwrap();
    assert!(file.len() < 6 * len, "{} bytes for {len} files", file.len());
}

#[test]
fn the_longest_run_is_between_two_points() {
    let mut index = small();
    assert_eq!(index.longest_run(), 3000);
    let point = AccessPoint { out_offset: 1000, in_offset: 500, ..index.table.points[0].clone() };
    index.table.points.push(point);
    index.table.spans[1].point = 1;
    assert_eq!(index.longest_run(), 2000);
}

#[test]
fn windows_apart_are_vouched_for_group_by_group() {
    let whole = small();
    let (index, windows) = whole.clone().split().unwrap();
    assert_eq!((windows.as_slice(), index.windows.len()), (&b"wind"[..], 0));
    let apart = index.apart.clone().unwrap();
    assert_eq!(apart.blob, Digest::sha256(b"wind"));
    let groups = apart.table(&index.table).unwrap();
    assert_eq!((groups.size, groups.spans.len()), (4, 1));
    assert_eq!(groups.vouches_for(&groups.spans[0], b"wind"), Some(true));
    assert_eq!(groups.vouches_for(&groups.spans[0], b"wInd"), Some(false));
    let bytes = index.encode().unwrap();
    assert_eq!(LayerIndex::decode(&bytes).as_ref(), Ok(&index));
    assert_eq!(index.clone().split().unwrap(), (index.clone(), Vec::new()));
    let changed = |change: &dyn Fn(&mut LayerIndex)| {
        let mut index = index.clone();
        change(&mut index);
        LayerIndex::decode(&index.encode().unwrap()).unwrap_err()
    };
    let more: std::sync::Arc<[_]> = [[0; 32]; 2].into();
    let expected = FormatError::Invalid("windows apart");
    assert_eq!(changed(&|index| index.windows = b"wind".to_vec()), expected);
    assert_eq!(changed(&|index| index.apart.as_mut().unwrap().groups = more.clone()), expected);
    let nowhere = changed(&|index| index.apart = None);
    assert_eq!(nowhere, FormatError::Invalid("size of the windows"));
    let mut cut = whole;
    cut.windows.pop();
    assert_eq!(cut.split().unwrap_err(), FormatError::Invalid("windows"));
    let dir = tempfile::tempdir().unwrap();
    let store = IndexStore::open(dir.path()).unwrap();
    store.save(&index).unwrap();
    let stored = store.load_table(&index.identity.digest, &Origin::Scan).unwrap().unwrap();
    assert_eq!((stored.windows.size(), stored.apart), (0, index.apart));
}

#[test]
fn a_store_gives_back_what_it_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let store = IndexStore::open(&dir.path().join("index")).unwrap();
    let index = small();
    let digest = index.identity.digest.clone();
    assert_eq!(store.load(&digest, &Origin::Scan).unwrap(), None);
    assert!(!store.remove(&digest, &Origin::Scan).unwrap());
    store.save(&index).unwrap();
    store.save(&index).unwrap();
    assert_eq!(store.load(&digest, &Origin::Scan).unwrap().as_ref(), Some(&index));
    let stored = store.load_table(&digest, &Origin::Scan).unwrap().unwrap();
    let mut windows = vec![0; index.windows.len()];
    stored.windows.read_exact_at(&mut windows, 0).unwrap();
    assert_eq!(stored.windows.size(), windows.len() as u64);
    assert_eq!((stored.identity, stored.table), (index.identity, index.table));
    assert_eq!(windows, index.windows);
    std::fs::write(store.path(&digest, &Origin::Scan).with_extension("tmp"), b"left over").unwrap();
    let foreign = Origin::Soci(Digest::sha256(b"zTOC"));
    assert_eq!(store.load(&digest, &foreign).unwrap(), None, "of another origin");
    std::fs::copy(store.path(&digest, &Origin::Scan), store.path(&digest, &foreign)).unwrap();
    assert_eq!(store.load(&digest, &foreign).unwrap(), None, "the file of another origin");
    let listed: Vec<_> = store.list().unwrap().into_iter().map(|(digest, _)| digest).collect();
    assert_eq!(listed, [digest.clone(), digest.clone()]);
    assert!(store.remove(&digest, &Origin::Scan).unwrap());
    assert_eq!(store.load(&digest, &Origin::Scan).unwrap(), None);
}

#[test]
fn a_store_takes_damaged_files_for_absent() {
    let dir = tempfile::tempdir().unwrap();
    let store = IndexStore::open(dir.path()).unwrap();
    let index = small();
    let digest = index.identity.digest.clone();
    let good = index.encode().unwrap();
    let other = Digest::sha256(b"other");
    for bad in [&good[..good.len() - 1], &good[..20], b"", &[0; 200]] {
        std::fs::write(store.path(&digest, &Origin::Scan), bad).unwrap();
        assert_eq!(store.load(&digest, &Origin::Scan).unwrap(), None);
        assert!(store.load_table(&digest, &Origin::Scan).unwrap().is_none());
    }
    std::fs::write(store.path(&other, &Origin::Scan), &good).unwrap();
    assert_eq!(store.load(&other, &Origin::Scan).unwrap(), None, "the file of another layer");
    assert!(store.load_table(&other, &Origin::Scan).unwrap().is_none());
    store.save(&index).unwrap();
    assert!(store.load(&digest, &Origin::Scan).unwrap().is_some());
}

#[test]
fn a_damaged_toc_does_not_keep_the_table_from_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = IndexStore::open(dir.path()).unwrap();
    let index = small();
    let digest = index.identity.digest.clone();
    let mut file = index.encode().unwrap();
    *file.last_mut().unwrap() ^= 1;
    std::fs::write(store.path(&digest, &Origin::Scan), &file).unwrap();
    assert!(store.load_table(&digest, &Origin::Scan).unwrap().is_some());
    assert_eq!(store.load(&digest, &Origin::Scan).unwrap(), None);
}
