use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::compress::SpanError;

/// How long a thread waits for another one's fetch; a fetch has deadlines of its own.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Which access points of a layer are being decoded from: one fetch a point; the others wait for it
/// and share its outcome. Nothing is kept once a fetch is over.
#[derive(Debug, Default)]
pub(super) struct Flights {
    points: Mutex<HashMap<u32, Arc<Flight>>>,
}

/// One access point on its way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

/// How it ended. Errors are told to those who waited.
type Outcome = Result<(), (io::ErrorKind, String)>;

/// What [`Flights::begin`] gives.
pub(super) enum Turn<'a> {
    /// The caller fetches.
    Mine(Pilot<'a>),
    /// Another thread fetches; to be waited for.
    Wait(Arc<Flight>),
}

/// The right to fetch from some points, in order. What is left of them when it is dropped is for
/// those who wait to fetch.
pub(super) struct Pilot<'a> {
    flights: &'a Flights,
    points: Range<u32>,
}

impl Flights {
    /// Takes the right to fetch from the first of `points` and from as many after it as nobody
    /// fetches from, or gives the flight of the first.
    pub(super) fn begin(&self, points: Range<u32>) -> Turn<'_> {
        let mut busy = self.points.lock();
        if let Some(flight) = busy.get(&points.start) {
            return Turn::Wait(flight.clone());
        }
        let mut end = points.start;
        while end < points.end.max(points.start + 1) && !busy.contains_key(&end) {
            busy.insert(end, Arc::default());
            end += 1;
        }
        Turn::Mine(Pilot { flights: self, points: points.start..end })
    }

    fn land(&self, point: u32, outcome: Outcome) {
        let flight = self.points.lock().remove(&point);
        if let Some(flight) = flight {
            *flight.outcome.lock() = Some(outcome);
            flight.landed.notify_all();
        }
    }
}

impl Flight {
    /// Waits until the flight has ended; what was wanted may be on disk then, or not.
    ///
    /// # Errors
    ///
    /// That of the fetch, where it was for a read as well; `TimedOut` after two minutes.
    pub(super) fn wait(&self) -> Result<(), SpanError> {
        let deadline = Instant::now() + WAIT_MAX;
        let mut outcome = self.outcome.lock();
        loop {
            match &*outcome {
                Some(Ok(())) => return Ok(()),
                Some(Err((kind, text))) => return Err(failed(*kind, text.clone())),
                None => {}
            }
            if self.landed.wait_until(&mut outcome, deadline).timed_out() && outcome.is_none() {
                let text = "another thread's fetch has not ended in time".to_owned();
                return Err(failed(io::ErrorKind::TimedOut, text));
            }
        }
    }
}

fn failed(kind: io::ErrorKind, text: String) -> SpanError {
    SpanError::Read { offset: 0, source: io::Error::new(kind, text) }
}

impl Pilot<'_> {
    /// The points that are left to fetch from.
    pub(super) fn points(&self) -> Range<u32> {
        self.points.clone()
    }

    /// Ends the flights of all points before `point`: their spans are there.
    pub(super) fn passed(&mut self, point: u32) {
        while self.points.start < point.min(self.points.end) {
            self.flights.land(self.points.start, Ok(()));
            self.points.start += 1;
        }
    }

    /// Ends the fetch by an error and tells those who wait.
    pub(super) fn fail(mut self, error: &SpanError) {
        let outcome = match error {
            SpanError::Read { source, .. } | SpanError::ReadWindow { source, .. } => {
                (source.kind(), source.to_string())
            }
            e @ (SpanError::Decode { .. } | SpanError::Mismatch { .. }) => {
                (io::ErrorKind::InvalidData, e.to_string())
            }
        };
        for point in std::mem::take(&mut self.points) {
            self.flights.land(point, Err(outcome.clone()));
        }
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        for point in std::mem::take(&mut self.points) {
            self.flights.land(point, Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine(turn: Turn<'_>) -> Pilot<'_> {
        match turn {
            Turn::Mine(pilot) => pilot,
            Turn::Wait(_) => panic!("somebody else fetches"),
        }
    }

    #[test]
    fn a_point_is_fetched_by_one_and_those_after_it_as_far_as_they_are_free() {
        let flights = Flights::default();
        let one = mine(flights.begin(3..5));
        assert!(matches!(flights.begin(4..9), Turn::Wait(_)));
        let mut other = mine(flights.begin(1..9));
        assert_eq!(other.points(), 1..3);
        let Turn::Wait(first) = flights.begin(1..2) else { panic!() };
        let Turn::Wait(second) = flights.begin(2..3) else { panic!() };
        other.passed(2);
        first.wait().unwrap();
        other.fail(&failed(io::ErrorKind::TimedOut, "x".into()));
        assert!(second.wait().is_err());
        drop(one);
        assert_eq!(mine(flights.begin(1..9)).points(), 1..9);
    }
}
