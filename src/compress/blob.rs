use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::io::ReadAt;
use crate::sys::inflate::Stop;

use super::gzip::GzipStream;
use super::stream::Stream;
use super::table::sha256;
use super::windows::unpack;
use super::zstd::ZstdStream;
use super::{
    AccessPoint, DecodeError, Span, SpanDigest, SpanError, SpanSource, SpanTable, Start, Window,
};

/// How many compressed bytes are read at once.
const READ_SIZE: usize = 64 << 10;
/// The most compressed bytes of a span that are verified as a whole.
const INPUT_LEN_MAX: usize = 64 << 20;
/// The most compressed bytes that are read at once for a run of spans.
const RUN_LEN_MAX: u64 = 8 << 20;

/// Spans decoded from a blob and its table.
///
/// Where several spans share an access point, the decoder is kept where it stopped, so that reading
/// them in order decodes each just once. There is one such decoder at most, and none after the last
/// span of a point.
pub struct BlobSpans<R> {
    table: Arc<SpanTable>,
    windows: Arc<dyn ReadAt>,
    blob: R,
    // Never held over reading or decoding.
    parked: Mutex<Option<Run>>,
}

impl<R> std::fmt::Debug for BlobSpans<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobSpans").field("spans", &self.table.spans.len()).finish_non_exhaustive()
    }
}

impl<R: ReadAt> BlobSpans<R> {
    /// The spans that `table` describes of `blob`; `windows` are what its points refer to.
    ///
    /// Neither is trusted: a span that comes out other than its digest says is an error.
    pub fn new(table: impl Into<Arc<SpanTable>>, windows: Arc<dyn ReadAt>, blob: R) -> Self {
        Self { table: table.into(), windows, blob, parked: Mutex::new(None) }
    }

    fn decode(
        &self,
        target: u32,
        sink: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<(), (u32, SpanFault)> {
        let spans = &self.table.spans;
        let wanted = spans.get(target as usize).ok_or((target, DecodeError::NoSuchSpan.into()))?;
        let mut run = match self.unpark(wanted.point, target) {
            Some(run) => run,
            None => self.start(wanted.point).map_err(|e| (target, e))?,
        };
        let mut buffer = Vec::new();
        while run.next <= target {
            let (number, span) = (run.next, &spans[run.next as usize]);
            buffer.resize(span.len as usize, 0);
            run.fill(&mut buffer, &self.blob).map_err(|e| (number, e))?;
            verify(&self.table, span, &buffer).map_err(|e| (number, e))?;
            run.next += 1;
            sink(number, &buffer);
        }
        if spans.get(run.next as usize).is_some_and(|next| next.point == run.point) {
            *self.parked.lock() = Some(run);
        }
        Ok(())
    }

    /// The parked decoder, if it is on its way to `target`.
    fn unpark(&self, point: u32, target: u32) -> Option<Run> {
        self.parked.lock().take_if(|run| run.point == point && run.next <= target)
    }

    /// A decoder at the start of `point`.
    fn start(&self, point: u32) -> Result<Run, SpanFault> {
        let at = self.table.points.get(point as usize).ok_or(DecodeError::WrongPoint)?;
        let next = self.table.spans.partition_point(|s| s.point < point);
        let next = u32::try_from(next).map_err(|_| DecodeError::NoSuchSpan)?;
        let mut range = at.in_offset..self.table.input_end(at);
        let (mut input, mut before) = (Vec::new(), None);
        if self.table.vouches_for_input() {
            let whole = self.verified_input(next)?;
            let shared = whole.len() - usize::try_from(range.end - range.start).unwrap_or(0);
            (before, input) = (whole[..shared].last().copied(), whole[shared..].to_vec());
            range.start = range.end;
        } else if matches!(at.start, Start::Deflate { bits: 1.., .. }) {
            let offset = at.in_offset.checked_sub(1).ok_or(DecodeError::WrongPoint)?;
            let mut byte = [0];
            self.blob
                .read_exact_at(&mut byte, offset)
                .map_err(|source| SpanFault::Read { offset, source })?;
            before = Some(byte[0]);
        }
        let stream = open(at, &*self.windows, before.unwrap_or(0))?;
        let mut run = Run { point, next, stream, input, taken: 0, range };
        run.skip(at.skip, &self.blob)?;
        Ok(run)
    }

    /// The compressed bytes of `span`, which match its digest.
    fn verified_input(&self, span: u32) -> Result<Vec<u8>, SpanFault> {
        let range = self.table.compressed_range(span).ok_or(DecodeError::NoSuchSpan)?;
        let digest = self.table.spans[span as usize].digest;
        let len = usize::try_from(range.end - range.start).ok();
        let len = len.filter(|&len| len <= INPUT_LEN_MAX).ok_or(DecodeError::InputTooLong)?;
        let mut bytes = vec![0; len];
        self.blob
            .read_exact_at(&mut bytes, range.start)
            .map_err(|source| SpanFault::Read { offset: range.start, source })?;
        let found = sha256(&bytes);
        if found == digest { Ok(bytes) } else { Err(mismatch("sha256", digest, found)) }
    }
}

impl<R: ReadAt> SpanSource for BlobSpans<R> {
    fn table(&self) -> &SpanTable {
        &self.table
    }

    fn read_span(&self, span: u32, sink: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError> {
        self.decode(span, sink).map_err(|(span, fault)| match fault {
            SpanFault::Read { offset, source } => SpanError::Read { offset, source },
            SpanFault::ReadWindow { offset, source } => SpanError::ReadWindow { offset, source },
            SpanFault::Decode(source) => SpanError::Decode { span, source },
            SpanFault::Mismatch { expected, found } => {
                SpanError::Mismatch { span, expected, found }
            }
        })
    }

    fn read_run(
        &self,
        spans: Range<u32>,
        sink: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<(), SpanError> {
        let last = spans.end.saturating_sub(1).max(spans.start);
        let ends = (self.table.compressed_range(spans.start), self.table.compressed_range(last));
        if let (Some(first), Some(last)) = ends
            && let Some(len) = last.end.checked_sub(first.start).filter(|len| *len <= RUN_LEN_MAX)
            && let Ok(len) = usize::try_from(len)
        {
            let offset = first.start;
            // Where windows are far away, they come beside what they are for.
            if let Some(windows) = self.table.windows_of(spans.clone()) {
                self.windows.expect(windows.start, windows.end - windows.start);
            }
            let mut bytes = vec![0; len];
            let read = self.blob.read_exact_at(&mut bytes, offset);
            read.map_err(|source| SpanError::Read { offset, source })?;
            let fetched = Fetched { size: self.blob.size(), offset, bytes };
            let part = BlobSpans::new(self.table.clone(), self.windows.clone(), fetched);
            return InOrder(&part).read_run(spans, sink);
        }
        InOrder(self).read_run(spans, sink)
    }
}

/// A source whose runs are read span by span.
struct InOrder<'a, R>(&'a BlobSpans<R>);

impl<R: ReadAt> SpanSource for InOrder<'_, R> {
    fn table(&self) -> &SpanTable {
        &self.0.table
    }

    fn read_span(&self, span: u32, sink: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError> {
        self.0.read_span(span, sink)
    }
}

/// Part of a blob that was read before.
struct Fetched {
    size: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl ReadAt for Fetched {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let outside = || std::io::Error::other("outside of what was fetched");
        let start = offset.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        let end = start.and_then(|start| start.checked_add(buf.len()));
        let part = start.zip(end).and_then(|(start, end)| self.bytes.get(start..end));
        buf.copy_from_slice(part.ok_or_else(outside)?);
        Ok(buf.len())
    }
}

/// A [`SpanError`] that doesn't know its span.
#[derive(Debug)]
enum SpanFault {
    Read { offset: u64, source: std::io::Error },
    ReadWindow { offset: u64, source: std::io::Error },
    Decode(DecodeError),
    Mismatch { expected: String, found: String },
}

impl From<DecodeError> for SpanFault {
    fn from(e: DecodeError) -> Self {
        SpanFault::Decode(e)
    }
}

fn verify(table: &SpanTable, span: &Span, bytes: &[u8]) -> Result<(), SpanFault> {
    match table.vouches_for(span, bytes) {
        // Where nothing is said of them, they come from input that was verified.
        Some(true) | None => Ok(()),
        Some(false) => Err(match table.span_digest {
            SpanDigest::Blake3 => mismatch("blake3", span.digest, blake3::hash(bytes).into()),
            SpanDigest::Sha256 | SpanDigest::CompressedSha256 { .. } => {
                mismatch("sha256", span.digest, sha256(bytes))
            }
        }),
    }
}

fn mismatch(function: &str, expected: [u8; 32], found: [u8; 32]) -> SpanFault {
    let text = |digest| format!("{function}:{}", hex::encode::<[u8; 32]>(digest));
    SpanFault::Mismatch { expected: text(expected), found: text(found) }
}

/// A decoder on its way through the spans of one access point.
struct Run {
    /// The point.
    point: u32,
    /// The span that comes next.
    next: u32,
    /// `None` for plain bytes.
    stream: Option<Box<dyn Stream>>,
    /// Compressed bytes that were read, of which the first `taken` are decoded.
    input: Vec<u8>,
    taken: usize,
    /// What is left to read.
    range: Range<u64>,
}

impl Run {
    /// Passes over `n` decoded bytes.
    fn skip(&mut self, n: u32, blob: &dyn ReadAt) -> Result<(), SpanFault> {
        let mut left = n as usize;
        let mut scrap = vec![0; left.min(READ_SIZE)];
        while left > 0 {
            let n = left.min(scrap.len());
            self.fill(&mut scrap[..n], blob)?;
            left -= n;
        }
        Ok(())
    }

    /// Decodes the next `out.len()` bytes.
    fn fill(&mut self, out: &mut [u8], blob: &dyn ReadAt) -> Result<(), SpanFault> {
        let Some(stream) = &mut self.stream else {
            let offset = self.range.start;
            self.range.start += out.len() as u64;
            return blob
                .read_exact_at(out, offset)
                .map_err(|source| SpanFault::Read { offset, source });
        };
        let mut done = 0;
        while done < out.len() {
            let step = stream.step(&self.input[self.taken..], &mut out[done..], Stop::Never)?;
            self.taken += step.consumed;
            done += step.produced;
            let idle = step.consumed == 0 && step.produced == 0 && step.entry.is_none();
            if idle && !read_more(&mut self.input, &mut self.taken, &mut self.range, blob)? {
                return Err(DecodeError::Truncated.into());
            }
        }
        Ok(())
    }
}

/// Reads the next compressed bytes behind those that are left; `false` at the end of the range.
fn read_more(
    input: &mut Vec<u8>,
    taken: &mut usize,
    range: &mut Range<u64>,
    blob: &dyn ReadAt,
) -> Result<bool, SpanFault> {
    input.drain(..*taken);
    *taken = 0;
    let left = range.end.saturating_sub(range.start);
    let want = usize::try_from(left).unwrap_or(usize::MAX).min(READ_SIZE);
    let (offset, kept) = (range.start, input.len());
    input.resize(kept + want, 0);
    blob.read_exact_at(&mut input[kept..], offset)
        .map_err(|source| SpanFault::Read { offset, source })?;
    range.start += want as u64;
    Ok(want > 0)
}

/// The decoder that starts at `point`; `before` is the byte before it.
fn open(
    point: &AccessPoint,
    windows: &dyn ReadAt,
    before: u8,
) -> Result<Option<Box<dyn Stream>>, SpanFault> {
    Ok(match &point.start {
        Start::Plain => None,
        Start::GzipMember => Some(Box::new(GzipStream::at_member()?)),
        Start::ZstdFrame => Some(Box::new(ZstdStream::at_frame()?)),
        Start::Deflate { bits, window } => {
            let window = window.map(|w| read_window(w, windows)).transpose()?.unwrap_or_default();
            Some(Box::new(GzipStream::at_block(*bits, before, &window)?))
        }
    })
}

fn read_window(window: Window, windows: &dyn ReadAt) -> Result<Vec<u8>, SpanFault> {
    let mut group = vec![0; window.len as usize];
    windows
        .read_exact_at(&mut group, window.offset)
        .map_err(|source| SpanFault::ReadWindow { offset: window.offset, source })?;
    Ok(unpack(&group, window.part)?)
}
