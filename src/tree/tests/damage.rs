//! Damaged files: an error or the right answer, never a panic and never another answer.

use proptest::prelude::*;

use super::chain::{identities, layer};
use crate::archive::{FileType, Xattr};
use crate::error::{Classify, Kind};
use crate::layer::Extent;
use crate::tree::layout::{BLOCK_LEN, HEADER_LEN, Header};
use crate::tree::write::encode;
use crate::tree::{Error, Tree, merge};

/// A small tree with something in every section.
fn sample() -> Vec<u8> {
    let mut low = layer(&["dir d", "file d/a", "link d/b d/a", "file f", "symlink s d"]);
    low.inodes[1].extents = vec![
        Extent { file_offset: 0, len: 1, layer_offset: 9 },
        Extent { file_offset: 2, len: 1, layer_offset: 99 },
    ];
    low.inodes[2].metadata.xattrs = vec![Xattr { name: b"user.x".into(), value: b"value".into() }];
    let high = layer(&["file d/c", "lower e f", "hide s"]);
    encode(&merge(&[&low, &high]).unwrap(), &identities(2)).unwrap()
}

/// Everything that can be read, in order; the first error ends it.
fn read_all(tree: &Tree) -> Result<String, Error> {
    let mut out = format!("{:?} {:?}\n", tree.summary(), tree.layers());
    for ino in 1..=tree.summary().inodes.min(1000) {
        out += &format!("{ino} {:?}\n", tree.node(ino)?);
        for extent in tree.extents(ino, 1)? {
            out += &format!("{:?}\n", extent?);
        }
        for xattr in tree.xattrs(ino)? {
            out += &format!("{:?}\n", xattr?);
        }
        match tree.node(ino)?.file_type {
            FileType::Symlink => out += &format!("{:?}\n", tree.link_target(ino)?),
            FileType::Directory => {
                out += &format!("in {}\n", tree.parent(ino)?);
                for child in tree.children(ino, 0)?.take(1000) {
                    let child = child?;
                    out += &format!("{child:?} {:?}\n", tree.lookup(ino, child.name)?);
                }
            }
            FileType::Regular | FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => {}
        }
    }
    let _ = tree.resolve(b"d/../s/a", true);
    Ok(out)
}

#[test]
fn any_flipped_byte_is_an_error_or_makes_no_difference() {
    let good = sample();
    let expected = read_all(&Tree::from_bytes(good.clone()).unwrap()).unwrap();
    let mut errors = 0;
    for place in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[place] ^= flip;
            match Tree::from_bytes(bad).and_then(|tree| read_all(&tree)) {
                Ok(read) => assert_eq!(read, expected, "byte {place}"),
                Err(e) => {
                    errors += 1;
                    assert!(e.needs_rebuild(), "byte {place}: {e}");
                    let kind = e.kind();
                    assert!(
                        kind == Kind::DataLoss || (8..12).contains(&place),
                        "{place}: {kind:?}"
                    );
                }
            }
        }
    }
    // All of the header and of the one block are covered by a checksum.
    assert_eq!(errors, good.len() * 3);
}

#[test]
fn a_cut_or_lengthened_file_is_an_error() {
    let good = sample();
    for len in 0..good.len() {
        assert!(Tree::from_bytes(good[..len].to_vec()).unwrap_err().needs_rebuild(), "{len}");
    }
    assert!(Tree::from_bytes([&good[..], &[0]].concat()).unwrap_err().needs_rebuild());
}

#[test]
fn another_version_is_told_apart_from_damage() {
    let mut other = sample();
    other[8] = 0;
    assert!(matches!(Tree::from_bytes(other), Err(Error::Version { found: 0, .. })));
}

#[test]
fn a_damaged_block_does_not_spoil_the_others() {
    let lines: Vec<String> = (0..20_000).map(|n| format!("file f{n:05}")).collect();
    let toc = layer(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let mut bytes = encode(&merge(&[&toc]).unwrap(), &identities(1)).unwrap();
    let place = HEADER_LEN + 3 * BLOCK_LEN + 100;
    bytes[place] ^= 1;
    let tree = Tree::from_bytes(bytes).unwrap();
    assert!(tree.node(1).is_ok());
    assert!(tree.lookup(1, b"f12345").unwrap().is_some());
    let bad: Vec<u32> = (1..=20_001).filter(|ino| tree.node(*ino).is_err()).collect();
    assert!(bad.len() <= BLOCK_LEN / 64 + 1 && !bad.is_empty());
    assert_eq!(tree.verify().unwrap_err().kind(), Kind::DataLoss);
}

/// Makes all checksums of `file` right again, so that what is behind them is reached.
fn mend_checksums(file: &mut [u8]) {
    let Some(header) = file.get(..HEADER_LEN) else { return };
    let checksums = u64::from_le_bytes(header[120..128].try_into().unwrap()) as usize;
    if checksums <= file.len() && checksums >= HEADER_LEN {
        let (body, table) = file.split_at_mut(checksums);
        let blocks = body[HEADER_LEN..].chunks(BLOCK_LEN);
        for (entry, block) in table.chunks_exact_mut(4).zip(blocks) {
            entry.copy_from_slice(&crc32c::crc32c(block).to_le_bytes());
        }
        let crc = crc32c::crc32c(table);
        file[136..140].copy_from_slice(&crc.to_le_bytes());
    }
    file[12..16].fill(0);
    let crc = crc32c::crc32c(&file[..HEADER_LEN]);
    file[12..16].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn mended_checksums_are_right() {
    let good = sample();
    let mut mended = good.clone();
    mend_checksums(&mut mended);
    assert!(mended == good && Header::decode(&good).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// A forged file, its checksums right: bounds hold whatever it says.
    #[test]
    fn a_forged_file_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let mut file = sample();
        for (place, value, kind) in edits {
            let body = HEADER_LEN..file.len();
            let place = match kind {
                0 => 16 + place.index(160),
                _ => body.start + place.index(body.len()),
            };
            file[place] = value;
        }
        mend_checksums(&mut file);
        if let Ok(tree) = Tree::from_bytes(file) {
            let _ = read_all(&tree);
            let _ = tree.verify();
        }
    }
}
