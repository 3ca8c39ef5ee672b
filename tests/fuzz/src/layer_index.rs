//! Any bytes as a layer index file: refused, or read and written again to the same.

use stratafs::compress::{Codec, SpanDigest, SpanTable};
use stratafs::layer::LayerIndex;
use stratafs::tree;

/// The longest windows of a packed file in bytes: a table may claim more than there is memory.
const WINDOWS_MAX: u64 = 1 << 20;

/// Decodes `data` as a file. With a first byte of 1 it is taken for the columns of a TOC, with 2
/// for a span table, with 3 for one whose windows are apart, and packed into a file whose checksums
/// are right.
pub fn run(data: &[u8]) {
    let packed = match data.split_first() {
        Some((1, columns)) => file(&empty_table().encode(), &compressed(columns), false),
        Some((2, table)) => file(table, &compressed(&[0; 17]), false),
        Some((3, table)) => file(table, &compressed(&[0; 17]), true),
        _ => data.to_vec(),
    };
    let Ok(index) = LayerIndex::decode(&packed) else { return };
    let again = index.encode().expect("what was read can be written");
    assert_eq!(LayerIndex::decode(&again).as_ref(), Ok(&index));
    // Nothing else is promised of a TOC that others made: merging may refuse it, not more.
    let _ = tree::merge(&[&index.toc]).is_ok();
    let _ = index.longest_run();
    if let Some(apart) = &index.apart {
        let groups = apart.table(&index.table).expect("groups are those of the table");
        assert_eq!(groups.size, index.table.windows_size);
    }
    let table = index.table.clone();
    let (split, windows) = index.split().expect("windows that were read are there");
    assert_eq!(split.apart.is_some(), table.windows_size > 0);
    assert!(windows.is_empty() || windows.len() as u64 == table.windows_size);
}

fn empty_table() -> SpanTable {
    let (points, spans) = (Vec::new(), Vec::new());
    SpanTable {
        codec: Codec::Plain,
        blob_size: 0,
        size: 0,
        points,
        spans,
        windows_size: 0,
        span_digest: SpanDigest::Blake3,
    }
}

fn compressed(columns: &[u8]) -> Vec<u8> {
    let frame = zstd::bulk::compress(columns, 1).expect("memory is there");
    [&(columns.len() as u64).to_le_bytes()[..], &frame].concat()
}

/// A file of the given sections.
fn file(spans: &[u8], toc: &[u8], is_apart: bool) -> Vec<u8> {
    let mut identity = vec![0, 0];
    identity.extend([7; 32]);
    identity.push(0);
    identity.extend([9; 32]);
    identity.extend(b"\x03tar");
    let table = SpanTable::decode(spans).unwrap_or_else(|_| empty_table());
    let (mut windows, mut apart) = (Vec::new(), Vec::new());
    if is_apart {
        apart.push(0);
        apart.resize(33 + 32 * table.window_groups().count(), 5);
    } else {
        let len = usize::try_from(table.windows_size.min(WINDOWS_MAX));
        windows.resize(len.unwrap_or(0), 0);
    }
    let mut file = b"STRATIDX\x04\0\0\0".to_vec();
    for section in [&identity[..], spans, &windows, &apart, toc] {
        file.extend(crc32c::crc32c(section).to_le_bytes());
        file.extend((section.len() as u64).to_le_bytes());
    }
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    [&file[..], &identity, spans, &windows, &apart, toc].concat()
}
