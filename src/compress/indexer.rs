//! The making of a span table and its packed windows.

use super::cutter::{Head, Segment};
use super::seal::Sealer;
use super::stream::Entry;
use super::windows::{GROUP_SIZE, Group};
use super::{AccessPoint, Codec, DecodeError, Span, SpanDigest, SpanTable, Start, Window};

/// Makes a span table, of which the blob's size is missing, of segments.
pub(super) struct Indexer {
    sealer: Sealer,
    /// A buffer for the sealer.
    tail: Vec<u8>,
    table: SpanTable,
    /// The packed windows so far.
    windows: Vec<u8>,
    /// Those that are not packed yet, and which points they are of.
    group: Group,
    group_points: Vec<usize>,
}

impl Indexer {
    pub(super) fn new(codec: Codec) -> Result<Self, DecodeError> {
        Ok(Self {
            sealer: Sealer::new()?,
            tail: Vec::new(),
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
        })
    }

    /// Adds the span of `segment`, if it has one.
    pub(super) fn take(&mut self, segment: &mut Segment) -> Result<(), DecodeError> {
        let len = segment.output().len();
        if len == 0 {
            return Ok(());
        }
        let seal = match segment.seal.take() {
            Some(seal) => seal,
            None => self.sealer.seal(segment)?,
        };
        let mut tail = std::mem::take(&mut self.tail);
        self.sealer.tail_after(segment.output(), &mut tail);
        self.tail = self.sealer.go_on(tail);
        if let Some(head) = segment.head {
            self.add_point(head, &seal.window)?;
        }
        self.table.spans.push(Span {
            out_offset: self.table.size,
            len: u32::try_from(len).map_err(|_| DecodeError::NoSuchSpan)?,
            point: u32::try_from(self.table.points.len().saturating_sub(1))
                .map_err(|_| DecodeError::NoSuchSpan)?,
            digest: seal.digest,
        });
        self.table.size += len as u64;
        Ok(())
    }

    fn add_point(&mut self, head: Head, window: &[u8]) -> Result<(), DecodeError> {
        if !window.is_empty() {
            self.group.add(window);
            self.group_points.push(self.table.points.len());
        }
        let start = match head.entry {
            None => Start::Plain,
            Some(Entry::Member) => Start::GzipMember,
            Some(Entry::Frame) => Start::ZstdFrame,
            Some(Entry::Block { bits }) => Start::Deflate { bits, window: None },
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

    /// The table and its windows.
    pub(super) fn finish(mut self) -> Result<(SpanTable, Vec<u8>), DecodeError> {
        if self.group.len() > 0 {
            self.pack_group()?;
        }
        let (mut table, mut windows) = (self.table, self.windows);
        table.windows_size = windows.len() as u64;
        windows.shrink_to_fit();
        table.points.shrink_to_fit();
        table.spans.shrink_to_fit();
        Ok((table, windows))
    }
}
