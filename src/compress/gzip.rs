use crate::sys::inflate::{At, Inflater, Stop, Wrapper};

use super::DecodeError;
use super::stream::{Entry, Step, Stream};
use super::trailer::{TRAILER_SIZE, Trailer};

/// The first byte of a member's header (RFC 1952, section 2.3.1).
const MEMBER_MAGIC: u8 = 0x1f;

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
    /// That of the members to come.
    wrapper: Wrapper,
    place: Place,
    /// The last bytes that were taken.
    last: [u8; TRAILER_SIZE],
}

impl GzipStream {
    /// From the header of a member on.
    pub(super) fn at_member() -> Result<Self, DecodeError> {
        Self::new(Wrapper::Gzip, Place::Between)
    }

    /// From the header of a member on. What the trailers say is not checked, but told.
    pub(super) fn unchecked() -> Result<Self, DecodeError> {
        Self::new(Wrapper::GzipUnchecked, Place::Between)
    }

    fn new(wrapper: Wrapper, place: Place) -> Result<Self, DecodeError> {
        let inflater = Inflater::new(wrapper)?;
        Ok(Self { inflater, wrapper, place, last: [0; TRAILER_SIZE] })
    }

    /// From a deflate block on, of which the top `bits` bits are in the byte `before` it.
    pub(super) fn at_block(bits: u8, before: u8, window: &[u8]) -> Result<Self, DecodeError> {
        let mut stream = Self::new(Wrapper::Raw, Place::Block)?;
        stream.inflater.prime(bits, before)?;
        stream.inflater.set_window(window)?;
        stream.wrapper = Wrapper::Gzip;
        Ok(stream)
    }

    /// What to do with the byte after a member.
    fn between(&mut self, next: u8) -> Result<Option<Entry>, DecodeError> {
        match next {
            MEMBER_MAGIC => {
                self.inflater.reset(self.wrapper)?;
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
        self.remember(&input[..step.consumed]);
        let (mut entry, mut trailer) = (None, None);
        match step.at {
            At::Inside => {}
            At::BlockStart { bits } => entry = Some(Entry::Block { bits }),
            At::End => {
                if self.wrapper == Wrapper::GzipUnchecked {
                    trailer = Some(Trailer::parse(self.last));
                }
                self.place = match self.place {
                    Place::Block => Place::Trailer(TRAILER_SIZE),
                    Place::Member | Place::Trailer(_) | Place::Between | Place::Padding => {
                        Place::Between
                    }
                };
            }
        }
        Ok(Step { consumed: step.consumed, produced: step.produced, entry, trailer })
    }

    /// Keeps the last bytes of what was taken.
    fn remember(&mut self, taken: &[u8]) {
        let taken = &taken[taken.len().saturating_sub(TRAILER_SIZE)..];
        self.last.rotate_left(taken.len());
        self.last[TRAILER_SIZE - taken.len()..].copy_from_slice(taken);
    }
}

impl Stream for GzipStream {
    fn step(&mut self, input: &[u8], output: &mut [u8], stop: Stop) -> Result<Step, DecodeError> {
        let skip = |consumed| Ok(Step { consumed, produced: 0, entry: None, trailer: None });
        match (self.place, input.first()) {
            (Place::Member | Place::Block, _) => self.inflate(input, output, stop),
            (Place::Trailer(left), _) => {
                let n = left.min(input.len());
                self.place = if n == left { Place::Between } else { Place::Trailer(left - n) };
                skip(n)
            }
            (Place::Between, Some(&next)) => match self.between(next)? {
                Some(entry) => {
                    Ok(Step { consumed: 0, produced: 0, entry: Some(entry), trailer: None })
                }
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
