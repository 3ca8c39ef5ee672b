use std::sync::atomic::AtomicI64;

use super::*;
use crate::content::cache::tests::table_of;

fn guesses(table: &SpanTable, files: Vec<Range<u64>>) -> Guesses {
    let guesses = Guesses::new(table.spans.len());
    guesses.set_files(Box::new(move || files));
    guesses.turn(true);
    guesses
}

/// The bytes of a span of [`usual`].
fn of(span: u32) -> Range<u64> {
    u64::from(span) << 17..u64::from(span + 1) << 17
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

/// What reading all of `span` lets guess, where nothing is here and much may be guessed.
fn guessed(guesses: &Guesses, table: &SpanTable, span: u32) -> Vec<u32> {
    let account = Account(AtomicI64::new(100 << 20));
    spans(guesses.wanted(&of(span), span, span, table, &account, |_| false))
}

#[test]
fn the_beginning_of_a_file_brings_all_of_it() {
    let (table, one) = usual(64);
    let file = (10 << 17) + 100..(16 << 17) + 5;
    let guesses = guesses(&table, vec![file]);
    let account = Account(AtomicI64::new(100 * one));
    let fetched = guesses.wanted(&of(10), 10, 10, &table, &account, |span| span == 13);
    assert_eq!(spans(fetched), [11, 12, 14, 15, 16]);
    assert_eq!(guessed(&guesses, &table, 11), [13]);
}

#[expect(clippy::single_range_in_vec_init, reason = "a list of files is meant")]
#[test]
fn the_end_of_the_file_before_is_not_its_beginning() {
    let (table, one) = usual(64);
    let start = (10 << 17) + 100;
    let guesses = guesses(&table, vec![start..16 << 17]);
    let account = Account(AtomicI64::new(100 * one));
    let before = 10 << 17..start;
    assert!(guesses.wanted(&before, 10, 10, &table, &account, |_| false).is_empty());
}

#[expect(clippy::single_range_in_vec_init, reason = "a list of files is meant")]
#[test]
fn a_quarter_of_a_file_brings_the_rest() {
    let (table, _) = usual(64);
    let guesses = guesses(&table, vec![8 << 17..16 << 17]);
    assert!(guessed(&guesses, &table, 14).is_empty());
    assert_eq!(guessed(&guesses, &table, 10), [11, 12, 13, 15, 8, 9]);
}

#[test]
fn half_of_a_block_of_short_files_brings_the_block() {
    let (table, one) = usual(64);
    let guesses = guesses(&table, Vec::new());
    assert!(guessed(&guesses, &table, 5).is_empty());
    assert_eq!(guessed(&guesses, &table, 7), [4, 6]);
    assert!(guessed(&guesses, &table, 1).is_empty());
    assert_eq!(guessed(&guesses, &table, 3), [0, 2]);
    // What the read fetches itself is not fetched twice.
    assert!(guessed(&guesses, &table, 32).is_empty());
    let account = Account(AtomicI64::new(100 * one));
    assert_eq!(spans(guesses.wanted(&of(33), 33, 34, &table, &account, |_| false)), [35]);
}

#[expect(clippy::single_range_in_vec_init, reason = "a list of files is meant")]
#[test]
fn a_long_file_says_nothing_of_what_is_beside_it() {
    let (table, _) = usual(64);
    let guesses = guesses(&table, vec![8 << 17..30 << 17]);
    assert!(guessed(&guesses, &table, 28).is_empty());
    assert!(guessed(&guesses, &table, 29).is_empty());
}

#[expect(clippy::single_range_in_vec_init, reason = "a list of files is meant")]
#[test]
fn nothing_is_guessed_of_a_file_that_is_left() {
    let (table, _) = usual(64);
    let guesses = guesses(&table, vec![8 << 17..16 << 17]);
    guesses.leave(8 << 17..16 << 17);
    guesses.leave(8 << 17..16 << 17);
    assert_eq!(guesses.state.lock().left.len(), 1);
    guesses.leave(40 << 17..42 << 17);
    for span in (8..16).chain(40..42) {
        assert!(guessed(&guesses, &table, span).is_empty());
    }
    let step = Step { began: 8, spans: 11..15 };
    assert_eq!(guesses.end_of(&step, 10, &table), 11);
}

#[expect(clippy::single_range_in_vec_init, reason = "a list of files is meant")]
#[test]
fn a_sequence_ends_with_its_file_and_one_through_files_does_not() {
    let (table, _) = usual(64);
    let guesses = guesses(&table, vec![8 << 17..(16 << 17) + 1]);
    let end = |began, span| {
        let step = Step { began, spans: span + 1..span + 9 };
        guesses.end_of(&step, span, &table)
    };
    // In the file, at its last span, and out of it: with what may be of the file before it.
    assert_eq!([end(8, 9), end(8, 12), end(7, 16)], [17, 17, 17]);
    assert_eq!([end(8, 17), end(8, 19), end(17, 19)], [18, 20, 20]);
    // A sequence of its own again, and one that came from afar.
    assert_eq!([end(17, 20), end(2, 12), end(2, 17)], [29, 21, 26]);
    // Nothing is known of short files.
    assert_eq!([end(0, 3), end(0, 8)], [12, 17]);
}

#[test]
fn a_trace_leaves_nothing_to_guess() {
    let (table, one) = usual(64);
    let guesses = guesses(&table, Vec::new());
    let account = Account(AtomicI64::new(100 * one));
    guesses.follow_trace([5].into_iter());
    assert!(guesses.is_traced(5) && !guesses.is_traced(6));
    assert!(guesses.wanted(&of(5), 5, 5, &table, &account, |_| false).is_empty());
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
                let fetched = guesses.wanted(&of(span), span, span, &table, &account, |_| false);
                guessed.extend(spans(fetched));
            }
        }
        let bytes = |spans: &mut dyn Iterator<Item = u32>| spans.map(|s| price(&table, s)).sum::<i64>();
        let vain = bytes(&mut guessed.iter().copied().filter(|span| !wanted.contains(span)));
        let most = account::FIRST_BALANCE + bytes(&mut wanted.iter().copied()) / SHARE;
        proptest::prop_assert!(vain <= most, "{vain} > {most}");
        let mut once = guessed.clone();
        once.sort_unstable();
        once.dedup();
        proptest::prop_assert_eq!(once.len(), guessed.len());
    }
}
