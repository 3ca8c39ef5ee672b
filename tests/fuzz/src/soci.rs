//! Any bytes as a zTOC of SOCI: refused, or a layer that keeps all promises.

use stratafs::digest::Digest;
use stratafs::layer::lazy::soci;

use super::promises;

/// Stands in the input for the bytes of a window, so that inputs are short.
const WINDOW_MARK: &[u8] = b"\xff32 KiB\xff";

/// Decodes `data` behind the first four bytes, which are the size of the blob.
pub fn run(data: &[u8]) {
    let Some((blob_size, ztoc)) = data.split_first_chunk() else { return };
    let blob_size = u64::from(u32::from_le_bytes(*blob_size));
    let ztoc = expanded(ztoc);
    let digest = Digest::sha256(&ztoc);
    if let Ok(lazy) = soci::decode(&ztoc, &digest, blob_size) {
        promises::lazy(lazy);
    }
}

/// `short` with windows for their marks.
fn expanded(short: &[u8]) -> Vec<u8> {
    let mut ztoc = Vec::with_capacity(short.len());
    let mut rest = short;
    while let Some(at) = rest.windows(WINDOW_MARK.len()).position(|w| w == WINDOW_MARK) {
        ztoc.extend_from_slice(&rest[..at]);
        ztoc.extend((0..32 << 10).map(|i: u32| i.to_le_bytes()[1]));
        rest = &rest[at + WINDOW_MARK.len()..];
    }
    ztoc.extend_from_slice(rest);
    ztoc
}
