//! Any bytes as what eStargz puts into a blob: refused, or a layer that keeps all promises.

use stratafs::layer::lazy::estargz::{self, Footer};

use super::promises;

/// The size of the blob, and where in it the files end.
const BLOB: (u64, u64) = (100_000, 90_000);

/// Decodes `data` behind the first byte: with 0 as a footer, with 1 as the gzip member of a table of
/// contents, else as its JSON.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, tail)) => {
            if let Ok(Some(Footer::Toc { offset, end })) = Footer::parse(tail, BLOB.0) {
                assert!(offset < end && end < BLOB.0);
            }
        }
        Some((1, member)) => {
            if let Ok(json) = estargz::toc_json(member, None) {
                decode(&json);
            }
        }
        Some((_, json)) => decode(json),
        None => {}
    }
}

fn decode(json: &[u8]) {
    if let Ok(lazy) = estargz::decode(json, BLOB.0, BLOB.1) {
        assert!(lazy.prefetch.is_none_or(|end| end <= BLOB.1));
        promises::lazy(lazy);
    }
}
