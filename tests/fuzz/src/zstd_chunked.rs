//! Any bytes as what zstd:chunked puts into a blob: refused, or a layer that keeps all promises.

use std::collections::BTreeMap;

use stratafs::digest::Digest;
use stratafs::layer::lazy::zstd_chunked::{self, Position, Vouched};

use super::promises;

/// The size of the blob, and where in it the files end.
const BLOB: (u64, u64) = (100_000, 90_000);

/// Decodes `data` behind the first byte: with 0 as a footer, with 1 as annotations, of which each is
/// a line `KEY VALUE`, with 2 as the zstd frame of a table of contents, whose length once
/// decompressed is in the first four bytes, else as its JSON.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, tail)) => {
            if let Ok(Some(position)) = Position::from_footer(tail, BLOB.0) {
                check(&position);
            }
        }
        Some((1, text)) => annotations(&String::from_utf8_lossy(text)),
        Some((2, frame)) => {
            if let Some((raw_len, frame)) = frame.split_first_chunk() {
                let raw_len = u64::from(u32::from_le_bytes(*raw_len));
                let position = Position { offset: 8, len: frame.len() as u64, raw_len };
                let digest = Digest::sha256(frame);
                let vouched = Vouched::Compressed(&digest);
                if let Ok(json) = zstd_chunked::toc_json(frame, &position, vouched) {
                    assert_eq!(json.len() as u64, raw_len);
                    decode(&json);
                }
            }
        }
        Some((_, json)) => decode(json),
        None => {}
    }
}

fn annotations(text: &str) {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let annotations: BTreeMap<_, _> =
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if let Ok(Some((position, _))) = Position::from_annotations(&annotations, BLOB.0) {
        check(&position);
    }
}

fn check(position: &Position) {
    assert!(position.len > 0 && position.offset + position.len <= BLOB.0);
    assert_eq!(position.payload_end(), position.offset - 8);
}

fn decode(json: &[u8]) {
    if let Ok(lazy) = zstd_chunked::decode(json, BLOB.0, BLOB.1) {
        promises::lazy(lazy);
    }
}
