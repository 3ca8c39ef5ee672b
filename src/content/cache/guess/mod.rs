//! What else of a layer is soon wanted, guessed from what was: a start without a trace reads here
//! and there, and each read that has to wait costs a round trip.
//!
//! | guess | when | why |
//! |---|---|---|
//! | a whole file | its beginning, or a quarter of it, is wanted | programs and libraries are mapped, and used all over |
//! | the block of four or eight spans around a place | short files in half of it are wanted | the files of a package lie together |
//!
//! # Invariants
//!
//! - Guesses are paid for: a read earns a quarter of what it wants, and a guess that comes true is
//!   paid back. So what is fetched in vain is bounded by a quarter of what is wanted, after the
//!   first [`account::FIRST_BALANCE`] bytes, whatever is read. Read-ahead of sequences is charged
//!   too, but never refused.
//! - Of files that others know more of, as of programs, nothing is guessed, nor because of them.
//! - A layer whose trace is being replayed needs no guesses, and gets none. Nor does one that nothing
//!   was started on.

mod account;

pub(super) use account::Account;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::compress::SpanTable;

use super::plan;
use super::streams::{SEQUENCE, Step};

/// The fewest spans of a file that is guessed as a whole; a shorter one is in a block of its own.
const FILE_MIN: u32 = 4;
/// The most compressed bytes of such a file.
const FILE_MAX: u64 = 4 << 20;
/// The shortest file that can have so many spans, in bytes.
const FILE_BYTES_MIN: u64 = 512 << 10;
/// One of so many spans of a file make it wanted.
const FILE_SHARE: u32 = 4;
/// The smallest block of spans. One of two says nothing of the other.
const BLOCK_MIN: u32 = 4;
/// The largest one.
const BLOCK_MAX: u32 = 8;
/// The most compressed bytes of one fetch: small, so that what is wanted next waits behind little.
const FETCH_MAX: u64 = 256 << 10;

/// A layer of fewer spans is not worth a thought.
const SPANS_MIN: usize = 16;

/// A read earns one of so many of the bytes that it wants.
const SHARE: i64 = 4;

/// Lists where the data of each file of a layer begin and end in it.
pub type FileList = Box<dyn FnOnce() -> Vec<Range<u64>> + Send>;

/// What was wanted and guessed of one layer.
pub(super) struct Guesses {
    state: Mutex<State>,
    /// The files that are long enough to be guessed, by their beginning.
    files: OnceLock<Vec<File>>,
    list: Mutex<Option<FileList>>,
    has_trace: AtomicBool,
    /// Whether anything is guessed.
    is_on: AtomicBool,
}

/// A long file.
struct File {
    /// Where in the layer its data are.
    bytes: Range<u64>,
    spans: Range<u32>,
}

struct State {
    wanted: Vec<bool>,
    guessed: Vec<bool>,
    /// What a trace says.
    traced: HashSet<u32>,
    /// Those of them that reads of short files wanted, of which nothing else is known.
    loose: Vec<bool>,
    /// The data of files of which nothing is guessed.
    left: Vec<Range<u64>>,
}

impl Guesses {
    pub(super) fn new(spans: usize) -> Self {
        Self {
            state: Mutex::new(State {
                wanted: vec![false; spans],
                guessed: vec![false; spans],
                traced: HashSet::new(),
                loose: vec![false; spans],
                left: Vec::new(),
            }),
            files: OnceLock::new(),
            list: Mutex::default(),
            has_trace: AtomicBool::new(false),
            is_on: AtomicBool::new(false),
        }
    }

    /// Says how to find out where files are; asked once, when the first read has to wait.
    pub(super) fn set_files(&self, list: FileList) {
        *self.list.lock() = Some(list);
    }

    /// Says that nothing is to be guessed of the file with these data, nor because it is read.
    pub(super) fn leave(&self, file: Range<u64>) {
        let mut state = self.state.lock();
        // Said again by each start of a layer that stays open.
        if !state.left.contains(&file) {
            state.left.push(file);
        }
    }

    /// Says whether to guess, which is not done before this is called.
    pub(super) fn turn(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Says that a trace tells what is wanted: these spans, which are being fetched.
    pub(super) fn follow_trace(&self, spans: impl Iterator<Item = u32>) {
        let mut state = self.state.lock();
        let len = state.wanted.len();
        state.traced.extend(spans.filter(|span| (*span as usize) < len));
        self.has_trace.store(true, Ordering::Relaxed);
    }

    /// Says that no trace tells what is wanted.
    pub(super) fn forget_trace(&self) {
        self.state.lock().traced.clear();
        self.has_trace.store(false, Ordering::Relaxed);
    }

    /// Whether a trace tells what is wanted.
    pub(super) fn has_trace(&self) -> bool {
        self.has_trace.load(Ordering::Relaxed)
    }

    /// Whether a trace tells that `span` is wanted.
    pub(super) fn is_traced(&self, span: u32) -> bool {
        self.has_trace() && self.state.lock().traced.contains(&span)
    }

    /// Notes that `spans` are fetched for what a sequence of reads will want.
    pub(super) fn charge(&self, spans: Range<u32>, table: &SpanTable, account: &Account) {
        let mut state = self.state.lock();
        for span in spans {
            if let Some(guessed) = state.guessed.get_mut(span as usize)
                && !std::mem::replace(guessed, true)
            {
                account.charge(price(table, span));
            }
        }
    }

    /// Notes that a read of `bytes` wants `span` for the first time, and says what to fetch, the most
    /// urgent first; `is_here` says what need not be. The read itself fetches up to span `last`.
    pub(super) fn wanted(
        &self,
        bytes: &Range<u64>,
        span: u32,
        last: u32,
        table: &SpanTable,
        account: &Account,
        is_here: impl Fn(u32) -> bool,
    ) -> Vec<Range<u32>> {
        if !self.is_on.load(Ordering::Relaxed) {
            return Vec::new();
        }
        // Where all is here, nobody has to know where the files are.
        let files = match self.files.get() {
            None if is_here(span) => &[],
            _ => self.files(table),
        };
        let mut state = self.state.lock();
        let Some(guessed) = state.guessed.get(span as usize) else { return Vec::new() };
        account.earn(price(table, span) / SHARE + if *guessed { price(table, span) } else { 0 });
        state.wanted[span as usize] = true;
        let begun = files.partition_point(|file| file.bytes.start <= bytes.start);
        let is_long = files[..begun].last().is_some_and(|file| file.bytes.contains(&bytes.start));
        state.loose[span as usize] = !is_long && !state.is_left(bytes.start);
        if self.has_trace() || state.wanted.len() < SPANS_MIN {
            return Vec::new();
        }
        let (mut after, mut before) = (Vec::new(), Vec::new());
        let files = state.of_files(bytes, span, files, table);
        for guess in files.into_iter().chain(state.of_blocks(span)) {
            let is_known = state.wanted[guess as usize] || state.guessed[guess as usize];
            if is_known || (span..=last).contains(&guess) || is_here(guess) {
                continue;
            }
            if !account.pay(price(table, guess)) {
                break;
            }
            state.guessed[guess as usize] = true;
            if guess > span { after.push(guess) } else { before.push(guess) }
        }
        drop(state);
        before.sort_unstable();
        let mut fetches = plan::runs(table, after, 0, FETCH_MAX);
        fetches.extend(plan::runs(table, before, 0, FETCH_MAX));
        fetches
    }

    /// Where what is fetched for `step`, which reading `span` gave, ends: with the long file that the
    /// sequence began in. One that began before goes through the files as they lie in the layer, and
    /// one that has left its file has to be a sequence without it. Where nothing is guessed, all
    /// sequences are gone ahead of.
    pub(super) fn end_of(&self, step: &Step, span: u32, table: &SpanTable) -> u32 {
        if !self.is_on.load(Ordering::Relaxed) {
            return step.spans.end;
        }
        let files = self.files(table);
        // Where one only begins, another may be read.
        let begun = files.partition_point(|file| file.spans.start < span);
        let Some(file) = files[..begun].last() else { return step.spans.end };
        let is_past = span >= file.spans.end.saturating_add(SEQUENCE);
        if is_past || step.began.saturating_add(SEQUENCE) <= file.spans.start {
            step.spans.end
        } else if span < file.spans.end && !self.state.lock().is_left(file.bytes.start) {
            step.spans.end.min(file.spans.end)
        } else {
            // Out of the file, or what is known of it is on its way already.
            step.spans.start
        }
    }

    fn files(&self, table: &SpanTable) -> &[File] {
        self.files.get_or_init(|| {
            let Some(list) = self.list.lock().take() else { return Vec::new() };
            let extents = list()
                .into_iter()
                .filter(|extent| extent.end.saturating_sub(extent.start) >= FILE_BYTES_MIN);
            let files = extents.filter_map(|extent| {
                let last = table.find(extent.end.checked_sub(1)?)?;
                Some(File { spans: table.find(extent.start)?..last + 1, bytes: extent })
            });
            let is_long = |file: &File| file.spans.end - file.spans.start >= FILE_MIN;
            let mut files: Vec<_> = files.filter(is_long).collect();
            files.sort_unstable_by_key(|file| file.bytes.start);
            files
        })
    }
}

impl State {
    /// Whether the byte at `offset` is of a file of which nothing is guessed.
    fn is_left(&self, offset: u64) -> bool {
        self.left.iter().any(|file| file.contains(&offset))
    }

    /// How many of `spans` are wanted.
    fn count(&self, spans: &Range<u32>) -> u32 {
        let count = spans.clone().filter(|&span| self.wanted[span as usize]).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// What is likely to be wanted of `files` because `span` is, the likeliest first.
    fn of_files(
        &self,
        bytes: &Range<u64>,
        span: u32,
        files: &[File],
        table: &SpanTable,
    ) -> Vec<u32> {
        let mut likely = Vec::new();
        // One that begins in the span, or goes on through it, at most: two files can share it.
        let first = files.partition_point(|file| file.spans.start <= span);
        for file in files[..first].iter().rev().take(2).filter(|file| file.spans.contains(&span)) {
            let (start, file) = (file.bytes.start, &file.spans);
            if plan::compressed_len(table, file) > FILE_MAX || self.is_left(start) {
                continue;
            }
            let is_begun = bytes.contains(&start);
            if is_begun || self.count(file) * FILE_SHARE >= file.end - file.start {
                likely.extend(span + 1..file.end);
                likely.extend((file.start..span).rev());
            }
        }
        likely
    }

    /// What is likely to be wanted around `span`, likewise.
    fn of_blocks(&self, span: u32) -> Vec<u32> {
        let mut likely = Vec::new();
        let len = u32::try_from(self.wanted.len()).unwrap_or(u32::MAX);
        let mut size = BLOCK_MIN;
        while size <= BLOCK_MAX {
            let start = span / size * size;
            let block = start..(start + size).min(len);
            let count = block.clone().filter(|&span| self.loose[span as usize]).count();
            if self.loose[span as usize] && count * 2 >= block.len() {
                likely.extend(span + 1..block.end);
                likely.extend((block.start..span).rev());
            }
            size *= 2;
        }
        likely
    }
}

/// What a span costs.
fn price(table: &SpanTable, span: u32) -> i64 {
    i64::try_from(plan::compressed_len(table, &(span..span + 1))).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
