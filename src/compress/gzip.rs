use crate::sys::inflate::{At, Inflater, Stop, Wrapper};

use super::DecodeError;
use super::stream::{Entry, Step, Stream};

/// The first byte of a member's header (RFC 1952, section 2.3.1).
const MEMBER_MAGIC: u8 = 0x1f;
/// CRC-32 and length behind the deflate stream of a member (RFC 1952, section 2.3).
const TRAILER_SIZE: usize = 8;

/// Where in the sequence of members the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Inside of a member that is read from its header on.
    Member,
    /// Inside of the deflate stream of a member that was entered at a block.
    Block,
    /// That many bytes before the end of its trailer.
    Trailer(usize),
    /// Before a member, or before the end.
    Between,
    /// In the zeros that may follow the last member, as tape blocks leave them.
    Padding,
}

/// A sequence of gzip members (RFC 1952, section 2.2), from a member or a deflate block on.
#[derive(Debug)]
pub(super) struct GzipStream {
    inflater: Inflater,
    place: Place,
}

impl GzipStream {
    /// From the header of a member on.
    pub(super) fn at_member() -> Result<Self, DecodeError> {
        Ok(Self { inflater: Inflater::new(Wrapper::Gzip)?, place: Place::Between })
    }

    /// From a deflate block on, of which the top `bits` bits are in the byte `before` it.
    pub(super) fn at_block(bits: u8, before: u8, window: &[u8]) -> Result<Self, DecodeError> {
        let mut inflater = Inflater::new(Wrapper::Raw)?;
        inflater.prime(bits, before)?;
        inflater.set_window(window)?;
        Ok(Self { inflater, place: Place::Block })
    }

    /// What to do with the byte after a member.
    fn between(&mut self, next: u8) -> Result<Option<Entry>, DecodeError> {
        match next {
            MEMBER_MAGIC => {
                self.inflater.reset(Wrapper::Gzip)?;
                self.place = Place::Member;
                Ok(Some(Entry::Member))
            }
            0 => {
                self.place = Place::Padding;
                Ok(None)
            }
            _ => Err(DecodeError::TrailingGarbage),
        }
    }

    fn inflate(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        stop: Stop,
    ) -> Result<Step, DecodeError> {
        let step = self.inflater.inflate(input, output, stop)?;
        let entry = match step.at {
            At::Inside => None,
            At::BlockStart { bits } => Some(Entry::Block { bits }),
            At::End => {
                self.place = match self.place {
                    Place::Block => Place::Trailer(TRAILER_SIZE),
                    Place::Member | Place::Trailer(_) | Place::Between | Place::Padding => {
                        Place::Between
                    }
                };
                None
            }
        };
        Ok(Step { consumed: step.consumed, produced: step.produced, entry })
    }
}

impl Stream for GzipStream {
    fn step(&mut self, input: &[u8], output: &mut [u8], stop: Stop) -> Result<Step, DecodeError> {
        let skip = |consumed| Ok(Step { consumed, produced: 0, entry: None });
        match (self.place, input.first()) {
            (Place::Member | Place::Block, _) => self.inflate(input, output, stop),
            (Place::Trailer(left), _) => {
                let n = left.min(input.len());
                self.place = if n == left { Place::Between } else { Place::Trailer(left - n) };
                skip(n)
            }
            (Place::Between, Some(&next)) => match self.between(next)? {
                Some(entry) => Ok(Step { consumed: 0, produced: 0, entry: Some(entry) }),
                None => skip(1),
            },
            (Place::Padding, Some(_)) => match input.iter().all(|b| *b == 0) {
                true => skip(input.len()),
                false => Err(DecodeError::TrailingGarbage),
            },
            (Place::Between | Place::Padding, None) => skip(0),
        }
    }

    fn may_end(&self) -> bool {
        matches!(self.place, Place::Between | Place::Padding)
    }
}
