//! Which spans are soon wanted, by which were: read-ahead that grows with sequential access.

use std::ops::Range;

/// How many places of a layer can be read in order at the same time.
const STREAMS: usize = 8;
/// How many spans in a row make a sequence.
pub(super) const SEQUENCE: u32 = 3;
/// The first step ahead, in spans; it doubles up to [`LAST_STEP`].
const FIRST_STEP: u32 = 2;
/// The longest step ahead, in spans.
const LAST_STEP: u32 = 64;

/// A place that is read in order.
#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    /// Where it began.
    began: u32,
    /// The span that comes next.
    next: u32,
    /// How many came in a row.
    len: u32,
    /// What was asked for ends here.
    ahead: u32,
    step: u32,
}

/// What to fetch ahead of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The span that the sequence began with.
    pub(super) began: u32,
    /// What comes next.
    pub(super) spans: Range<u32>,
}

/// The places of one layer that are read in order, the one used last first.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<Stream>);

impl Streams {
    /// Notes that `span` is wanted for the first time, of a layer of `len` spans; says what to
    /// fetch ahead, if anything. `end_of` says where a step ends at most.
    pub(super) fn wanted(
        &mut self,
        span: u32,
        len: u32,
        end_of: impl FnOnce(&Step) -> u32,
    ) -> Option<Range<u32>> {
        // One that is passed over is no end of a sequence: it may be another file's.
        let follows = |s: &Stream| span == s.next || span == s.next.saturating_add(1);
        let found = self.0.iter().position(follows);
        let mut stream = match found {
            Some(at) => self.0.remove(at),
            None => Stream {
                began: span,
                ahead: span.saturating_add(1),
                step: FIRST_STEP,
                ..Stream::default()
            },
        };
        stream.next = span.saturating_add(1);
        stream.len = stream.len.saturating_add(1);
        let spans = stream.advance(len, end_of);
        self.0.truncate(STREAMS - 1);
        self.0.insert(0, stream);
        spans
    }
}

impl Stream {
    /// The next step, once half of the last one is used up.
    fn advance(&mut self, len: u32, end_of: impl FnOnce(&Step) -> u32) -> Option<Range<u32>> {
        let left = self.ahead.saturating_sub(self.next);
        if self.len < SEQUENCE || left > self.step / 4 {
            return None;
        }
        let start = self.ahead.max(self.next);
        let spans = start..start.saturating_add(self.step).min(len);
        let step = Step { began: self.began, spans };
        let end = end_of(&step).min(step.spans.end);
        if start >= end {
            return None;
        }
        self.ahead = end;
        self.step = (self.step * 2).min(LAST_STEP);
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_run_ahead_of_in_growing_steps_up_to_the_end() {
        let mut streams = Streams::default();
        let mut fetched: Vec<u32> = Vec::new();
        let mut steps = Vec::new();
        for span in 0..1000 {
            if span > 4 {
                assert!(fetched.contains(&span), "{span} is not ahead");
            }
            let unbounded = |step: &Step| {
                assert_eq!(step.began, 0);
                u32::MAX
            };
            if let Some(spans) = streams.wanted(span, 1000, unbounded) {
                steps.push(spans.len());
                fetched.extend(spans);
            }
        }
        assert_eq!(fetched, (3..1000).collect::<Vec<_>>());
        assert_eq!(steps[..6], [2, 4, 8, 16, 32, 64]);
        assert!(steps[6..steps.len() - 1].iter().all(|step| *step == 64));
    }

    #[test]
    fn a_sequence_that_goes_on_after_its_bound_is_run_ahead_of_again() {
        let mut streams = Streams::default();
        let mut fetched = Vec::new();
        for span in 0..60 {
            let bound = |step: &Step| match span {
                0..40 => 40,
                40..43 => step.spans.start,
                _ => u32::MAX,
            };
            fetched.extend(streams.wanted(span, 1000, bound).into_iter().flatten());
        }
        assert_eq!(fetched[..38], (3..40).chain(44..45).collect::<Vec<_>>());
        assert!((44..60).all(|span| fetched.contains(&span)), "{fetched:?}");
    }

    #[test]
    fn places_here_and_there_bring_nothing() {
        let mut streams = Streams::default();
        for i in 0..500_u32 {
            assert_eq!(streams.wanted(i * 7919 % 10_000, 10_000, |_| u32::MAX), None, "{i}");
        }
    }

    #[test]
    fn sequences_beside_each_other_are_told_apart() {
        let mut streams = Streams::default();
        let mut ahead = 0;
        for i in 0..100 {
            for place in [0, 1000, 2000, 3000] {
                ahead +=
                    streams.wanted(place + i, 4000, |_| u32::MAX).map_or(0, |spans| spans.len());
            }
        }
        assert!(ahead > 4 * 90, "{ahead}");
    }
}
