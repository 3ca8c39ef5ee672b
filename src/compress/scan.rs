//! One pass over a blob, which gives its digests and its span table.
//!
//! Two threads share the work: the [cutter](super::cutter) decodes, the caller's thread takes the
//! digests of the streams, hands the bytes on and makes the table. Segments go from one to the other
//! through a bounded channel, and back to be used again. What can be computed of a span alone, its
//! [seal](super::seal), is made by the cutter where it would have to wait otherwise, and else by the
//! caller's thread, so that both are busy all the time. Whoever stops early drops its ends of the
//! channels, which stops the other.

use std::io;
use std::sync::mpsc::{channel, sync_channel};

use crate::digest::{Algorithm, DiffId, Digest};
use crate::error::{Classify, Kind};
use crate::io::ReadAt;

use super::cutter::{CutError, Cutter, Segment, cut};
use super::digests::Digests;
use super::indexer::Indexer;
use super::seal::Sealer;
use super::{DecodeError, SNIFF_LEN, SpanTable, sniff};

/// The usual span size in bytes.
pub const SPAN_SIZE: u32 = 256 << 10;
/// The smallest span size in bytes: a window must not reach over a whole span.
pub const SPAN_SIZE_MIN: u32 = 32 << 10;
/// The largest span size in bytes.
pub const SPAN_SIZE_MAX: u32 = 8 << 20;

/// How many segments wait between the two threads of a scan, so that neither has to sleep whenever
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
/// done, both in the caller's thread. A blob of no bytes is an empty stream.
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
    let broken = |source| ScanError::Decode { offset: 0, source };
    let mut digests = Digests::new(codec, options);
    let mut indexer = Indexer::new(codec).map_err(broken)?;
    let sealer = Sealer::new().map_err(broken)?;
    std::thread::scope(|scope| {
        let (segments, received) = sync_channel(SEGMENTS_WAITING);
        let (used, reused) = channel();
        let cutter = Cutter::new(blob, span_size, options.limit, sealer, segments, reused);
        let cutting = scope.spawn(move || cut(codec, cutter));
        let mut done = 0;
        let mut take = |segment: &mut Segment| {
            let broken = |source| ScanError::Decode { offset: done, source };
            digests.take(segment).map_err(broken)?;
            indexer.take(segment).map_err(broken)?;
            if !segment.output().is_empty() {
                sink(segment.output()).map_err(ScanError::Sink)?;
            }
            done += segment.blob_bytes(codec).len() as u64;
            progress(done);
            Ok(())
        };
        let taken = received.iter().try_for_each(|mut segment| {
            take(&mut segment)?;
            // The cutter may have ended; then nobody needs the buffers.
            let _ = used.send(segment);
            Ok(())
        });
        drop((received, used));
        let cut = cutting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        taken?;
        cut.map_err(|e| stopped(e, options))
    })?;
    let size = blob.size();
    let broken = |source| ScanError::Decode { offset: size, source };
    let (table, windows) = indexer.finish().map_err(broken)?;
    let (blob_digest, diff_id) = digests.finish();
    Ok(Scan { blob_digest, diff_id, table: SpanTable { blob_size: size, ..table }, windows })
}

/// Why a scan failed whose cutter did.
fn stopped<E>(error: CutError, options: &ScanOptions) -> ScanError<E> {
    match error {
        CutError::Read(offset, source) => ScanError::Read { offset, source },
        CutError::Decode(offset, source) => ScanError::Decode { offset, source },
        CutError::TooLarge => ScanError::TooLarge { limit: options.limit },
        CutError::Gone => {
            ScanError::Read { offset: 0, source: io::Error::other("the scan stopped half-way") }
        }
    }
}
