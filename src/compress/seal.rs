//! What is computed of a span alone, by whichever thread of a scan has the time.

use crate::sys::inflate::WINDOW_SIZE;

use super::DecodeError;
use super::cutter::Segment;
use super::stream::Entry;
use super::trace::{Block, Tracer};

/// What vouches for a span, and what decoding it refers to.
#[derive(Debug)]
pub(super) struct Seal {
    /// BLAKE3 of the span.
    pub(super) digest: [u8; 32],
    /// The sparse window of the point at its start; empty if there is none.
    pub(super) window: Vec<u8>,
}

/// Seals segments; it must see them all, in order.
pub(super) struct Sealer {
    tracer: Tracer,
    /// The last [`WINDOW_SIZE`] bytes before the segment.
    window: Vec<u8>,
}

impl Sealer {
    pub(super) fn new() -> Result<Self, DecodeError> {
        Ok(Self { tracer: Tracer::new()?, window: Vec::with_capacity(WINDOW_SIZE) })
    }

    /// The seal of a segment that has output, and comes next.
    pub(super) fn seal(&mut self, segment: &Segment) -> Result<Seal, DecodeError> {
        let window = match segment.head.and_then(|head| Some((head, head.entry?))) {
            Some((head, Entry::Block { bits })) => {
                let block = Block {
                    bits,
                    before: head.before,
                    input: if segment.whole { segment.input() } else { &[] },
                    output: segment.output(),
                    window: &self.window[self.window.len().saturating_sub(head.history)..],
                };
                self.tracer.trace(block)?.to_vec()
            }
            Some((_, Entry::Member | Entry::Frame)) | None => Vec::new(),
        };
        Ok(Seal { digest: blake3::hash(segment.output()).into(), window })
    }

    /// Writes to `tail` the last [`WINDOW_SIZE`] bytes before what follows a segment with this
    /// `output`.
    pub(super) fn tail_after(&self, output: &[u8], tail: &mut Vec<u8>) {
        let end = &output[output.len().saturating_sub(WINDOW_SIZE)..];
        let excess = (self.window.len() + end.len()).saturating_sub(WINDOW_SIZE);
        tail.clear();
        tail.extend_from_slice(&self.window[excess..]);
        tail.extend_from_slice(end);
    }

    /// Goes on to the segment before which there is `tail`; returns a buffer for the next one.
    pub(super) fn go_on(&mut self, tail: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.window, tail)
    }
}
