use std::io;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use crate::digest::{Algorithm, DiffId, Digest, Hasher};
use crate::error::{Classify, Kind};
use crate::io::ReadAt;
use crate::sys::inflate::WINDOW_SIZE;

use super::cutter::{CutError, Cutter, Head, Segment, cut};
use super::stream::Entry;
use super::trace::{Block, Tracer};
use super::trailer::MemberSum;
use super::windows::{GROUP_SIZE, Group};
use super::{
    AccessPoint, Codec, DecodeError, SNIFF_LEN, Span, SpanDigest, SpanTable, Start, Window, sniff,
};

/// The usual span size in bytes.
pub const SPAN_SIZE: u32 = 256 << 10;
/// The smallest span size in bytes: a window must not reach over a whole span.
pub const SPAN_SIZE_MIN: u32 = 32 << 10;
/// The largest span size in bytes.
pub const SPAN_SIZE_MAX: u32 = 8 << 20;

/// How many segments wait between the two halves of a scan, so that neither has to sleep whenever
/// the other is late.
const SEGMENTS_WAITING: usize = 8;

/// How to scan a blob.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// About how many uncompressed bytes a span has; kept within [`SPAN_SIZE_MIN`] and
    /// [`SPAN_SIZE_MAX`]. A span is never longer than twice that.
    pub span_size: u32,
    /// How many uncompressed bytes there may be.
    pub limit: u64,
    /// How the blob is hashed.
    pub blob_algorithm: Algorithm,
    /// How the uncompressed stream is hashed.
    pub diff_algorithm: Algorithm,
}

/// What one pass over a blob gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The digest of the blob.
    pub blob_digest: Digest,
    /// The digest of the uncompressed stream.
    pub diff_id: DiffId,
    /// How to decode any part of it.
    pub table: SpanTable,
    /// The packed windows that the table refers to.
    pub windows: Vec<u8>,
}

/// Why a scan failed; `E` is what the receiver of the bytes answers.
#[derive(Debug, thiserror::Error)]
pub enum ScanError<E> {
    /// The blob could not be read.
    #[error("blob bytes at {offset}: {source}")]
    Read {
        /// Where in the blob, in bytes.
        offset: u64,
        /// What the reader answered.
        source: io::Error,
    },
    /// The blob is broken.
    #[error("blob bytes near {offset}: {source}")]
    Decode {
        /// Where in the blob the decoder was, in bytes.
        offset: u64,
        /// What the decoder says.
        source: DecodeError,
    },
    /// The uncompressed stream is longer than allowed.
    #[error("more than the allowed {limit} uncompressed bytes")]
    TooLarge {
        /// How many bytes are allowed.
        limit: u64,
    },
    /// The receiver of the uncompressed bytes refused them.
    #[error("{0}")]
    Sink(E),
}

impl<E: Classify> Classify for ScanError<E> {
    fn kind(&self) -> Kind {
        match self {
            ScanError::Read { source, .. } => Kind::of_io(source),
            ScanError::Decode { source, .. } => source.kind(),
            ScanError::TooLarge { .. } => Kind::ResourceExhausted,
            ScanError::Sink(e) => e.kind(),
        }
    }
}

/// Reads `blob` once, from start to end, and gives its digests and its span table.
///
/// `sink` is given the uncompressed bytes in order, `progress` the number of blob bytes that are
/// done. A blob of no bytes is an empty stream. Decoding runs in a thread of its own; hashing, the
/// check of gzip's checksums, the packing of windows and both callbacks in the caller's.
///
/// # Errors
///
/// See [`ScanError`]. `sink` may have seen the bytes before the fault.
pub fn scan<E>(
    blob: &dyn ReadAt,
    options: &ScanOptions,
    progress: &mut dyn FnMut(u64),
    sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<Scan, ScanError<E>> {
    let mut start = [0; SNIFF_LEN];
    let n = blob.read_at(&mut start, 0).map_err(|source| ScanError::Read { offset: 0, source })?;
    let codec = sniff(&start[..n]);
    let span_size = options.span_size.clamp(SPAN_SIZE_MIN, SPAN_SIZE_MAX) as usize;
    let mut indexer =
        Indexer::new(codec, options).map_err(|source| ScanError::Decode { offset: 0, source })?;
    std::thread::scope(|scope| {
        let (segments, received) = sync_channel(SEGMENTS_WAITING);
        let (used, reused) = channel();
        let cutter = Cutter::new(blob, span_size, options.limit, segments, reused);
        let cutting = scope.spawn(move || cut(codec, cutter));
        let indexed = indexer.take_all(&received, &used, progress, sink);
        drop((received, used));
        let cut = cutting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        indexed?;
        cut.map_err(|e| match e {
            CutError::Read(offset, source) => ScanError::Read { offset, source },
            CutError::Decode(offset, source) => ScanError::Decode { offset, source },
            CutError::TooLarge => ScanError::TooLarge { limit: options.limit },
            CutError::Gone => {
                ScanError::Read { offset: 0, source: io::Error::other("the scan stopped half-way") }
            }
        })
    })?;
    let size = blob.size();
    indexer.finish(size).map_err(|source| ScanError::Decode { offset: size, source })
}

/// The hashing half of a scan.
struct Indexer {
    blob: Hasher,
    /// `None` where it would be the same as `blob`: plain bytes, same algorithm.
    diff: Option<Hasher>,
    /// Of the gzip member under way.
    member: MemberSum,
    tracer: Tracer,
    table: SpanTable,
    /// The packed windows so far.
    windows: Vec<u8>,
    /// Those that are not packed yet, and which points they are of.
    group: Group,
    group_points: Vec<usize>,
    /// The last [`WINDOW_SIZE`] bytes of output.
    window: Vec<u8>,
}

impl Indexer {
    fn new(codec: Codec, options: &ScanOptions) -> Result<Self, DecodeError> {
        let same = codec == Codec::Plain && options.blob_algorithm == options.diff_algorithm;
        Ok(Self {
            blob: Hasher::new(options.blob_algorithm),
            diff: (!same).then(|| Hasher::new(options.diff_algorithm)),
            member: MemberSum::default(),
            tracer: Tracer::new()?,
            table: SpanTable {
                codec,
                blob_size: 0,
                size: 0,
                points: Vec::new(),
                spans: Vec::new(),
                windows_size: 0,
                span_digest: SpanDigest::Blake3,
            },
            windows: Vec::new(),
            group: Group::new()?,
            group_points: Vec::with_capacity(GROUP_SIZE),
            window: Vec::with_capacity(WINDOW_SIZE),
        })
    }

    fn take_all<E>(
        &mut self,
        segments: &Receiver<Segment>,
        used: &Sender<Segment>,
        progress: &mut dyn FnMut(u64),
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), ScanError<E>> {
        let mut done = 0;
        for segment in segments {
            self.take(&segment).map_err(|source| ScanError::Decode { offset: done, source })?;
            done += match self.table.codec {
                Codec::Plain => segment.output().len() as u64,
                Codec::Gzip | Codec::Zstd => segment.input().len() as u64,
            };
            if !segment.output().is_empty() {
                sink(segment.output()).map_err(ScanError::Sink)?;
            }
            progress(done);
            // The other half may have ended; then nobody needs the buffers.
            let _ = used.send(segment);
        }
        Ok(())
    }

    fn take(&mut self, segment: &Segment) -> Result<(), DecodeError> {
        let output = segment.output();
        self.blob.update(match self.table.codec {
            Codec::Plain => output,
            Codec::Gzip | Codec::Zstd => segment.input(),
        });
        if self.table.codec == Codec::Gzip {
            self.check_members(segment)?;
        }
        if output.is_empty() {
            return Ok(());
        }
        if let Some(diff) = &mut self.diff {
            diff.update(output);
        }
        if let Some(head) = segment.head {
            self.add_point(head, segment)?;
        }
        self.table.spans.push(Span {
            out_offset: self.table.size,
            len: u32::try_from(output.len()).map_err(|_| DecodeError::NoSuchSpan)?,
            point: u32::try_from(self.table.points.len().saturating_sub(1))
                .map_err(|_| DecodeError::NoSuchSpan)?,
            digest: blake3::hash(output).into(),
        });
        self.table.size += output.len() as u64;
        self.remember(output);
        Ok(())
    }

    /// Compares the members that end in `segment` with their trailers.
    fn check_members(&mut self, segment: &Segment) -> Result<(), DecodeError> {
        let mut start = 0;
        for (end, trailer) in &segment.ends {
            self.member.update(&segment.output()[start..*end]);
            self.member.end(*trailer)?;
            start = *end;
        }
        self.member.update(&segment.output()[start..]);
        Ok(())
    }

    fn add_point(&mut self, head: Head, segment: &Segment) -> Result<(), DecodeError> {
        let start = match head.entry {
            None => Start::Plain,
            Some(Entry::Member) => Start::GzipMember,
            Some(Entry::Frame) => Start::ZstdFrame,
            Some(Entry::Block { bits }) => {
                let block = Block {
                    bits,
                    before: head.before,
                    input: if segment.whole { segment.input() } else { &[] },
                    output: segment.output(),
                    window: &self.window[self.window.len().saturating_sub(head.history)..],
                };
                let window = self.tracer.trace(block)?;
                if !window.is_empty() {
                    self.group.add(window);
                    self.group_points.push(self.table.points.len());
                }
                Start::Deflate { bits, window: None }
            }
        };
        let (out_offset, in_offset) = (self.table.size, head.in_offset);
        self.table.points.push(AccessPoint { out_offset, in_offset, skip: 0, start });
        if self.group.len() == GROUP_SIZE {
            self.pack_group()?;
        }
        Ok(())
    }

    /// Packs the windows that wait for it, and tells their points where they are.
    fn pack_group(&mut self) -> Result<(), DecodeError> {
        let offset = self.windows.len() as u64;
        self.group.pack(&mut self.windows)?;
        let len = self.windows.len() as u64 - offset;
        let len = u32::try_from(len).map_err(|_| DecodeError::Window("it is too large"))?;
        for (point, part) in self.group_points.drain(..).zip(0..) {
            if let Start::Deflate { window, .. } = &mut self.table.points[point].start {
                *window = Some(Window { offset, len, part });
            }
        }
        Ok(())
    }

    /// Keeps the last [`WINDOW_SIZE`] bytes of output.
    fn remember(&mut self, output: &[u8]) {
        let tail = &output[output.len().saturating_sub(WINDOW_SIZE)..];
        let excess = (self.window.len() + tail.len()).saturating_sub(WINDOW_SIZE);
        self.window.drain(..excess);
        self.window.extend_from_slice(tail);
    }

    fn finish(mut self, blob_size: u64) -> Result<Scan, DecodeError> {
        if self.group.len() > 0 {
            self.pack_group()?;
        }
        let blob_digest = self.blob.finish();
        let diff_id = self.diff.map_or_else(|| blob_digest.clone(), Hasher::finish);
        let (mut table, mut windows) = (self.table, self.windows);
        table.blob_size = blob_size;
        table.windows_size = windows.len() as u64;
        windows.shrink_to_fit();
        table.points.shrink_to_fit();
        table.spans.shrink_to_fit();
        Ok(Scan { blob_digest, diff_id: DiffId::new(diff_id), table, windows })
    }
}
