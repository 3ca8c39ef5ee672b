//! # Invariants
//!
//! - spans cover the uncompressed stream from 0 to `size` without gaps or overlaps; none is empty.
//! - points are sorted by `out_offset` and by `in_offset`; the first is at output 0.
//! - a point's `out_offset` is the start of a span, and no two points have the same.
//! - the groups of windows lie one after the other, in the order of their points; a group's first
//!   window is part 0, and each next one is the next part.

/// How a layer blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    Plain,
    /// gzip (RFC 1952), one member or many.
    Gzip,
    /// Zstandard (RFC 8878), one frame or many.
    Zstd,
}

/// The state in which decoding starts at an access point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Plain bytes.
    Plain,
    /// The header of a gzip member.
    GzipMember,
    /// A deflate block inside a gzip member. Its first `bits` bits (0 to 7) are the upper bits of
    /// the byte before `in_offset`.
    Deflate {
        /// How many bits of the byte before belong to the block.
        bits: u8,
        /// Where the 32 KiB before the block are kept; `None` where it refers to nothing before it.
        window: Option<Window>,
    },
    /// The header of a zstd frame, skippable ones before it included.
    ZstdFrame,
}

/// Where the window of a deflate block is kept: packed, together with those of neighbouring points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where in the windows of the layer the packed group is, in bytes.
    pub offset: u64,
    /// The length of the packed group in bytes.
    pub len: u32,
    /// Which window of the group it is.
    pub part: u8,
}

/// A place in the blob where decoding can start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPoint {
    /// Where in the uncompressed stream it is, in bytes.
    pub out_offset: u64,
    /// Where in the blob it is, in bytes.
    pub in_offset: u64,
    /// How many decoded bytes come before `out_offset` and are dropped.
    pub skip: u32,
    /// The decoder's state there.
    pub start: Start,
}

/// A piece of the uncompressed stream that is verified and cached as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where in the uncompressed stream it starts, in bytes.
    pub out_offset: u64,
    /// Its length in bytes; never 0.
    pub len: u32,
    /// The access point it belongs to, as a place in [`SpanTable::points`].
    pub point: u32,
    /// BLAKE3 of its uncompressed bytes.
    pub digest: [u8; 32],
}

/// How to decode any part of a blob alone, given its windows. See the module for its invariants.
///
/// The windows are by far the larger part of what is known of a gzip blob, and one is needed only
/// when its span is decoded. So they are bytes of their own, which can stay on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanTable {
    /// The codec of the whole blob.
    pub codec: Codec,
    /// The size of the blob in bytes.
    pub blob_size: u64,
    /// The size of the uncompressed stream in bytes.
    pub size: u64,
    /// Where decoding can start.
    pub points: Vec<AccessPoint>,
    /// The pieces.
    pub spans: Vec<Span>,
    /// The size of the packed windows in bytes; they are kept apart.
    pub windows_size: u64,
}

impl SpanTable {
    /// The bytes of the blob that decoding span `span` reads at most, those of the spans before it
    /// under the same access point included; `None` if there is no such span.
    pub fn compressed_range(&self, span: u32) -> Option<std::ops::Range<u64>> {
        let span = self.spans.get(span as usize)?;
        let point = self.points.get(span.point as usize)?;
        let shared = match point.start {
            Start::Deflate { bits: 1.., .. } => 1,
            Start::Deflate { .. } | Start::Plain | Start::GzipMember | Start::ZstdFrame => 0,
        };
        let end = self.points.get(span.point as usize + 1).map_or(self.blob_size, |p| p.in_offset);
        Some(point.in_offset.saturating_sub(shared)..end)
    }

    /// The largest distance in uncompressed bytes from an access point to the end of its last
    /// span: what is decoded at most to have one byte.
    pub fn longest_run(&self) -> u64 {
        let start = |point: u32| self.points.get(point as usize).map_or(0, |p| p.out_offset);
        let run = |s: &Span| (s.out_offset + u64::from(s.len)).saturating_sub(start(s.point));
        self.spans.iter().map(run).max().unwrap_or(0)
    }

    /// The span that holds the byte at `offset` of the uncompressed stream.
    pub fn find(&self, offset: u64) -> Option<u32> {
        if offset >= self.size {
            return None;
        }
        let after = self.spans.partition_point(|s| s.out_offset <= offset);
        u32::try_from(after.checked_sub(1)?).ok()
    }
}
