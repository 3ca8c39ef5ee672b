//! The access points of a gzip layer in a zTOC.
//!
//! ```text
//! number of points n, i32; span size, i64; n times: in, i64; out, i64; bits, u8; 32 KiB of window
//! ```
//!
//! An older version leaves out the first point. All numbers are little-endian.

use super::super::ZtocFault;

/// The size of a window in bytes.
const WINDOW: usize = 32 << 10;
/// The size of a point in bytes.
const POINT: usize = 17 + WINDOW;
/// The size of what stands before the points, in bytes.
const HEADER: usize = 12;
/// Where the older version takes the deflate stream to start: behind a header without extras.
const OLD_START: u64 = 10;

/// A point where inflating can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint<'a> {
    pub(super) in_offset: u64,
    pub(super) out_offset: u64,
    /// How many bits of the byte before `in_offset` belong to the block there: 0 to 7.
    pub(super) bits: u8,
    /// The 32 KiB of output before it; empty at the start.
    pub(super) window: &'a [u8],
}

/// The points in `bytes`, of a layer of the given sizes, in order. The last ones may lie behind the end
/// of the archive, whose padding its size leaves out.
pub(super) fn checkpoints(
    bytes: &[u8],
    compressed_size: u64,
    uncompressed_size: u64,
) -> Result<Vec<Checkpoint<'_>>, ZtocFault> {
    let (header, records) = bytes.split_at_checked(HEADER).ok_or(ZtocFault::Checkpoints)?;
    let count = header.first_chunk().map(|n| i32::from_le_bytes(*n));
    let count = count.and_then(|n| usize::try_from(n).ok()).ok_or(ZtocFault::Checkpoints)?;
    let (records, rest) = records.as_chunks::<POINT>();
    let mut points = Vec::new();
    match records.len() {
        n if n == count && n > 0 => {}
        n if n + 1 == count => {
            points.push(Checkpoint { in_offset: OLD_START, out_offset: 0, bits: 0, window: &[] });
        }
        _ => return Err(ZtocFault::Checkpoints),
    }
    if !rest.is_empty() {
        return Err(ZtocFault::Checkpoints);
    }
    for record in records {
        points.push(checkpoint(record)?);
    }
    let in_order = points.windows(2).all(|pair| {
        pair[0].out_offset < pair[1].out_offset && pair[0].in_offset < pair[1].in_offset
    });
    let starts = points.first().is_some_and(|point| point.out_offset == 0 && point.bits == 0);
    let ends = points.last().is_some_and(|point| point.in_offset < compressed_size)
        && points.first().is_some_and(|point| point.out_offset < uncompressed_size);
    if in_order && starts && ends { Ok(points) } else { Err(ZtocFault::Order) }
}

fn checkpoint(record: &[u8; POINT]) -> Result<Checkpoint<'_>, ZtocFault> {
    let number = |at: usize| {
        let bytes = record[at..].first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
        bytes.and_then(|n| u64::try_from(n).ok()).ok_or(ZtocFault::Order)
    };
    let (in_offset, out_offset, bits) = (number(0)?, number(8)?, record[16]);
    if bits > 7 {
        return Err(ZtocFault::Order);
    }
    let window = if out_offset == 0 { &[][..] } else { &record[17..] };
    Ok(Checkpoint { in_offset, out_offset, bits, window })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: i32, points: &[(i64, i64, u8)]) -> Vec<u8> {
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend(1000_i64.to_le_bytes());
        for (in_offset, out_offset, bits) in points {
            bytes.extend(in_offset.to_le_bytes());
            bytes.extend(out_offset.to_le_bytes());
            bytes.push(*bits);
            bytes.extend([7; WINDOW]);
        }
        bytes
    }

    #[test]
    fn both_versions_are_told_by_their_length() {
        let points = [(23, 0, 0), (500, 1000, 3)];
        let new = bytes(2, &points);
        let new = checkpoints(&new, 900, 2000).unwrap();
        assert_eq!((new[0].in_offset, new[0].window.len()), (23, 0));
        assert_eq!((new[1].bits, new[1].window), (3, &[7; WINDOW][..]));
        let old = bytes(2, &points[1..]);
        let old = checkpoints(&old, 900, 2000).unwrap();
        assert_eq!((old.len(), old[0].in_offset, old[1]), (2, 10, new[1]));
    }

    #[test]
    fn points_out_of_order_or_range_are_refused() {
        for points in [
            &[(23, 0, 0), (20, 1000, 0)][..],
            &[(23, 0, 0), (500, 0, 0)],
            &[(23, 1, 0)],
            &[(23, 0, 1)],
            &[(23, 0, 0), (500, 1000, 8)],
            &[(23, 0, 0), (900, 1000, 0)],
            &[(-1, 0, 0)],
        ] {
            let bytes = bytes(i32::try_from(points.len()).unwrap(), points);
            let fault = checkpoints(&bytes, 900, 2000).err();
            assert_eq!(fault, Some(ZtocFault::Order), "{points:?}");
        }
    }

    #[test]
    fn points_in_the_padding_behind_the_archive_are_allowed() {
        let bytes = bytes(2, &[(23, 0, 0), (500, 2000, 0)]);
        assert_eq!(checkpoints(&bytes, 900, 2000).map(|points| points.len()), Ok(2));
    }

    #[test]
    fn other_lengths_are_refused() {
        let good = bytes(1, &[(10, 0, 0)]);
        for count in [-1, 0, 3, i32::MAX] {
            let bytes = bytes(count, &[(10, 0, 0)]);
            assert_eq!(checkpoints(&bytes, 900, 2000), Err(ZtocFault::Checkpoints), "{count}");
        }
        for len in [0, 11, 13, good.len() - 1] {
            assert_eq!(checkpoints(&good[..len], 900, 2000), Err(ZtocFault::Checkpoints), "{len}");
        }
    }
}
