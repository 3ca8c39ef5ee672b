//! What else of a layer is soon wanted, guessed from what was: a start without a trace reads here
//! and there, and each read that has to wait costs a round trip.
//!
//! | guess | when | why |
//! |---|---|---|
//! | a whole file | its beginning, or a quarter of it, is wanted | programs and libraries are mapped, and used all over |
//! | the block of two, four or eight spans around a place | half of it is wanted | the files of a package lie together |
//!
//! # Invariants
//!
//! - Guesses are paid for: a read earns a quarter of what it wants, and a guess that comes true is
//!   paid back. So what is fetched in vain is bounded by a quarter of what is wanted, after the
//!   first [`FIRST_BALANCE`] bytes, whatever is read. Files come true more often than blocks, so that
//!   blocks leave [`FILE_RESERVE`] to them. Read-ahead of sequences is charged too, but never refused.
//! - A layer whose trace is being replayed needs no guesses, and gets none. Nor does one that nothing
//!   was started on.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::compress::SpanTable;

use super::plan;

/// The fewest spans of a file that is guessed as a whole; a shorter one is in a block of its own.
const FILE_MIN: u32 = 4;
/// The most compressed bytes of such a file.
const FILE_MAX: u64 = 4 << 20;
/// The shortest file that can have so many spans, in bytes.
const FILE_BYTES_MIN: u64 = 512 << 10;
/// One of so many spans of a file make it wanted.
const FILE_SHARE: u32 = 4;
/// The largest block of spans.
const BLOCK_MAX: u32 = 8;
/// The most compressed bytes of one fetch: small, so that what is wanted next waits behind little.
const FETCH_MAX: u64 = 256 << 10;

/// A layer of fewer spans is not worth a thought.
const SPANS_MIN: usize = 16;

/// What the account starts with, in compressed bytes.
const FIRST_BALANCE: i64 = 3 << 20;
/// What blocks leave of it.
const FILE_RESERVE: i64 = 5 << 19;
/// The most that is saved up.
const BALANCE_MAX: i64 = 4 << 20;
/// A read earns one of so many of the bytes that it wants.
const SHARE: i64 = 4;

/// Lists where the data of each file of a layer begin and end in it.
pub type FileList = Box<dyn FnOnce() -> Vec<Range<u64>> + Send>;

/// The compressed bytes that may still be guessed, of all layers of a cache.
#[derive(Debug)]
pub(super) struct Account(AtomicI64);

impl Account {
    pub(super) fn new() -> Self {
        Self(AtomicI64::new(FIRST_BALANCE))
    }

    fn earn(&self, bytes: i64) {
        let add = |balance: i64| Some(balance.saturating_add(bytes).min(BALANCE_MAX));
        let _always = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn charge(&self, bytes: i64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes `bytes`, if there are so many and `reserve` more.
    fn pay(&self, bytes: i64, reserve: i64) -> bool {
        let take = |balance: i64| balance.checked_sub(bytes).filter(|left| *left >= reserve);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// What was wanted and guessed of one layer.
pub(super) struct Guesses {
    state: Mutex<State>,
    /// Where the files are that are long enough to be guessed, in spans, by their beginning.
    files: OnceLock<Vec<Range<u32>>>,
    list: Mutex<Option<FileList>>,
    has_trace: AtomicBool,
    /// Whether anything is guessed.
    is_on: AtomicBool,
}

struct State {
    wanted: Vec<bool>,
    guessed: Vec<bool>,
    /// What a trace says.
    traced: HashSet<u32>,
}

impl Guesses {
    pub(super) fn new(spans: usize) -> Self {
        Self {
            state: Mutex::new(State {
                wanted: vec![false; spans],
                guessed: vec![false; spans],
                traced: HashSet::new(),
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

    /// Notes that a read wants `span` for the first time, and says what to fetch, the most urgent
    /// first; `is_here` says what need not be. The read itself fetches up to span `last`.
    pub(super) fn wanted(
        &self,
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
        if self.has_trace() || state.wanted.len() < SPANS_MIN {
            return Vec::new();
        }
        let (mut after, mut before) = (Vec::new(), Vec::new());
        let files = state.of_files(span, files).into_iter().map(|guess| (guess, 0));
        let blocks = state.of_blocks(span).into_iter().map(|guess| (guess, FILE_RESERVE));
        for (guess, reserve) in files.chain(blocks) {
            let is_known = state.wanted[guess as usize] || state.guessed[guess as usize];
            if is_known || (span..=last).contains(&guess) || is_here(guess) {
                continue;
            }
            if !account.pay(price(table, guess), reserve) {
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

    fn files(&self, table: &SpanTable) -> &[Range<u32>] {
        self.files.get_or_init(|| {
            let Some(list) = self.list.lock().take() else { return Vec::new() };
            let extents = list()
                .into_iter()
                .filter(|extent| extent.end.saturating_sub(extent.start) >= FILE_BYTES_MIN);
            let spans = extents.filter_map(|extent| {
                let last = table.find(extent.end.checked_sub(1)?)?;
                Some(table.find(extent.start)?..last + 1)
            });
            let is_fit = |spans: &Range<u32>| {
                spans.end - spans.start >= FILE_MIN
                    && plan::compressed_len(table, spans) <= FILE_MAX
            };
            let mut files: Vec<_> = spans.filter(is_fit).collect();
            files.sort_unstable_by_key(|spans| spans.start);
            files
        })
    }
}

impl State {
    /// How many of `spans` are wanted.
    fn count(&self, spans: &Range<u32>) -> u32 {
        let count = spans.clone().filter(|&span| self.wanted[span as usize]).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// What is likely to be wanted of `files` because `span` is, the likeliest first.
    fn of_files(&self, span: u32, files: &[Range<u32>]) -> Vec<u32> {
        let mut likely = Vec::new();
        // One that begins in the span, or goes on through it, at most: two files can share it.
        let first = files.partition_point(|file| file.start <= span);
        for file in files[..first].iter().rev().take(2).filter(|file| file.contains(&span)) {
            if file.start == span || self.count(file) * FILE_SHARE >= file.end - file.start {
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
        let mut size = 2;
        while size <= BLOCK_MAX {
            let start = span / size * size;
            let block = start..(start + size).min(len);
            if self.count(&block) * 2 >= block.end - block.start {
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
mod tests {
    use super::*;
    use crate::content::cache::tests::table_of;

    fn guesses(table: &SpanTable, files: Vec<Range<u64>>) -> Guesses {
        let guesses = Guesses::new(table.spans.len());
        guesses.set_files(Box::new(move || files));
        guesses.turn(true);
        guesses
    }

    fn spans(fetches: Vec<Range<u32>>) -> Vec<u32> {
        fetches.into_iter().flatten().collect()
    }

    /// A table of spans of 128 KiB, and what one of them costs.
    fn usual(count: usize) -> (SpanTable, i64) {
        let table = table_of(&vec![128 << 10; count]);
        let one = price(&table, 1);
        (table, one)
    }

    #[test]
    fn the_beginning_of_a_file_brings_all_of_it() {
        let (table, one) = usual(64);
        let file = (10 << 17) + 100..(16 << 17) + 5;
        let guesses = guesses(&table, vec![file]);
        let account = Account(AtomicI64::new(100 * one));
        let fetched = guesses.wanted(10, 10, &table, &account, |span| span == 13);
        assert_eq!(spans(fetched), [11, 12, 14, 15, 16]);
        assert_eq!(spans(guesses.wanted(11, 11, &table, &account, |_| false)), [13, 8, 9]);
    }

    #[expect(clippy::single_range_in_vec_init, reason = "a list of files is meant")]
    #[test]
    fn a_quarter_of_a_file_brings_the_rest() {
        let (table, one) = usual(64);
        let guesses = guesses(&table, vec![8 << 17..16 << 17]);
        let account = Account(AtomicI64::new(100 * one));
        assert_eq!(spans(guesses.wanted(14, 14, &table, &account, |_| false)), [15]);
        let fetched = guesses.wanted(10, 10, &table, &account, |_| false);
        assert_eq!(spans(fetched), [11, 12, 13, 8, 9]);
    }

    #[test]
    fn half_of_a_block_brings_the_block() {
        let (table, one) = usual(64);
        let guesses = guesses(&table, Vec::new());
        let account = Account(AtomicI64::new(100 * one));
        assert_eq!(spans(guesses.wanted(5, 5, &table, &account, |_| false)), [4]);
        assert_eq!(spans(guesses.wanted(7, 7, &table, &account, |_| false)), [6]);
        assert_eq!(spans(guesses.wanted(63, 63, &table, &account, |_| false)), [62]);
        // What the read fetches itself is not fetched twice.
        assert!(guesses.wanted(32, 33, &table, &account, |_| false).is_empty());
    }

    #[test]
    fn a_trace_leaves_nothing_to_guess() {
        let (table, one) = usual(64);
        let guesses = guesses(&table, Vec::new());
        let account = Account(AtomicI64::new(100 * one));
        guesses.follow_trace([5].into_iter());
        assert!(guesses.is_traced(5) && !guesses.is_traced(6));
        assert!(guesses.wanted(5, 5, &table, &account, |_| false).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn what_is_guessed_in_vain_is_a_bounded_share_of_what_is_wanted(
            reads in proptest::collection::vec(0_u32..200, 0..300),
            files in proptest::collection::vec((0_u64..200 << 17, 0_u64..20 << 17), 0..20),
        ) {
            let (table, _) = usual(200);
            let end = |start: u64, len: u64| (start + len).min(table.size);
            let files = files.into_iter().map(|(start, len)| start..end(start, len)).collect();
            let guesses = guesses(&table, files);
            let account = Account::new();
            let (mut wanted, mut guessed) = (std::collections::HashSet::new(), Vec::new());
            for span in reads {
                if wanted.insert(span) {
                    let fetched = guesses.wanted(span, span, &table, &account, |_| false);
                    guessed.extend(spans(fetched));
                }
            }
            let bytes = |spans: &mut dyn Iterator<Item = u32>| spans.map(|s| price(&table, s)).sum::<i64>();
            let vain = bytes(&mut guessed.iter().copied().filter(|span| !wanted.contains(span)));
            let most = FIRST_BALANCE + bytes(&mut wanted.iter().copied()) / SHARE;
            proptest::prop_assert!(vain <= most, "{vain} > {most}");
            let mut once = guessed.clone();
            once.sort_unstable();
            once.dedup();
            proptest::prop_assert_eq!(once.len(), guessed.len());
        }
    }
}
