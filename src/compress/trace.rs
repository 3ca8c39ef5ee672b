//! Which bytes of the 32 KiB before a deflate block are referred to.
//!
//! Only the first 32 KiB of output after a block can refer to its window, and they refer to a
//! tenth of it. Which bytes those are is found without a second inflater: the 32 KiB are decoded
//! once more over a window in which byte `i` is changed by the non-zero mark `mark(i)`. An output
//! byte that differs from the real one was copied from the window, and the difference is its mark.
//! Marks run along a de Bruijn sequence of order 2, so two neighbours tell their place. A match has
//! at least three bytes, so each byte that is copied has a neighbour, but for two cases: a match
//! that runs over the window's end (its last byte is always kept) and one that is cut by the end of
//! what is looked at (all places with that mark are kept). What is kept beyond need is harmless.

use crate::sys::inflate::{At, Inflater, Stop, WINDOW_SIZE, Wrapper};

use super::DecodeError;

/// How many different marks there are: every change of a byte but none.
const SYMBOLS: usize = 255;

/// How many places are looked at together where all are.
const PIECE: usize = 256;

/// The start of the marks that begin with symbol `a`, in the sequence `0 | 0 1 | 0 2 | ... | 0 254
/// | 1 | 1 2 | 1 3 | ...`.
fn block_start(a: usize) -> usize {
    a * (2 * SYMBOLS - a)
}

/// The sequence's first [`WINDOW_SIZE`] symbols, each one more than itself so that none is 0.
fn marks() -> Vec<u8> {
    let mut marks = Vec::with_capacity(WINDOW_SIZE + 1);
    for a in 1..=u8::MAX {
        marks.push(a);
        for b in a..u8::MAX {
            marks.extend([a, b + 1]);
        }
        if marks.len() >= WINDOW_SIZE {
            break;
        }
    }
    marks.truncate(WINDOW_SIZE);
    marks
}

/// The place of the neighbours `first` and `second` in the sequence; `None` if they have none.
fn place(first: u8, second: u8) -> Option<usize> {
    let p = usize::from(first.checked_sub(1)?);
    let q = usize::from(second.checked_sub(1)?);
    match p.cmp(&q) {
        std::cmp::Ordering::Equal => Some(block_start(p)),
        std::cmp::Ordering::Less => Some(block_start(p) + 1 + 2 * (q - p - 1)),
        std::cmp::Ordering::Greater if p < SYMBOLS - 1 => {
            Some(block_start(q) + 2 + 2 * (p - q - 1))
        }
        std::cmp::Ordering::Greater => block_start(q).checked_sub(1),
    }
}

/// Finds the sparse windows of deflate blocks; keeps its buffers between them.
pub(super) struct Tracer {
    inflater: Inflater,
    marks: Vec<u8>,
    marked: Vec<u8>,
    output: Vec<u8>,
    kept: Vec<u8>,
}

/// A deflate block and what follows and precedes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    /// How many bits of `before` belong to it.
    pub(super) bits: u8,
    /// The byte before it.
    pub(super) before: u8,
    /// The compressed bytes from it on: all that give `output`, or none if they are not at hand.
    pub(super) input: &'a [u8],
    /// The output from it on.
    pub(super) output: &'a [u8],
    /// The output before it in the same member, at most [`WINDOW_SIZE`] bytes.
    pub(super) window: &'a [u8],
}

impl Tracer {
    pub(super) fn new() -> Result<Self, DecodeError> {
        Ok(Self {
            inflater: Inflater::new(Wrapper::Raw)?,
            marks: marks(),
            marked: Vec::with_capacity(WINDOW_SIZE),
            output: vec![0; WINDOW_SIZE],
            kept: Vec::with_capacity(WINDOW_SIZE),
        })
    }

    /// The window of `block` with all that is not referred to zeroed; empty if all of it is.
    pub(super) fn trace(&mut self, block: Block<'_>) -> Result<&[u8], DecodeError> {
        self.kept.clear();
        if !block.window.is_empty() {
            match self.decode_marked(block)? {
                Some(produced) => self.keep_referenced(block, produced),
                None => self.kept.extend_from_slice(block.window),
            }
        }
        Ok(&self.kept)
    }

    /// Decodes what can refer to the window over a marked one. `None`: the input is not at hand.
    fn decode_marked(&mut self, block: Block<'_>) -> Result<Option<usize>, DecodeError> {
        self.marked.clear();
        self.marked.extend(block.window.iter().zip(&self.marks).map(|(w, m)| w ^ m));
        self.inflater.reset(Wrapper::Raw)?;
        self.inflater.prime(block.bits, block.before)?;
        self.inflater.set_window(&self.marked)?;
        let want = block.output.len().min(WINDOW_SIZE);
        let step = self.inflater.inflate(block.input, &mut self.output[..want], Stop::Never)?;
        // Fewer are right only where the member ends.
        let whole = step.produced == want || step.at == At::End;
        Ok(whole.then_some(step.produced))
    }

    fn keep_referenced(&mut self, block: Block<'_>, produced: usize) {
        let (real, found) = (&block.output[..produced], &self.output[..produced]);
        if real == found {
            return;
        }
        self.kept.resize(block.window.len(), 0);
        let mut trace = Trace { window: block.window, marks: &self.marks, kept: &mut self.kept };
        trace.keep(block.window.len() - 1);
        trace.follow(real, found);
        if let (Some(real), Some(found)) = (real.last(), found.last())
            && real != found
        {
            trace.keep_all(*real, real ^ found);
        }
    }
}

/// Finds the places of a window that output was copied from.
struct Trace<'a> {
    window: &'a [u8],
    marks: &'a [u8],
    kept: &'a mut [u8],
}

impl Trace<'_> {
    fn keep(&mut self, i: usize) {
        if let (Some(kept), Some(byte)) = (self.kept.get_mut(i), self.window.get(i)) {
            *kept = *byte;
        }
    }

    /// Keeps every place with this byte and this mark.
    fn keep_all(&mut self, real: u8, mark: u8) {
        let pieces = self.window.chunks(PIECE).zip(self.marks.chunks(PIECE));
        for ((window, marks), kept) in pieces.zip(self.kept.chunks_mut(PIECE)) {
            let found = |(byte, other): (&u8, &u8)| (*byte == real) & (*other == mark);
            // Most pieces have none; without a way out in between, a piece is a few instructions.
            if window.iter().zip(marks).map(found).fold(false, |any, one| any | one) {
                for ((byte, other), kept) in window.iter().zip(marks).zip(kept) {
                    if found((byte, other)) {
                        *kept = real;
                    }
                }
            }
        }
    }

    /// Keeps the places of all neighbours of which both are marked.
    fn follow(&mut self, real: &[u8], found: &[u8]) {
        let mut at = 0;
        while let Some(first) = first_marked(real, found, at) {
            at = self.follow_marked(real, found, first);
        }
    }

    /// As [`Trace::follow`] from the marked byte at `first` to the next one that is not; returns
    /// where that is.
    fn follow_marked(&mut self, real: &[u8], found: &[u8], first: usize) -> usize {
        let mark = |i: usize| Some(real.get(i)? ^ found.get(i)?).filter(|mark| *mark != 0);
        let mut at = first + 1;
        let mut last = mark(first).unwrap_or(0);
        while let Some(this) = mark(at) {
            // The end of one match and the start of the next are neighbours by chance.
            let place = place(last, this)
                .filter(|i| self.window.get(*i..i + 2) == Some(&real[at - 1..=at]));
            let run = place.map_or(0, |i| self.run(i + 2, &real[at + 1..], &found[at + 1..]));
            if let Some(i) = place {
                self.kept[i..i + 2 + run].copy_from_slice(&self.window[i..i + 2 + run]);
            }
            at += 1 + run;
            last = mark(at - 1).unwrap_or(0);
        }
        at
    }

    /// How many bytes go on as the window does from `place` on.
    fn run(&self, place: usize, real: &[u8], found: &[u8]) -> usize {
        let marks = self.marks[..self.window.len()].get(place..).unwrap_or_default();
        let mut len = 0;
        while let (Some(real), Some(found), Some(marks)) =
            (word(real, len), word(found, len), word(marks, len))
        {
            let differ = real ^ found ^ marks;
            if differ != 0 {
                return len + differ.trailing_zeros() as usize / 8;
            }
            len += size_of::<u64>();
        }
        let rest = real.iter().zip(found).zip(marks).skip(len);
        len + rest.take_while(|((real, found), mark)| *real ^ *found == **mark).count()
    }
}

/// Where the first byte from `at` on is that is marked.
fn first_marked(real: &[u8], found: &[u8], mut at: usize) -> Option<usize> {
    while let (Some(a), Some(b)) = (word(real, at), word(found, at)) {
        if a != b {
            return Some(at + (a ^ b).trailing_zeros() as usize / 8);
        }
        at += size_of::<u64>();
    }
    (at..real.len()).find(|i| real[*i] != found[*i])
}

/// The eight bytes from `at` on, the first one lowest.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_neighbouring_marks_tell_their_place() {
        let marks = marks();
        assert_eq!(marks.len(), WINDOW_SIZE);
        assert!(marks.iter().all(|m| *m != 0));
        for (i, pair) in marks.windows(2).enumerate() {
            assert_eq!(place(pair[0], pair[1]), Some(i));
        }
    }

    #[test]
    fn no_neighbours_have_no_place() {
        assert_eq!(place(0, 7), None);
        assert_eq!(place(7, 0), None);
        assert_eq!(place(255, 1), None);
        for a in 1..=255 {
            for b in 1..=255 {
                let _ = place(a, b);
            }
        }
    }
}
