//! The spans of a zTOC as a span table.

use crate::compress::{
    AccessPoint, Codec, SPAN_LEN_MAX, Span, SpanDigest, SpanTable, Start, pack_windows,
};
use crate::digest::{Algorithm, Digest};

use super::super::ZtocFault;
use super::checkpoints::{Checkpoint, checkpoints};
use super::flatbuffer::Buffer;
use super::ztoc::{Compression, Ztoc};

/// The span table of a layer, and the packed windows that it refers to.
pub(super) fn table(ztoc: &Ztoc<'_>) -> Result<(SpanTable, Vec<u8>), ZtocFault> {
    let mut blob_size = ztoc.compressed_size;
    let mut digests = ztoc.span_digests.len();
    let (codec, size, points, windows) = match ztoc.compression {
        Compression::Gzip => {
            let mut size = ztoc.uncompressed_size;
            let mut points = checkpoints(ztoc.checkpoints, blob_size, size)?;
            // No file has bytes behind the archive's end: what starts there is left out, and where
            // it starts the compressed bytes end that the digest of the span before is of.
            let inside = points.partition_point(|point| point.out_offset < size);
            if let Some(behind) = points.get(inside) {
                (size, blob_size) = (behind.out_offset, behind.in_offset);
                digests = digests.checked_sub(points.len() - inside).ok_or(ZtocFault::Digests)?;
                points.truncate(inside);
            }
            let (points, windows) = gzip_points(&points)?;
            (Codec::Gzip, size, points, windows)
        }
        Compression::Uncompressed => (Codec::Plain, blob_size, plain_points(ztoc)?, Vec::new()),
    };
    if digests != points.len() {
        return Err(ZtocFault::Digests);
    }
    let ends = points.iter().skip(1).map(|point| point.out_offset).chain([size]);
    let mut spans = Vec::with_capacity(points.len());
    for (((start, end), digest), point) in points.iter().zip(ends).zip(&ztoc.span_digests).zip(0..)
    {
        let len = end - start.out_offset;
        let short = u32::try_from(len).ok().filter(|&len| len <= SPAN_LEN_MAX);
        let len = short.ok_or(ZtocFault::SpanTooLarge(len))?;
        spans.push(Span { out_offset: start.out_offset, len, point, digest: sha256(digest)? });
    }
    let windows_size = windows.len() as u64;
    let mut print = [0; 16];
    print.copy_from_slice(&blake3::hash(&windows).as_bytes()[..16]);
    let span_digest = SpanDigest::CompressedSha256 { windows: print };
    let table = SpanTable { codec, blob_size, size, points, spans, windows_size, span_digest };
    Ok((table, windows))
}

fn gzip_points(checkpoints: &[Checkpoint<'_>]) -> Result<(Vec<AccessPoint>, Vec<u8>), ZtocFault> {
    let with_window = checkpoints.iter().map(|c| c.window).filter(|window| !window.is_empty());
    let (packed, places) = pack_windows(with_window).map_err(|_| ZtocFault::Checkpoints)?;
    let mut places = places.into_iter();
    let point = |c: &Checkpoint<'_>| {
        let window = if c.window.is_empty() { None } else { places.next() };
        let start = Start::Deflate { bits: c.bits, window };
        AccessPoint { out_offset: c.out_offset, in_offset: c.in_offset, skip: 0, start }
    };
    Ok((checkpoints.iter().map(point).collect(), packed))
}

/// The points of a plain layer: every so many bytes, as a flatbuffer in place of the checkpoints
/// says (members: 0 version, 1 span size, 2 size).
fn plain_points(ztoc: &Ztoc<'_>) -> Result<Vec<AccessPoint>, ZtocFault> {
    let buffer = Buffer::new(ztoc.checkpoints);
    let info = buffer.root()?;
    let (span_size, size) = (info.i64(1)?, info.i64(2)?);
    let span_size = u64::try_from(span_size).ok().filter(|&size| size > 0);
    let span_size = span_size.ok_or(ZtocFault::Checkpoints)?;
    let size = u64::try_from(size).map_err(|_| ZtocFault::Checkpoints)?;
    // What follows the archive's end blocks is in no size but the blob's.
    if size != ztoc.compressed_size {
        return Err(ZtocFault::Size);
    }
    let count = usize::try_from(size.div_ceil(span_size)).map_err(|_| ZtocFault::Digests)?;
    if count != ztoc.span_digests.len() {
        return Err(ZtocFault::Digests);
    }
    let points = (0..size).step_by(usize::try_from(span_size).map_err(|_| ZtocFault::Checkpoints)?);
    let point = |at| AccessPoint { out_offset: at, in_offset: at, skip: 0, start: Start::Plain };
    Ok(points.map(point).collect())
}

fn sha256(digest: &[u8]) -> Result<[u8; 32], ZtocFault> {
    let text = std::str::from_utf8(digest).map_err(|_| ZtocFault::Digests)?;
    let digest: Digest = text.parse().map_err(|_| ZtocFault::Digests)?;
    match (digest.algorithm(), digest.as_bytes().try_into()) {
        (Algorithm::Sha256, Ok(bytes)) => Ok(bytes),
        _ => Err(ZtocFault::Digests),
    }
}
