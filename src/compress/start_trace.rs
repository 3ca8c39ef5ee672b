//! What a start reads: the spans of one layer in the order in which they were wanted.
//!
//! ```text
//! "SFst"  version (1 byte)  table (16 bytes)  number of reads
//! each read:  first span minus the end of the read before, zigzag
//!             number of spans minus 1
//!             milliseconds since the read before
//! CRC-32C of all that (4 bytes, little endian)
//! ```
//!
//! Numbers are LEB128. A trace belongs to one span table: of another table of the same blob, whose
//! spans lie elsewhere, it says nothing.

use crate::error::{Classify, Kind};

use super::leb128::{self, NumberError, put};
use super::{SpanDigest, SpanTable};

const MAGIC: [u8; 4] = *b"SFst";
const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 4;

/// The most reads of a trace; what is wanted later than those is no matter of a start.
pub const TRACE_READS_MAX: usize = 1 << 16;

/// Spans that were wanted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracedRead {
    /// The first span.
    pub first: u32,
    /// How many spans, from that one on; never 0.
    pub count: u32,
    /// When, in milliseconds since the start of the trace.
    pub at: u32,
}

/// The spans of a layer that a start reads, each once, in the order in which it wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartTrace {
    table: [u8; 16],
    reads: Vec<TracedRead>,
}

/// Why bytes are no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// They do not start as one does.
    #[error("not a start-up trace")]
    Magic,
    /// They are of a version that is not known.
    #[error("start-up trace of version {0}")]
    Version(u8),
    /// They end too early.
    #[error("the start-up trace is cut off")]
    Truncated,
    /// They go on where they should end.
    #[error("the start-up trace holds bytes that belong to nothing")]
    Trailing,
    /// The checksum is wrong.
    #[error("checksum mismatch in the start-up trace")]
    Checksum,
    /// A number leaves the range of what it counts.
    #[error("a number of the start-up trace is out of range")]
    Range,
    /// More reads than [`TRACE_READS_MAX`].
    #[error("a start-up trace of {0} reads is too long")]
    TooLong(u64),
}

impl Classify for TraceError {
    fn kind(&self) -> Kind {
        match self {
            TraceError::Version(_) => Kind::FailedPrecondition,
            TraceError::TooLong(_) => Kind::ResourceExhausted,
            TraceError::Magic
            | TraceError::Truncated
            | TraceError::Trailing
            | TraceError::Checksum
            | TraceError::Range => Kind::DataLoss,
        }
    }
}

impl From<NumberError> for TraceError {
    fn from(e: NumberError) -> Self {
        match e {
            NumberError::Truncated => TraceError::Truncated,
            NumberError::Range => TraceError::Range,
        }
    }
}

impl SpanTable {
    /// The first 16 bytes of the BLAKE3 of where the spans lie and what their digests are, and of all
    /// else that their content depends on: what is
    /// kept beside a layer by span numbers is of the table with this fingerprint only.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        for span in &self.spans {
            hasher.update(&span.out_offset.to_le_bytes());
            hasher.update(&span.len.to_le_bytes());
            hasher.update(&span.digest);
        }
        if let SpanDigest::CompressedSha256 { windows } = self.span_digest {
            hasher.update(&windows);
            self.points.iter().for_each(|point| point.fingerprint_into(&mut hasher));
        }
        let mut print = [0; 16];
        print.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        print
    }
}

impl StartTrace {
    /// The trace of `wanted`: pairs of a span of `table` and when it was first wanted, in
    /// milliseconds. Spans that the table does not have are left out, and so is what comes after
    /// [`TRACE_READS_MAX`] reads.
    pub fn new(table: &SpanTable, wanted: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        // Neighbours that were wanted in the same moment make one read.
        wanted.sort_by_key(|&(span, at)| (at, span));
        let mut seen = std::collections::HashSet::new();
        let len = table.spans.len();
        let mut reads: Vec<TracedRead> = Vec::new();
        for (span, at) in wanted {
            if span as usize >= len || !seen.insert(span) {
                continue;
            }
            if let Some(last) = reads.last_mut()
                && (last.first + last.count, last.at) == (span, at)
            {
                last.count += 1;
            } else if reads.len() < TRACE_READS_MAX {
                reads.push(TracedRead { first: span, count: 1, at });
            }
        }
        Self { table: table.fingerprint(), reads }
    }

    /// The trace of all spans whose compressed bytes lie before `in_offset` of the blob: what
    /// eStargz puts before its landmark.
    pub fn before(table: &SpanTable, in_offset: u64) -> Self {
        let is_before =
            |span: u32| table.compressed_range(span).is_some_and(|range| range.end <= in_offset);
        let spans = 0..u32::try_from(table.spans.len()).unwrap_or(u32::MAX);
        Self::new(table, spans.filter(|&span| is_before(span)).map(|span| (span, 0)))
    }

    /// The reads, the first one first.
    pub fn reads(&self) -> &[TracedRead] {
        &self.reads
    }

    /// Each span with when it is wanted, the most urgent first.
    pub fn spans(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.reads.iter().flat_map(|r| (r.first..r.first + r.count).map(move |span| (span, r.at)))
    }

    /// Whether this is a trace of `table`, and names only spans that it has, no more than once on
    /// average.
    pub fn fits(&self, table: &SpanTable) -> bool {
        let len = table.spans.len() as u64;
        let inside = |r: &TracedRead| u64::from(r.first) + u64::from(r.count) <= len;
        let total: u64 = self.reads.iter().map(|r| u64::from(r.count)).sum();
        self.reads.iter().all(inside) && total <= len && self.table == table.fingerprint()
    }

    /// The trace as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.reads.len() * 6);
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.table);
        put(&mut out, self.reads.len() as u64);
        let (mut end, mut now) = (0_i64, 0_u32);
        for read in &self.reads {
            let step = i64::from(read.first) - end;
            put(&mut out, ((step << 1) ^ (step >> 63)).cast_unsigned());
            put(&mut out, u64::from(read.count - 1));
            put(&mut out, u64::from(read.at - now));
            end = i64::from(read.first) + i64::from(read.count);
            now = read.at;
        }
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The trace that `bytes` hold. Any bytes may be given.
    ///
    /// # Errors
    ///
    /// See [`TraceError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TraceError> {
        let head = bytes.get(..MAGIC.len() + 1).ok_or(TraceError::Truncated)?;
        if head[..MAGIC.len()] != MAGIC {
            return Err(TraceError::Magic);
        }
        if head[MAGIC.len()] != VERSION {
            return Err(TraceError::Version(head[MAGIC.len()]));
        }
        let body = bytes.len().checked_sub(CHECKSUM_LEN).ok_or(TraceError::Truncated)?;
        let (body, checksum) = bytes.split_at(body);
        if crc32c::crc32c(body).to_le_bytes() != *checksum {
            return Err(TraceError::Checksum);
        }
        let rest = body.get(head.len()..).ok_or(TraceError::Truncated)?;
        let (table, mut input) = rest.split_at_checked(16).ok_or(TraceError::Truncated)?;
        let mut trace = Self { table: [0; 16], reads: Vec::new() };
        trace.table.copy_from_slice(table);
        let count = leb128::take(&mut input)?;
        if count > TRACE_READS_MAX as u64 {
            return Err(TraceError::TooLong(count));
        }
        let (mut end, mut now) = (0_i64, 0_u32);
        for _ in 0..count {
            let read = decode_read(&mut input, end, now)?;
            (end, now) = (i64::from(read.first) + i64::from(read.count), read.at);
            trace.reads.push(read);
        }
        if input.is_empty() { Ok(trace) } else { Err(TraceError::Trailing) }
    }
}

fn decode_read(input: &mut &[u8], end: i64, now: u32) -> Result<TracedRead, TraceError> {
    let range = |_| TraceError::Range;
    let coded = leb128::take(input)?;
    let step = ((coded >> 1) ^ (coded & 1).wrapping_neg()).cast_signed();
    let first = end.checked_add(step).ok_or(TraceError::Range)?;
    let first = u32::try_from(first).map_err(range)?;
    let more = u32::try_from(leb128::take(input)?).map_err(range)?;
    let count = more.checked_add(1).ok_or(TraceError::Range)?;
    first.checked_add(count).ok_or(TraceError::Range)?;
    let wait = u32::try_from(leb128::take(input)?).map_err(range)?;
    let at = now.checked_add(wait).ok_or(TraceError::Range)?;
    Ok(TracedRead { first, count, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::{AccessPoint, Codec, Span, Start};

    fn table(size: u32) -> SpanTable {
        let places: Vec<u64> = (0..size / 1000).map(|i| u64::from(i) * 1000).collect();
        let digest = |at: u64| blake3::hash(&at.to_le_bytes()).into();
        let span = |(point, &at)| Span { out_offset: at, len: 1000, point, digest: digest(at) };
        let start = |&at: &u64| (at, at / 2);
        SpanTable {
            codec: Codec::Gzip,
            blob_size: u64::from(size) / 2,
            size: u64::from(size),
            points: places
                .iter()
                .map(start)
                .map(|(out_offset, in_offset)| AccessPoint {
                    out_offset,
                    in_offset,
                    skip: 0,
                    start: Start::GzipMember,
                })
                .collect(),
            spans: (0..).zip(&places).map(span).collect(),
            windows_size: 0,
            span_digest: crate::compress::SpanDigest::Blake3,
        }
    }

    #[test]
    fn spans_of_one_moment_are_one_read_in_order_of_time() {
        let table = table(30_000);
        let trace = StartTrace::new(&table, [(3, 20), (0, 5), (4, 20), (1, 5), (9, 0), (3, 90)]);
        let read = |first, count, at| TracedRead { first, count, at };
        assert_eq!(trace.reads(), [read(9, 1, 0), read(0, 2, 5), read(3, 2, 20)]);
        assert!(trace.fits(&table));
        let spans: Vec<_> = trace.spans().map(|(span, _)| span).collect();
        assert_eq!(spans, [9, 0, 1, 3, 4]);
    }

    #[test]
    fn a_trace_is_of_one_table_only() {
        let trace = StartTrace::new(&table(30_000), [(1, 1), (u32::MAX, 2)]);
        assert_eq!(trace.reads().len(), 1);
        assert!(!trace.fits(&table(20_000)));
    }

    #[test]
    fn what_lies_before_a_landmark_is_a_trace() {
        let table = table(30_000);
        let end = table.points[2].in_offset;
        assert_eq!(StartTrace::before(&table, end).spans().count(), 2);
        assert_eq!(StartTrace::before(&table, end - 1).spans().count(), 1);
        assert_eq!(StartTrace::before(&table, 0).spans().count(), 0);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let bytes = StartTrace::new(&table(30_000), (0..10).map(|i| (i * 2, i))).encode();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            assert!(StartTrace::decode(&bytes).is_err(), "{at}");
            assert!(StartTrace::decode(&bytes[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn tables_whose_content_may_differ_have_different_fingerprints() {
        let own = table(9000);
        let of = |windows| SpanTable {
            span_digest: SpanDigest::CompressedSha256 { windows },
            ..own.clone()
        };
        let foreign = of([1; 16]);
        assert_ne!(foreign.fingerprint(), own.fingerprint());
        assert_ne!(foreign.fingerprint(), of([2; 16]).fingerprint());
        let mut moved = foreign.clone();
        moved.points[1].in_offset += 1;
        assert_ne!(foreign.fingerprint(), moved.fingerprint());
        let mut bits = foreign.clone();
        bits.points[1].start = Start::Deflate { bits: 3, window: None };
        assert_ne!(foreign.fingerprint(), bits.fingerprint());
        assert_eq!(foreign.fingerprint(), of([1; 16]).fingerprint());
        assert_eq!(SpanTable::decode(&foreign.encode()).unwrap(), foreign);
    }

    proptest::proptest! {
        #[test]
        fn traces_round_trip(wanted: Vec<(u8, u32)>) {
            let wanted = wanted.into_iter().map(|(span, at)| (span.into(), at));
            let trace = StartTrace::new(&table(30_000), wanted);
            proptest::prop_assert_eq!(StartTrace::decode(&trace.encode()), Ok(trace));
        }

        #[test]
        fn any_bytes_are_refused_or_a_trace(mut bytes: Vec<u8>) {
            bytes.splice(0..0, *b"SFst\x01");
            let checksum = crc32c::crc32c(&bytes).to_le_bytes();
            bytes.extend(checksum);
            if let Ok(trace) = StartTrace::decode(&bytes) {
                proptest::prop_assert_eq!(StartTrace::decode(&trace.encode()), Ok(trace));
            }
        }
    }
}
