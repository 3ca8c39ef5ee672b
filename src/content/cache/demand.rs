use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::compress::{SpanTable, StartTrace};

use super::streams::{Step, Streams};

/// How long a start takes at most: what is read later is not in its trace.
pub(super) const START: Duration = Duration::from_secs(30);
/// A layer of fewer spans is not worth a thought about whether it is read densely.
const DENSE_MIN: u32 = 16;

/// What reads have wanted of a layer, and what they will.
#[derive(Debug)]
pub(super) struct Demand {
    /// When each span was first wanted, in milliseconds since `started`, plus 1; 0: not yet.
    first: Vec<AtomicU32>,
    count: AtomicU32,
    dense: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    streams: Streams,
    /// Whether a start is being recorded.
    recording: bool,
}

/// What is to be fetched because of what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing that reads in order would want.
    Nothing,
    /// These spans.
    Ahead(Range<u32>),
    /// The whole layer.
    All,
}

impl Demand {
    pub(super) fn new(spans: usize) -> Self {
        Self {
            first: (0..spans).map(|_| AtomicU32::new(0)).collect(),
            count: AtomicU32::new(0),
            dense: AtomicBool::new(false),
            state: Mutex::new(State {
                since: Instant::now(),
                streams: Streams::default(),
                recording: false,
            }),
        }
    }

    /// A start begins: what is wanted from here on is its trace.
    pub(super) fn begin(&self) {
        let mut state = self.state.lock();
        self.first.iter().for_each(|first| first.store(0, Ordering::Relaxed));
        self.count.store(0, Ordering::Relaxed);
        *state = State { since: Instant::now(), streams: Streams::default(), recording: true };
    }

    /// Notes that a read wants `span`; says what that lets expect, the first time. Most spans are
    /// wanted again and again, which is found out by one load. `end_of` says where what follows a
    /// sequence ends at most.
    pub(super) fn wanted(&self, span: u32, end_of: impl FnOnce(&Step) -> u32) -> Option<Advice> {
        let first = self.first.get(span as usize)?;
        if first.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let mut state = self.state.lock();
        let millis = u32::try_from(state.since.elapsed().as_millis()).unwrap_or(u32::MAX - 1);
        if first.swap(millis.saturating_add(1), Ordering::Relaxed) != 0 {
            return None;
        }
        let len = u32::try_from(self.first.len()).unwrap_or(u32::MAX);
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let ahead = state.streams.wanted(span, len, end_of);
        drop(state);
        if len >= DENSE_MIN && count >= len - len / 4 && !self.dense.swap(true, Ordering::Relaxed) {
            return Some(Advice::All);
        }
        Some(ahead.map_or(Advice::Nothing, Advice::Ahead))
    }

    /// The trace of the start that began last, where it is over: `now` is [`START`] after it, or
    /// nobody reads any more. Given once.
    pub(super) fn take_trace(&self, table: &SpanTable, is_over: bool) -> Option<StartTrace> {
        let mut state = self.state.lock();
        if !state.recording || !(is_over || state.since.elapsed() >= START) {
            return None;
        }
        state.recording = false;
        drop(state);
        let limit = u32::try_from(START.as_millis()).unwrap_or(u32::MAX);
        let at = |first: &AtomicU32| first.load(Ordering::Relaxed).checked_sub(1);
        let wanted = (0..).zip(&self.first).filter_map(|(span, first)| Some((span, at(first)?)));
        Some(StartTrace::new(table, wanted.filter(|(_, at)| *at < limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::cache::tests::table_of;

    #[test]
    fn a_start_is_recorded_once_in_the_order_of_its_reads() {
        let table = table_of(&[10; 100]);
        let demand = Demand::new(100);
        demand.wanted(50, |_| u32::MAX);
        assert_eq!(demand.take_trace(&table, true), None);
        demand.begin();
        for span in [7, 3, 7, 3, 90] {
            demand.wanted(span, |_| u32::MAX);
        }
        assert_eq!(demand.take_trace(&table, false), None);
        let trace = demand.take_trace(&table, true).unwrap();
        let mut spans: Vec<_> = trace.spans().map(|(span, _)| span).collect();
        spans.sort_unstable();
        assert_eq!(spans, [3, 7, 90]);
        assert_eq!(demand.take_trace(&table, true), None);
    }

    #[test]
    fn most_of_a_layer_asks_for_all_of_it_once() {
        let demand = Demand::new(100);
        let advice: Vec<_> = (0..100).map(|i| demand.wanted(i * 37 % 100, |_| u32::MAX)).collect();
        assert_eq!(advice.iter().filter(|a| **a == Some(Advice::All)).count(), 1);
        assert_eq!(advice.iter().position(|a| *a == Some(Advice::All)), Some(74));
    }
}
