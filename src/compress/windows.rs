//! Sparse windows as bytes: packed in groups, each decoded alone.
//!
//! A window is what its runs of kept bytes hold, and zeros. The windows of [`GROUP_SIZE`] points in
//! a row are packed together, because they are much alike and too short to be packed well alone;
//! and no more, because a group is fetched whole where windows are kept far away.
//!
//! ```text
//! group:  length of the packed heads, zstd frame of the heads, zstd frame of the bytes
//! heads:  number of windows; for each its number of runs;
//!         for each run of each window the gap before it; likewise its length
//! bytes:  those of each run of each window
//! ```
//!
//! Numbers are LEB128. A window ends where its block starts and has [`WINDOW_SIZE`] bytes; its
//! first gap counts from its start.

use zstd::zstd_safe::get_frame_content_size;

use crate::sys::inflate::WINDOW_SIZE;

use super::leb128::{put, take};
use super::trace::word;
use super::{DecodeError, Window};

/// How many windows are packed together at most.
pub(super) const GROUP_SIZE: usize = 4;

/// Higher levels cost more than they gain on so few bytes.
const LEVEL: i32 = 5;
/// That many zeros between kept bytes cost less as bytes than as a gap.
const ZEROS_IN_RUN: usize = 3;
/// The longest heads of a group: each window's runs are at least `ZEROS_IN_RUN` apart, and a gap or
/// length has at most 3 bytes.
const HEADS_MAX: usize = GROUP_SIZE * (WINDOW_SIZE / (ZEROS_IN_RUN + 2) + 2) * 6;
/// The longest bytes of a group.
const BYTES_MAX: usize = GROUP_SIZE * WINDOW_SIZE;

/// A group in the making.
pub(super) struct Group {
    compressor: zstd::bulk::Compressor<'static>,
    len: usize,
    counts: Vec<u8>,
    gaps: Vec<u8>,
    lengths: Vec<u8>,
    bytes: Vec<u8>,
}

impl Group {
    pub(super) fn new() -> Result<Self, DecodeError> {
        let compressor = zstd::bulk::Compressor::new(LEVEL).map_err(|_| no_memory())?;
        let (counts, gaps, lengths, bytes) = Default::default();
        Ok(Self { compressor, len: 0, counts, gaps, lengths, bytes })
    }

    /// How many windows it has; fewer than [`GROUP_SIZE`] when one is added.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a window, of which at most the last [`WINDOW_SIZE`] bytes count.
    pub(super) fn add(&mut self, window: &[u8]) {
        let window = &window[window.len().saturating_sub(WINDOW_SIZE)..];
        let start = WINDOW_SIZE - window.len();
        let (mut count, mut end) = (0, 0);
        let mut i = 0;
        while let Some(run) = first_kept(window, i) {
            i = run_end(window, run);
            put(&mut self.gaps, (start + run - end) as u64);
            put(&mut self.lengths, (i - run) as u64);
            self.bytes.extend_from_slice(&window[run..i]);
            (count, end) = (count + 1, start + i);
        }
        put(&mut self.counts, count);
        self.len += 1;
    }

    /// Appends the packed group to `out`, and starts a new one.
    pub(super) fn pack(&mut self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut heads = Vec::with_capacity(self.counts.len() + 2 * self.gaps.len());
        put(&mut heads, self.len as u64);
        for part in [&mut self.counts, &mut self.gaps, &mut self.lengths] {
            heads.append(part);
        }
        let heads = self.compressor.compress(&heads).map_err(|_| no_memory())?;
        let bytes = self.compressor.compress(&self.bytes).map_err(|_| no_memory())?;
        put(out, heads.len() as u64);
        out.extend(heads);
        out.extend(bytes);
        self.bytes.clear();
        self.len = 0;
        Ok(())
    }
}

/// Packs `windows`, of which none is empty, and says where each is; what is not referred to of them
/// need not be zeros.
///
/// # Errors
///
/// [`DecodeError::Window`] where there is no memory.
pub fn pack_windows<'a>(
    windows: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, Vec<Window>), DecodeError> {
    let (mut packed, mut places) = (Vec::new(), Vec::new());
    let mut group = Group::new()?;
    let mut windows = windows.into_iter().peekable();
    while let Some(window) = windows.next() {
        group.add(window);
        if group.len() < GROUP_SIZE && windows.peek().is_some() {
            continue;
        }
        let (offset, parts) = (packed.len(), group.len());
        group.pack(&mut packed)?;
        let len = u32::try_from(packed.len() - offset).map_err(|_| no_memory())?;
        let place = |part| Window { offset: offset as u64, len, part };
        places.extend((0..).take(parts).map(place));
    }
    Ok((packed, places))
}

fn no_memory() -> DecodeError {
    DecodeError::Window("there is no memory for it")
}

/// Where the first byte from `at` on is that is not zero.
fn first_kept(window: &[u8], mut at: usize) -> Option<usize> {
    while let Some(word) = word(window, at) {
        if word != 0 {
            return Some(at + word.trailing_zeros() as usize / 8);
        }
        at += size_of_val(&word);
    }
    (at..window.len()).find(|i| window[*i] != 0)
}

/// Where the run of kept bytes that starts at `start` ends.
fn run_end(window: &[u8], start: usize) -> usize {
    let mut end = start + 1;
    for (i, byte) in window.iter().enumerate().skip(end) {
        if *byte != 0 {
            end = i + 1;
        } else if i - end >= ZEROS_IN_RUN {
            break;
        }
    }
    end
}

/// Unpacks the window that is the `part`th of a group; it has [`WINDOW_SIZE`] bytes.
pub(super) fn unpack(group: &[u8], part: u8) -> Result<Vec<u8>, DecodeError> {
    let broken = || DecodeError::Window("it is no packed group of windows");
    let mut frames = group;
    let heads_len = number(&mut frames)?;
    let (heads, bytes) = frames.split_at_checked(heads_len).ok_or_else(broken)?;
    let heads = decompress(heads, HEADS_MAX)?;
    let bytes = decompress(bytes, BYTES_MAX)?;
    let runs = runs_of(&heads, part.into())?;
    let mut window = vec![0; WINDOW_SIZE];
    let mut from = bytes.get(runs.skip..).ok_or_else(broken)?;
    let mut place = 0;
    for (gap, len) in runs.runs {
        let (run, rest) = from.split_at_checked(len).ok_or_else(broken)?;
        let start = place + gap;
        window.get_mut(start..start + len).ok_or_else(broken)?.copy_from_slice(run);
        (from, place) = (rest, start + len);
    }
    Ok(window)
}

/// The runs of one window of a group.
struct Runs {
    /// How many bytes the windows before it have.
    skip: usize,
    /// Gap and length of each.
    runs: Vec<(usize, usize)>,
}

fn runs_of(heads: &[u8], part: usize) -> Result<Runs, DecodeError> {
    let broken = || DecodeError::Window("the heads of its group are broken");
    let mut input = heads;
    let windows = number(&mut input)?;
    if windows > GROUP_SIZE || part >= windows {
        return Err(DecodeError::Window("its group doesn't have it"));
    }
    let mut counts = [0; GROUP_SIZE];
    for count in &mut counts[..windows] {
        *count = number(&mut input)?;
    }
    let before: usize = counts[..part].iter().sum();
    let total: usize = counts.iter().sum();
    if total > input.len() {
        return Err(broken());
    }
    let mut gaps = Vec::with_capacity(counts[part]);
    for i in 0..total {
        let gap = number(&mut input)?;
        if (before..before + counts[part]).contains(&i) {
            gaps.push(gap);
        }
    }
    let mut skip = 0;
    for _ in 0..before {
        skip += number(&mut input)?;
    }
    let mut runs = Vec::with_capacity(gaps.len());
    for gap in gaps {
        runs.push((gap, number(&mut input)?));
    }
    Ok(Runs { skip, runs })
}

/// Takes a number that counts something inside of a group.
fn number(input: &mut &[u8]) -> Result<usize, DecodeError> {
    let value = take(input).ok().and_then(|n| usize::try_from(n).ok());
    value.filter(|n| *n <= HEADS_MAX).ok_or(DecodeError::Window("a number of its group is broken"))
}

fn decompress(frame: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let broken = DecodeError::Window("its group can't be unpacked");
    let Ok(Some(size)) = get_frame_content_size(frame) else { return Err(broken) };
    let size = usize::try_from(size).ok().filter(|size| *size <= limit).ok_or(broken.clone())?;
    zstd::bulk::decompress(frame, size).map_err(|_| broken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sparse() -> impl Strategy<Value = Vec<u8>> {
        let run = (prop_oneof![0..5_usize, 0..4000_usize], prop::collection::vec(1..=255_u8, 0..9));
        prop::collection::vec(run, 0..60).prop_map(|runs| {
            let mut window: Vec<u8> = Vec::new();
            for (zeros, bytes) in runs {
                window.resize(window.len() + zeros, 0);
                window.extend(bytes);
            }
            window.truncate(WINDOW_SIZE);
            window
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn windows_come_back_from_their_group(
            windows in prop::collection::vec(sparse(), 1..=GROUP_SIZE),
        ) {
            let mut group = Group::new().unwrap();
            windows.iter().for_each(|w| group.add(w));
            prop_assert_eq!(group.len(), windows.len());
            let mut packed = Vec::new();
            group.pack(&mut packed).unwrap();
            prop_assert_eq!(group.len(), 0);
            for (window, part) in windows.iter().zip(0..) {
                let whole = |w: &[u8]| [&vec![0; WINDOW_SIZE - w.len()], w].concat();
                prop_assert!(unpack(&packed, part).unwrap() == whole(window));
            }
            prop_assert!(unpack(&packed, u8::try_from(windows.len()).unwrap()).is_err());
        }

        #[test]
        fn a_changed_group_is_an_error_or_a_window(
            windows in prop::collection::vec(sparse(), 1..=GROUP_SIZE),
            place: prop::sample::Index, value: u8, part in 0..20_u8,
        ) {
            let mut group = Group::new().unwrap();
            windows.iter().for_each(|w| group.add(w));
            let mut packed = Vec::new();
            group.pack(&mut packed).unwrap();
            let place = place.index(packed.len());
            packed[place] = value;
            if let Ok(window) = unpack(&packed, part) {
                prop_assert_eq!(window.len(), WINDOW_SIZE);
            }
        }

        #[test]
        fn any_heads_are_an_error_or_runs(
            heads in prop::collection::vec(any::<u8>(), 0..80), part in 0..20_usize,
        ) {
            let _ = runs_of(&heads, part);
        }
    }

    #[test]
    fn the_worst_windows_are_within_the_bounds() {
        let dense = vec![7; WINDOW_SIZE];
        let comb: Vec<u8> = [1, 0, 0, 0, 0].into_iter().cycle().take(WINDOW_SIZE).collect();
        for window in [dense, comb] {
            let mut group = Group::new().unwrap();
            (0..GROUP_SIZE).for_each(|_| group.add(&window));
            let mut packed = Vec::new();
            group.pack(&mut packed).unwrap();
            assert!(unpack(&packed, 3).unwrap() == window);
        }
    }
}
