//! The first thread of a scan: decodes the blob once and cuts it into spans.
//!
//! What it cut goes through a bounded channel; buffers come back through another and are used again.
//! While the channel is full it seals what it cut.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use crate::io::ReadAt;
use crate::sys::inflate::{Stop, WINDOW_SIZE};

use super::seal::{Seal, Sealer};
use super::stream::{Entry, Stream};
use super::trailer::Trailer;
use super::{Codec, DecodeError};

/// How many blob bytes are read at once. Each call of the decoder costs a copy of its window, so
/// that small reads would be slower.
const READ_SIZE: usize = 256 << 10;

/// A span that is at most this many times the asked size long ends wherever it is.
const SPAN_SLACK: usize = 2;

/// How many compressed bytes of a span are held at most, beyond the span's own size.
const INPUT_SLACK: usize = 256 << 10;

/// Why cutting stopped early.
#[derive(Debug)]
pub(super) enum CutError {
    /// The blob could not be read at this offset.
    Read(u64, io::Error),
    /// The blob is broken near this offset.
    Decode(u64, DecodeError),
    /// There are more uncompressed bytes than allowed.
    TooLarge,
    /// The next thread has gone.
    Gone,
}

/// The place where a span starts, if decoding can start there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Where in the blob it is, in bytes.
    pub(super) in_offset: u64,
    /// What is there; `None` for plain bytes.
    pub(super) entry: Option<Entry>,
    /// The byte before it.
    pub(super) before: u8,
    /// How many bytes of output its member has before it, at most [`WINDOW_SIZE`].
    pub(super) history: usize,
}

/// One span, or compressed bytes without output.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// The point at its start; `None`: the span goes on under the point before.
    pub(super) head: Option<Head>,
    /// The compressed bytes.
    input: Vec<u8>,
    /// Whether `input` starts at `head`.
    pub(super) whole: bool,
    /// Room for the longest span, of which the first `filled` bytes are used.
    output: Vec<u8>,
    filled: usize,
    /// The gzip members that end in it: after how many bytes of output, and what their trailers say.
    pub(super) ends: Vec<(usize, Trailer)>,
    /// What is computed of it alone, if that is done.
    pub(super) seal: Option<Seal>,
}

impl Segment {
    /// The compressed bytes; none for a plain blob, whose output they are.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Those of the blob, whose codec is `codec`.
    pub(super) fn blob_bytes(&self, codec: Codec) -> &[u8] {
        match codec {
            Codec::Plain => self.output(),
            Codec::Gzip | Codec::Zstd => self.input(),
        }
    }

    /// The uncompressed bytes.
    pub(super) fn output(&self) -> &[u8] {
        &self.output[..self.filled]
    }
}

/// Cuts what a decoder gives into segments.
pub(super) struct Cutter<'a> {
    blob: &'a dyn ReadAt,
    span_size: usize,
    limit: u64,
    sealer: Sealer,
    segments: SyncSender<Segment>,
    used: Receiver<Segment>,
    current: Segment,
    /// What was read of the blob, of which the bytes from `taken` to `read` are not decoded yet.
    ahead: Vec<u8>,
    taken: usize,
    read: usize,
    /// Where in the blob the next read is.
    read_offset: u64,
    /// How many bytes of output there are, those of `current` included.
    out_offset: u64,
    /// Where in the output the member began.
    member_start: u64,
    /// The last decoded byte.
    before: u8,
    /// A buffer for the sealer.
    tail: Vec<u8>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(
        blob: &'a dyn ReadAt,
        span_size: usize,
        limit: u64,
        sealer: Sealer,
        segments: SyncSender<Segment>,
        used: Receiver<Segment>,
    ) -> Self {
        let current = Segment { whole: true, ..Segment::default() };
        let mut cutter = Self {
            blob,
            span_size,
            limit,
            sealer,
            segments,
            used,
            current,
            ahead: Vec::new(),
            taken: 0,
            read: 0,
            read_offset: 0,
            out_offset: 0,
            member_start: 0,
            before: 0,
            tail: Vec::new(),
        };
        cutter.make_room();
        cutter
    }

    /// Cuts a plain blob.
    pub(super) fn cut_plain(mut self) -> Result<(), CutError> {
        let size = self.blob.size();
        while self.read_offset < size {
            let left = usize::try_from(size - self.read_offset).unwrap_or(usize::MAX);
            let want = left.min(self.span_size);
            let head = Head { in_offset: self.read_offset, entry: None, before: 0, history: 0 };
            self.current.head = Some(head);
            self.blob
                .read_exact_at(&mut self.current.output[..want], self.read_offset)
                .map_err(|e| CutError::Read(self.read_offset, e))?;
            self.read_offset += want as u64;
            self.produced(want)?;
            self.cut(None)?;
        }
        Ok(())
    }

    /// Cuts a compressed blob.
    pub(super) fn cut_stream(mut self, stream: &mut dyn Stream) -> Result<(), CutError> {
        loop {
            let enough = self.enough_for_block();
            // Up to there block ends are of no use, and the decoder is faster without stops.
            let (stop, end) = match self.current.filled < enough {
                true => (Stop::Never, enough),
                false => (Stop::AtBlocks, self.current.output.len()),
            };
            let input = &self.ahead[self.taken..self.read];
            let output = &mut self.current.output[self.current.filled..end];
            let step = stream
                .step(input, output, stop)
                .map_err(|e| CutError::Decode(self.in_offset(), e))?;
            self.consumed(step.consumed);
            self.produced(step.produced)?;
            if let Some(trailer) = step.trailer {
                self.current.ends.push((self.current.filled, trailer));
            }
            if let Some(entry) = step.entry {
                self.offer(entry)?;
            } else if step.consumed == 0 && step.produced == 0 && !self.feed()? {
                if !stream.may_end() {
                    return Err(CutError::Decode(self.in_offset(), DecodeError::Truncated));
                }
                return self.finish();
            }
        }
    }

    /// Gives the decoder what it waits for; `false` at the end of the blob.
    fn feed(&mut self) -> Result<bool, CutError> {
        if self.current.filled == self.current.output.len() {
            self.cut(None)?;
            return Ok(true);
        }
        self.read()
    }

    /// Where in the blob the decoder is.
    fn in_offset(&self) -> u64 {
        self.read_offset - (self.read - self.taken) as u64
    }

    fn consumed(&mut self, n: usize) {
        let input = &self.ahead[self.taken..self.taken + n];
        self.current.input.extend_from_slice(input);
        self.before = input.last().copied().unwrap_or(self.before);
        self.taken += n;
    }

    fn produced(&mut self, n: usize) -> Result<(), CutError> {
        self.current.filled += n;
        self.out_offset += n as u64;
        if self.out_offset > self.limit {
            return Err(CutError::TooLarge);
        }
        Ok(())
    }

    /// Reads more of the blob; `false` at its end.
    fn read(&mut self) -> Result<bool, CutError> {
        if self.current.input.len() > self.current.output.len() + INPUT_SLACK {
            self.flush_input()?;
        }
        // A decoder may leave a few bytes until it sees what follows them.
        self.ahead.copy_within(self.taken..self.read, 0);
        (self.taken, self.read) = (0, self.read - self.taken);
        let left = self.blob.size().saturating_sub(self.read_offset);
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(READ_SIZE);
        let end = self.read + want;
        if self.ahead.len() < end {
            self.ahead.resize(end, 0);
        }
        self.blob
            .read_exact_at(&mut self.ahead[self.read..end], self.read_offset)
            .map_err(|e| CutError::Read(self.read_offset, e))?;
        self.read = end;
        self.read_offset += want as u64;
        Ok(want > 0)
    }

    /// Takes a place where decoding can start as the head of a span, if a span should start there.
    fn offer(&mut self, entry: Entry) -> Result<(), CutError> {
        if entry == Entry::Member {
            self.member_start = self.out_offset;
        }
        let history = self.out_offset - self.member_start;
        let head = Head {
            in_offset: self.in_offset(),
            entry: Some(entry),
            before: self.before,
            history: usize::try_from(history).unwrap_or(usize::MAX).min(WINDOW_SIZE),
        };
        // A point without a window costs next to nothing, so it is worth a shorter span.
        let enough = match entry {
            Entry::Member | Entry::Frame => self.span_size / 2,
            Entry::Block { .. } => self.enough_for_block(),
        };
        if self.current.filled >= enough {
            self.cut(Some(head))?;
        } else if self.current.filled == 0 {
            self.flush_input()?;
            self.current.head = Some(head);
            self.current.whole = true;
        }
        Ok(())
    }

    /// How long the span must be to end at a deflate block.
    ///
    /// One that started where it had to, without a point, ends at the first chance, so that the
    /// run under the point before stays short.
    fn enough_for_block(&self) -> usize {
        match self.current.head {
            Some(_) => self.span_size,
            None => 1,
        }
    }

    /// Sends decoded input on without output.
    fn flush_input(&mut self) -> Result<(), CutError> {
        if self.current.input.is_empty() {
            return Ok(());
        }
        let input = std::mem::take(&mut self.current.input);
        self.current.whole = false;
        // Members that end before any output are told with it; the others wait for theirs.
        let ends = match self.current.filled {
            0 => std::mem::take(&mut self.current.ends),
            _ => Vec::new(),
        };
        let segment = Segment { input, ends, ..Segment::default() };
        self.segments.send(segment).map_err(|_| CutError::Gone)
    }

    /// Ends the span and starts the next one at `head`.
    fn cut(&mut self, head: Option<Head>) -> Result<(), CutError> {
        let mut next = self.used.try_recv().unwrap_or_default();
        next.input.clear();
        next.ends.clear();
        next.head = head;
        next.whole = true;
        next.filled = 0;
        next.seal = None;
        let done = std::mem::replace(&mut self.current, next);
        self.make_room();
        self.send(done)
    }

    /// Sends a span on, and seals it where it would have to wait.
    fn send(&mut self, segment: Segment) -> Result<(), CutError> {
        let mut tail = std::mem::take(&mut self.tail);
        self.sealer.tail_after(segment.output(), &mut tail);
        let sent = match self.segments.try_send(segment) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(CutError::Gone),
            Err(TrySendError::Full(mut segment)) => {
                let seal = self.sealer.seal(&segment);
                segment.seal = Some(seal.map_err(|e| CutError::Decode(self.in_offset(), e))?);
                self.segments.send(segment).map_err(|_| CutError::Gone)
            }
        };
        self.tail = self.sealer.go_on(tail);
        sent
    }

    fn make_room(&mut self) {
        self.current.output.resize(self.span_size * SPAN_SLACK, 0);
    }

    /// Sends the last span, or what input has no output.
    fn finish(mut self) -> Result<(), CutError> {
        match self.current.filled {
            0 => self.flush_input(),
            _ => self.cut(None),
        }
    }
}

/// Cuts a blob of `codec` with `cutter`.
pub(super) fn cut(codec: Codec, cutter: Cutter<'_>) -> Result<(), CutError> {
    let failed = |e| CutError::Decode(0, e);
    match codec {
        Codec::Plain => cutter.cut_plain(),
        Codec::Gzip => {
            let mut stream = super::gzip::GzipStream::unchecked().map_err(failed)?;
            cutter.cut_stream(&mut stream)
        }
        Codec::Zstd => {
            let mut stream = super::zstd::ZstdStream::at_frame().map_err(failed)?;
            cutter.cut_stream(&mut stream)
        }
    }
}
