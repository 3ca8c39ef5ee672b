//! Any bytes as a layer index file: refused, or read and written again to the same.

use stratafs::compress::{Codec, SpanTable};
use stratafs::layer::LayerIndex;
use stratafs::tree;

/// Decodes `data` as a file. With a first byte of 1 it is taken for the columns of a TOC, with 2
/// for a span table, and packed into a file whose checksums are right.
pub fn run(data: &[u8]) {
    let packed = match data.split_first() {
        Some((1, columns)) => file(&empty_table().encode(), &compressed(columns)),
        Some((2, table)) => file(table, &compressed(&[0; 17])),
        _ => data.to_vec(),
    };
    let Ok(index) = LayerIndex::decode(&packed) else { return };
    let again = index.encode().expect("what was read can be written");
    assert_eq!(LayerIndex::decode(&again).as_ref(), Ok(&index));
    // Nothing else is promised of a TOC that others made: merging may refuse it, not more.
    let _ = tree::merge(&[&index.toc]).is_ok();
    let _ = index.longest_run();
}

fn empty_table() -> SpanTable {
    let (points, spans, windows) = (Vec::new(), Vec::new(), Vec::new());
    SpanTable { codec: Codec::Plain, blob_size: 0, size: 0, points, spans, windows }
}

fn compressed(columns: &[u8]) -> Vec<u8> {
    let frame = zstd::bulk::compress(columns, 1).expect("memory is there");
    [&(columns.len() as u64).to_le_bytes()[..], &frame].concat()
}

/// A file of the given sections.
fn file(spans: &[u8], toc: &[u8]) -> Vec<u8> {
    let mut identity = vec![0, 0];
    identity.extend([7; 32]);
    identity.push(0);
    identity.extend([9; 32]);
    identity.extend(b"\x03tar");
    let mut file = b"STRATIDX\x01\0\0\0".to_vec();
    for section in [&identity[..], spans, toc] {
        file.extend(crc32c::crc32c(section).to_le_bytes());
        file.extend((section.len() as u64).to_le_bytes());
    }
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    [&file[..], &identity, spans, toc].concat()
}
