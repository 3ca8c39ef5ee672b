//! The bytes of a [`SpanTable`].
//!
//! Numbers are LEB128 of at most 64 bits unless said otherwise.
//!
//! ```text
//! codec and digests (1 byte)  digest of the windows (16 bytes, if the digests are of compressed bytes)
//! blob size  size  number of spans  size of the windows
//! each span:      length * 2 + (1 if a point is at its start)
//!                 if so: in_offset minus that of the point before, skip, kind (1 byte),
//!                        and for a deflate block its window
//!                 digest (32 bytes)
//! ```
//!
//! The first byte is 0 plain, 1 gzip, 2 zstd, and 16 times 0 BLAKE3, 1 SHA-256, 2 SHA-256 of compressed
//! bytes. A kind is 0 plain, 1 gzip member, 2 zstd frame, 8 to 15 a deflate block with 0 to 7 bits.
//! A window is 0 for none, 1 for the next part of the group of the last one, else 2 plus the length
//! of the group of which it is the first part. Groups lie one after the other.

use crate::error::{Classify, Kind};

use super::leb128::{self, NumberError, put};
use super::windows::GROUP_SIZE;
use super::{AccessPoint, Codec, Span, SpanDigest, SpanTable, Start, Window};

/// The longest span in bytes that a table may have: what a decoder of it holds in memory.
pub const SPAN_LEN_MAX: u32 = 16 << 20;
/// The longest packed group of windows in bytes.
pub const GROUP_LEN_MAX: u32 = 1 << 20;

/// The fewest bytes that a span takes.
const SPAN_RECORD_MIN: usize = 1 + DIGEST_SIZE;
const DIGEST_SIZE: usize = 32;

/// Why bytes are no span table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// They end too early.
    #[error("the span table is cut off")]
    Truncated,
    /// They go on behind the table.
    #[error("the span table is followed by other bytes")]
    Trailing,
    /// A number has more than 64 bits or leaves the range of its field.
    #[error("a number of the span table is out of range")]
    Range,
    /// A codec or kind of point that is not known, or not of this codec.
    #[error("the span table has an unknown or misplaced kind {0}")]
    Kind(u8),
    /// Spans, points or windows don't fit together.
    #[error("the span table contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl Classify for TableError {
    fn kind(&self) -> Kind {
        Kind::DataLoss
    }
}

impl SpanTable {
    /// The table as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.spans.len() * 48 + 64);
        out.push(codec_byte(self.codec) + 16 * digest_byte(self.span_digest));
        if let SpanDigest::CompressedSha256 { windows } = self.span_digest {
            out.extend_from_slice(&windows);
        }
        put(&mut out, self.blob_size);
        put(&mut out, self.size);
        put(&mut out, self.spans.len() as u64);
        put(&mut out, self.windows_size);
        let mut points = self.points.iter().peekable();
        let mut last_in = 0;
        for span in &self.spans {
            let point = points.next_if(|p| p.out_offset == span.out_offset);
            put(&mut out, u64::from(span.len) * 2 + u64::from(point.is_some()));
            if let Some(point) = point {
                put(&mut out, point.in_offset - last_in);
                last_in = point.in_offset;
                put_start(&mut out, point);
            }
            out.extend_from_slice(&span.digest);
        }
        out
    }

    /// The table that `bytes` hold, all of them.
    ///
    /// # Errors
    ///
    /// See [`TableError`]. A table that is returned keeps the invariants of its type, no span is
    /// longer than [`SPAN_LEN_MAX`] and no packed group of windows than [`GROUP_LEN_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TableError> {
        let mut input = Input(bytes);
        let head = input.byte()?;
        let codec = match head % 16 {
            0 => Codec::Plain,
            1 => Codec::Gzip,
            2 => Codec::Zstd,
            _ => return Err(TableError::Kind(head)),
        };
        let span_digest = match head / 16 {
            0 => SpanDigest::Blake3,
            1 => SpanDigest::Sha256,
            2 => SpanDigest::CompressedSha256 { windows: input.print()? },
            _ => return Err(TableError::Kind(head)),
        };
        let (blob_size, size) = (input.number()?, input.number()?);
        let (count, windows_size) = (input.number()?, input.number()?);
        let count = usize::try_from(count).map_err(|_| TableError::Range)?;
        if count > input.0.len() / SPAN_RECORD_MIN {
            return Err(TableError::Truncated);
        }
        let (points, spans) = (Vec::new(), Vec::with_capacity(count));
        let mut table = Self { codec, blob_size, size, points, spans, windows_size, span_digest };
        let mut reached = Reached::default();
        for _ in 0..count {
            reached = table.decode_span(&mut input, reached)?;
        }
        if matches!(span_digest, SpanDigest::CompressedSha256 { .. }) && table.points.len() != count
        {
            return Err(TableError::Inconsistent("a span has no access point of its own"));
        }
        if reached.output != size {
            return Err(TableError::Inconsistent("the spans don't add up to the size"));
        }
        if reached.windows != windows_size {
            return Err(TableError::Inconsistent("the windows don't add up"));
        }
        table.points.shrink_to_fit();
        match input.0 {
            [] => Ok(table),
            _ => Err(TableError::Trailing),
        }
    }

    fn decode_span(&mut self, input: &mut Input<'_>, at: Reached) -> Result<Reached, TableError> {
        let head = input.number()?;
        let len = u32::try_from(head / 2).map_err(|_| TableError::Range)?;
        if len == 0 || len > SPAN_LEN_MAX {
            return Err(TableError::Inconsistent("the length of a span"));
        }
        let mut next = at;
        if head % 2 == 1 {
            next = self.decode_point(input, at)?;
        }
        let point = self.points.len().checked_sub(1);
        let point = point.ok_or(TableError::Inconsistent("the first span has no point"))?;
        let digest = input.take(DIGEST_SIZE)?.try_into().map_err(|_| TableError::Truncated)?;
        let point = u32::try_from(point).map_err(|_| TableError::Range)?;
        self.spans.push(Span { out_offset: at.output, len, point, digest });
        next.output = at.output.checked_add(u64::from(len)).ok_or(TableError::Range)?;
        Ok(next)
    }

    fn decode_point(&mut self, input: &mut Input<'_>, at: Reached) -> Result<Reached, TableError> {
        let in_offset = at.input.checked_add(input.number()?).ok_or(TableError::Range)?;
        let skip = u32::try_from(input.number()?).map_err(|_| TableError::Range)?;
        let before = self.points.last();
        let is_new = before.is_none_or(|p| (p.in_offset, p.skip) < (in_offset, skip));
        if in_offset > self.blob_size || !is_new {
            return Err(TableError::Inconsistent("the place of a point"));
        }
        let kind = input.byte()?;
        let mut next = Reached { input: in_offset, ..at };
        let start = match (self.codec, kind) {
            (Codec::Plain, 0) => Start::Plain,
            (Codec::Gzip, 1) => Start::GzipMember,
            (Codec::Zstd, 2) => Start::ZstdFrame,
            (Codec::Gzip, 8..=15) => {
                let bits = kind - 8;
                if bits > 0 && in_offset == 0 {
                    return Err(TableError::Inconsistent("bits before the blob"));
                }
                let window = at.next_window(input.number()?)?;
                next.last_window = window.or(at.last_window);
                next.windows = window.map_or(at.windows, |w| w.offset + u64::from(w.len));
                Start::Deflate { bits, window }
            }
            (_, other) => return Err(TableError::Kind(other)),
        };
        self.points.push(AccessPoint { out_offset: at.output, in_offset, skip, start });
        Ok(next)
    }
}

/// How far decoding a table has come.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    /// The end of the spans so far.
    output: u64,
    /// The place of the last point in the blob.
    input: u64,
    /// The end of the groups of windows so far.
    windows: u64,
    /// The last window.
    last_window: Option<Window>,
}

impl Reached {
    /// The window that `code` stands for.
    fn next_window(&self, code: u64) -> Result<Option<Window>, TableError> {
        let Some(len) = code.checked_sub(2) else {
            let next = |w: Window| Window { part: w.part + 1, ..w };
            let next = self.last_window.map(next).filter(|w| usize::from(w.part) < GROUP_SIZE);
            let missing = TableError::Inconsistent("a window has no group");
            return if code == 0 { Ok(None) } else { next.map(Some).ok_or(missing) };
        };
        let len = u32::try_from(len).ok().filter(|len| (1..=GROUP_LEN_MAX).contains(len));
        let len = len.ok_or(TableError::Inconsistent("the length of a group of windows"))?;
        Ok(Some(Window { offset: self.windows, len, part: 0 }))
    }
}

impl From<NumberError> for TableError {
    fn from(e: NumberError) -> Self {
        match e {
            NumberError::Truncated => TableError::Truncated,
            NumberError::Range => TableError::Range,
        }
    }
}

fn codec_byte(codec: Codec) -> u8 {
    match codec {
        Codec::Plain => 0,
        Codec::Gzip => 1,
        Codec::Zstd => 2,
    }
}

fn digest_byte(digest: SpanDigest) -> u8 {
    match digest {
        SpanDigest::Blake3 => 0,
        SpanDigest::Sha256 => 1,
        SpanDigest::CompressedSha256 { .. } => 2,
    }
}

fn put_start(out: &mut Vec<u8>, point: &AccessPoint) {
    put(out, u64::from(point.skip));
    match &point.start {
        Start::Plain => out.push(0),
        Start::GzipMember => out.push(1),
        Start::ZstdFrame => out.push(2),
        Start::Deflate { bits, window } => {
            out.push(8 + bits);
            put(
                out,
                match window {
                    None => 0,
                    Some(Window { part: 1.., .. }) => 1,
                    Some(Window { len, .. }) => 2 + u64::from(*len),
                },
            );
        }
    }
}

/// What is left to decode.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], TableError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(TableError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, TableError> {
        self.take(1)?.first().copied().ok_or(TableError::Truncated)
    }

    fn print(&mut self) -> Result<[u8; 16], TableError> {
        self.take(16)?.try_into().map_err(|_| TableError::Truncated)
    }

    fn number(&mut self) -> Result<u64, TableError> {
        Ok(leb128::take(&mut self.0)?)
    }
}
