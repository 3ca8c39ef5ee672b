//! Spans that are wanted as the fetches that bring them: few and large, the most urgent first.

use std::ops::Range;

use crate::compress::SpanTable;

/// Compressed bytes between two spans that are fetched along, rather than asking twice.
pub(super) const GAP: u64 = 8 << 10;
/// The most compressed bytes of one fetch.
pub(super) const RUN_MAX: u64 = 2 << 20;
/// Compressed bytes of the first wave of a trace; each next one is twice as large.
const FIRST_WAVE: u64 = 1 << 20;
/// Compressed bytes of the largest wave.
const LAST_WAVE: u64 = 16 << 20;

/// The compressed bytes of the spans `run`, which lie one after the other.
pub(super) fn compressed(table: &SpanTable, run: &Range<u32>) -> Range<u64> {
    let last = run.end.saturating_sub(1).max(run.start);
    let start = table.compressed_range(run.start).map_or(0, |range| range.start);
    let end = table.compressed_range(last).map_or(start, |range| range.end);
    start..end.max(start)
}

/// How many bytes those are.
pub(super) fn compressed_len(table: &SpanTable, run: &Range<u32>) -> u64 {
    let range = compressed(table, run);
    range.end - range.start
}

/// Runs of spans that hold all of `wanted`, which are in order: a run has at most `max` compressed
/// bytes, where it is more than one span, and passes over gaps of at most `gap`.
pub(super) fn runs(
    table: &SpanTable,
    wanted: impl IntoIterator<Item = u32>,
    gap: u64,
    max: u64,
) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for span in wanted {
        let Some(range) = table.compressed_range(span) else { continue };
        if let Some(last) = runs.last_mut() {
            let before = compressed(table, last);
            let is_near = range.start.saturating_sub(before.end) <= gap;
            if is_near && range.end.saturating_sub(before.start) <= max {
                last.end = span + 1;
                continue;
            }
        }
        runs.push(span..span + 1);
    }
    runs
}

/// A span of one of several layers, and when it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    /// In milliseconds.
    pub(super) at: u32,
    /// The place of the layer.
    pub(super) layer: usize,
    pub(super) span: u32,
}

/// The fetches that bring all of `wanted`, by layer. Spans are taken together by waves, which grow:
/// what comes first is fetched first, and what comes late in large pieces.
pub(super) fn replay(tables: &[&SpanTable], mut wanted: Vec<Wanted>) -> Vec<(usize, Range<u32>)> {
    wanted.sort_unstable();
    let mut fetches = Vec::new();
    let (mut wave, mut size, mut full) = (Vec::new(), 0, FIRST_WAVE);
    for want in wanted {
        size += compressed_len(tables[want.layer], &(want.span..want.span + 1));
        wave.push(want);
        if size >= full {
            flush(tables, &mut wave, &mut fetches);
            (size, full) = (0, (full * 2).min(LAST_WAVE));
        }
    }
    flush(tables, &mut wave, &mut fetches);
    fetches
}

fn flush(tables: &[&SpanTable], wave: &mut Vec<Wanted>, fetches: &mut Vec<(usize, Range<u32>)>) {
    let mut first: Vec<(u32, usize, Range<u32>)> = Vec::new();
    for (layer, table) in tables.iter().enumerate() {
        let of_layer = wave.iter().filter(|want| want.layer == layer);
        let mut spans: Vec<(u32, u32)> = of_layer.map(|want| (want.span, want.at)).collect();
        spans.sort_unstable();
        spans.dedup_by_key(|(span, _)| *span);
        for run in runs(table, spans.iter().map(|(span, _)| *span), GAP, RUN_MAX) {
            let inside = spans.iter().filter(|(span, _)| run.contains(span));
            let at = inside.map(|(_, at)| *at).min().unwrap_or(0);
            first.push((at, layer, run));
        }
    }
    first.sort_by_key(|(at, layer, run)| (*at, *layer, run.start));
    fetches.extend(first.into_iter().map(|(_, layer, run)| (layer, run)));
    wave.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::cache::tests::table_of;

    #[expect(clippy::single_range_in_vec_init, reason = "a list of ranges is meant")]
    #[test]
    fn neighbours_are_one_fetch_as_long_as_it_is_not_too_large() {
        let table = table_of(&[1000; 100]);
        assert_eq!(runs(&table, [1, 2, 3, 7, 8], 0, 10_000), [1..4, 7..9]);
        assert_eq!(runs(&table, [1, 2, 3, 7, 8], 3000, 10_000), [1..9]);
        assert_eq!(runs(&table, 0..10, 0, 4000), [0..4, 4..8, 8..10]);
        assert_eq!(runs(&table, 0..3, 0, 10), [0..1, 1..2, 2..3]);
        assert_eq!(runs(&table, [99, 100, u32::MAX], 0, 4000), [99..100]);
    }

    #[test]
    fn a_trace_of_two_layers_comes_in_the_order_of_its_waves() {
        let tables = [&table_of(&[400_000; 20]), &table_of(&[400_000; 20])];
        let want = |at, layer, span| Wanted { at, layer, span };
        let wanted = vec![
            want(0, 0, 5),
            want(1, 1, 3),
            want(2, 0, 4),
            want(10, 1, 9),
            want(11, 1, 10),
            want(12, 1, 11),
            want(13, 0, 0),
        ];
        let fetches = replay(&tables, wanted);
        assert_eq!(fetches, [(0, 4..6), (1, 3..4), (1, 9..12), (0, 0..1)]);
    }

    proptest::proptest! {
        #[test]
        fn every_span_that_is_wanted_is_fetched_once(
            wanted in proptest::collection::vec((0_u32..50, 0_usize..3, 0_u32..60), 0..200),
        ) {
            let lens: Vec<u32> = (0..60).map(|i| 1 + i * 9973 % 300_000).collect();
            let table = table_of(&lens);
            let tables = [&table, &table, &table];
            let list = wanted.iter().map(|&(at, layer, span)| Wanted { at, layer, span }).collect();
            let fetches = replay(&tables, list);
            for (_, layer, span) in wanted {
                let brings = fetches.iter().filter(|(l, run)| *l == layer && run.contains(&span));
                proptest::prop_assert!(brings.count() >= 1);
            }
            for (_, run) in fetches {
                let len = compressed_len(&table, &run);
                proptest::prop_assert!(run.len() == 1 || len <= RUN_MAX);
            }
        }
    }
}
