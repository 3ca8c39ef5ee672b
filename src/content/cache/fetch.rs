//! Fetching spans of a layer: one fetch a span at a time, several spans in one.

use std::ops::Range;

use crate::compress::{DecodeError, SpanError};

use super::flight::{Flights, Pilot, Turn};
use super::layer::{CachedLayer, LayerState, Purpose};
use super::plan;

/// How often bytes are asked for that come and are wrong: they may have been damaged on their way.
const TRIES: usize = 2;

impl CachedLayer {
    /// Fetches every span that is not here yet, in large runs.
    ///
    /// # Errors
    ///
    /// The first that the source answers.
    pub fn fill(&self) -> Result<(), SpanError> {
        self.fill_with(&mut |_| {})
    }

    /// As [`CachedLayer::fill`]; `progress` is told after each run how much is here.
    ///
    /// # Errors
    ///
    /// As [`CachedLayer::fill`].
    pub fn fill_with(&self, progress: &mut dyn FnMut(LayerState)) -> Result<(), SpanError> {
        let mut next = 0;
        progress(self.state());
        while let Some(run) = self.missing(next..self.spans(), plan::RUN_MAX) {
            next = run.end;
            self.fetch_ahead(run)?;
            progress(self.state());
        }
        self.sync();
        self.note_complete();
        Ok(())
    }

    fn spans(&self) -> u32 {
        self.files.map().len()
    }

    /// The first run of spans in `spans` that are not here and lie one after the other, of at most
    /// `max` compressed bytes where it is more than one.
    pub(super) fn missing(&self, spans: Range<u32>, max: u64) -> Option<Range<u32>> {
        let end = spans.end.min(self.files.map().len());
        let first = (spans.start..end).find(|&span| !self.is_here(span))?;
        let missing = (first..end).take_while(|&span| !self.is_here(span));
        plan::runs(self.table(), missing, u64::MAX, max).into_iter().next()
    }

    /// Fetches what is not here of `run`, unless others do.
    ///
    /// # Errors
    ///
    /// What the sources answer.
    pub(super) fn fetch_ahead(&self, run: Range<u32>) -> Result<(), SpanError> {
        let mut next = run.start;
        while let Some(missing) = self.missing(next..run.end, plan::RUN_MAX) {
            let Some((mut pilot, mine)) = self.board(&missing) else {
                next = missing.start + 1;
                continue;
            };
            next = mine.end;
            // Those who wait try for themselves where this fails.
            self.fetch(mine, Purpose::Ahead, &mut pilot, &mut |_, _| {})?;
        }
        Ok(())
    }

    /// The right to fetch from the first spans of `run`, unless others do.
    fn board(&self, run: &Range<u32>) -> Option<(Pilot<'_>, Range<u32>)> {
        let last = self.span(run.end - 1).point;
        match self.flights.begin(self.span(run.start).point..last + 1) {
            Turn::Mine(pilot) => {
                let mine = self.up_to_point(run, pilot.points().end);
                Some((pilot, mine))
            }
            Turn::Wait(_) => None,
        }
    }

    /// The spans of `run` that belong to points before `point`.
    fn up_to_point(&self, run: &Range<u32>, point: u32) -> Range<u32> {
        let end = self.table().spans.partition_point(|span| span.point < point);
        run.start..run.end.min(u32::try_from(end).unwrap_or(u32::MAX))
    }

    /// Fetches `run`, keeps all that comes with it, and shows each to `sink`.
    fn fetch(
        &self,
        run: Range<u32>,
        purpose: Purpose,
        pilot: &mut Pilot<'_>,
        sink: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<(), SpanError> {
        let len = plan::compressed_len(self.table(), &run);
        self.counters.fetches.add(1);
        self.counters.fetched_bytes.add(len);
        self.count(|c| &c.fetches, 1);
        match purpose {
            Purpose::Demand => self.count(|c| &c.demand_bytes, len),
            Purpose::Ahead => self.count(|c| &c.ahead_bytes, len),
        }
        let sources = self.sources.lock().clone();
        let mut outcome = Ok(());
        for _ in 0..TRIES {
            for source in &sources {
                outcome = source.read_run(run.clone(), &mut |index, bytes| {
                    // In order: all points before this span's are done with.
                    pilot.passed(self.span(index).point);
                    self.store(index, bytes);
                    sink(index, bytes);
                });
                match &outcome {
                    Err(e) if e.is_wrong() => self.count(|c| &c.mismatched, 1),
                    Err(SpanError::Read { .. }) => {}
                    Ok(()) | Err(_) => return outcome,
                }
            }
            if !outcome.as_ref().is_err_and(SpanError::is_wrong) {
                break;
            }
        }
        outcome
    }

    /// Reads the first bytes of `buf`, which begins in `span`, at `offset` of the layer, and ends in
    /// span `last`, from the source. Returns how many; 0: look on disk again.
    pub(super) fn read_far(
        &self,
        span: u32,
        last: u32,
        buf: &mut [u8],
        offset: u64,
        alone: bool,
    ) -> Result<usize, SpanError> {
        let wanted = self.missing(span..last + 1, plan::RUN_MAX).unwrap_or(span..span + 1);
        let points = self.span(span).point..self.span(wanted.end - 1).point + 1;
        let lone = Flights::default();
        let flights = if alone { &lone } else { &self.flights };
        let mut pilot = match flights.begin(points) {
            Turn::Mine(pilot) => pilot,
            Turn::Wait(flight) => return flight.wait().map(|()| 0),
        };
        if self.is_here(span) && !alone {
            return Ok(0);
        }
        let run = self.up_to_point(&(span..wanted.end), pilot.points().end);
        let mut done = 0;
        let fetched = self.fetch(run, Purpose::Demand, &mut pilot, &mut |index, bytes| {
            let at = offset + done as u64;
            let skip = usize::try_from(at.saturating_sub(self.files.offset(index)));
            let Some(part) = skip.ok().and_then(|skip| bytes.get(skip..)) else { return };
            if self.files.offset(index) <= at {
                let n = part.len().min(buf.len() - done);
                buf[done..done + n].copy_from_slice(&part[..n]);
                done += n;
            }
        });
        match fetched {
            Ok(()) if done > 0 => Ok(done),
            Ok(()) => Err(SpanError::Decode { span, source: DecodeError::NotDelivered }),
            Err(e) => {
                pilot.fail(&e);
                Err(e)
            }
        }
    }
}
