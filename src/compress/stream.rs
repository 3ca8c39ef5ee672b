//! What the scan and the span decoder see of a codec: bytes in, bytes out, and the places where
//! decoding could start.

use crate::sys::inflate::Stop;

use super::DecodeError;
use super::trailer::Trailer;

/// A place where decoding can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Before the header of a gzip member.
    Member,
    /// Before a deflate block; `bits` bits of the byte before belong to it.
    Block {
        /// 0 to 7.
        bits: u8,
    },
    /// Before a zstd frame, a skippable one among them.
    Frame,
}

/// What a call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// How many bytes of the input were taken.
    pub(super) consumed: usize,
    /// How many bytes of the output were written.
    pub(super) produced: usize,
    /// Where it stopped, if that is a place where decoding can start.
    pub(super) entry: Option<Entry>,
    /// The trailer of the gzip member that has ended, if its check is left to the caller.
    pub(super) trailer: Option<Trailer>,
}

/// A decoder of a whole blob, or of the rest of one.
pub(super) trait Stream: Send {
    /// Decodes `input` into `output`. Nothing consumed, produced or entered means that more input
    /// or more room is needed.
    ///
    /// `stop` asks for deflate blocks as places to start; members and frames are always told.
    fn step(&mut self, input: &[u8], output: &mut [u8], stop: Stop) -> Result<Step, DecodeError>;

    /// Whether the blob may end here.
    fn may_end(&self) -> bool;
}
