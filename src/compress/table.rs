//! # Invariants
//!
//! - spans cover the uncompressed stream from 0 to `size` without gaps or overlaps; none is empty.
//! - points are sorted by `out_offset` and by `in_offset`; the first is at output 0. Those at one
//!   `in_offset` start at different places of what is decoded from there.
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

impl AccessPoint {
    /// Adds all that decoding from here depends on, the bytes of the window apart.
    pub(super) fn fingerprint_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.in_offset.to_le_bytes());
        hasher.update(&self.skip.to_le_bytes());
        let (kind, window) = match &self.start {
            Start::Plain => (0, None),
            Start::GzipMember => (1, None),
            Start::ZstdFrame => (2, None),
            Start::Deflate { bits, window } => (8 + bits, window.as_ref()),
        };
        hasher.update(&[kind, u8::from(window.is_some())]);
        if let Some(window) = window {
            hasher.update(&window.offset.to_le_bytes());
            hasher.update(&[window.part]);
        }
    }
}

/// What the digests of a table's spans are taken of, and by which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanDigest {
    /// BLAKE3 of a span's uncompressed bytes: of tables that are made here.
    Blake3,
    /// SHA-256 of a span's uncompressed bytes: the chunk digests of eStargz and zstd:chunked.
    Sha256,
    /// SHA-256 of the compressed bytes that [`SpanTable::compressed_range`] says: the span digests
    /// of SOCI. Every span has an access point of its own.
    ///
    /// What the bytes decode to depends on the access points and their windows as well, for which
    /// no digest of a span vouches: tables that differ in them are of different content.
    CompressedSha256 {
        /// The first 16 bytes of the BLAKE3 of the packed windows.
        windows: [u8; 16],
    },
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
    /// What vouches for it, as [`SpanTable::span_digest`] says.
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
    /// What the digests of the spans are taken of.
    pub span_digest: SpanDigest,
}

/// The SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
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
        Some(point.in_offset.saturating_sub(shared)..self.input_end(point))
    }

    /// Where in the blob the bytes end that decoding from `point` takes: at the next place where
    /// decoding can start.
    pub(super) fn input_end(&self, point: &AccessPoint) -> u64 {
        let next = self.points.partition_point(|p| p.in_offset <= point.in_offset);
        self.points.get(next).map_or(self.blob_size, |p| p.in_offset)
    }

    /// Whether the digests are of uncompressed bytes, so that they can be checked in a cache.
    pub fn vouches_for_output(&self) -> bool {
        !self.vouches_for_input()
    }

    /// Whether the digests are of compressed bytes, which are checked before they are decoded.
    pub(super) fn vouches_for_input(&self) -> bool {
        matches!(self.span_digest, SpanDigest::CompressedSha256 { .. })
            && self.codec != Codec::Plain
    }

    /// Whether `bytes`, uncompressed, are those of `span`; `None` where the table's digests say
    /// nothing of uncompressed bytes.
    pub fn vouches_for(&self, span: &Span, bytes: &[u8]) -> Option<bool> {
        match (self.span_digest, self.codec) {
            (SpanDigest::Blake3, _) => Some(blake3::hash(bytes) == span.digest),
            // Of a plain blob, compressed and uncompressed bytes are the same.
            (SpanDigest::Sha256, _) | (SpanDigest::CompressedSha256 { .. }, Codec::Plain) => {
                Some(sha256(bytes) == span.digest)
            }
            (SpanDigest::CompressedSha256 { .. }, Codec::Gzip | Codec::Zstd) => None,
        }
    }

    /// The largest distance in uncompressed bytes from an access point to the end of its last
    /// span: what is decoded at most to have one byte.
    pub fn longest_run(&self) -> u64 {
        let start = |point: u32| self.points.get(point as usize).map_or(0, |p| p.out_offset);
        let run = |s: &Span| (s.out_offset + u64::from(s.len)).saturating_sub(start(s.point));
        self.spans.iter().map(run).max().unwrap_or(0)
    }

    /// Where in the windows of the layer each packed group is, in order.
    pub fn window_groups(&self) -> impl Iterator<Item = std::ops::Range<u64>> + '_ {
        self.points.iter().filter_map(|point| match point.start {
            Start::Deflate { window: Some(Window { offset, len, part: 0 }), .. } => {
                Some(offset..offset + u64::from(len))
            }
            Start::Deflate { .. } | Start::Plain | Start::GzipMember | Start::ZstdFrame => None,
        })
    }

    /// Where in the windows of the layer all that decoding `spans` refers to is; `None` if that is
    /// nothing.
    pub(super) fn windows_of(&self, spans: std::ops::Range<u32>) -> Option<std::ops::Range<u64>> {
        let point = |span: u32| self.spans.get(span as usize).map(|span| span.point as usize);
        let (first, last) = (point(spans.start)?, point(spans.end.checked_sub(1)?)?);
        let points = self.points.get(first..last.checked_add(1)?)?;
        let windows = points.iter().filter_map(|point| match point.start {
            Start::Deflate { window, .. } => window,
            Start::Plain | Start::GzipMember | Start::ZstdFrame => None,
        });
        let ranges = windows.map(|w| w.offset..w.offset + u64::from(w.len));
        ranges.reduce(|all, next| all.start.min(next.start)..all.end.max(next.end))
    }

    /// The table of a blob that is not compressed, in pieces of these lengths and BLAKE3 digests.
    pub fn of_pieces(pieces: impl IntoIterator<Item = (u32, [u8; 32])>) -> Self {
        let (mut points, mut spans, mut size) = (Vec::new(), Vec::new(), 0);
        for (point, (len, digest)) in (0..).zip(pieces) {
            points.push(AccessPoint {
                out_offset: size,
                in_offset: size,
                skip: 0,
                start: Start::Plain,
            });
            spans.push(Span { out_offset: size, len, point, digest });
            size += u64::from(len);
        }
        Self {
            codec: Codec::Plain,
            blob_size: size,
            size,
            points,
            spans,
            windows_size: 0,
            span_digest: SpanDigest::Blake3,
        }
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
