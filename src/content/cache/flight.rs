use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::compress::SpanError;

/// Which access points of a layer are being decoded from: one fetch a point; the others wait for it and share
/// its outcome. Nothing is kept once a fetch is over.
#[derive(Debug, Default)]
pub(super) struct Flights {
    points: Mutex<HashMap<u32, Arc<Flight>>>,
}

/// One fetch under way.
#[derive(Debug, Default)]
struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

type Outcome = Result<(), (io::ErrorKind, String)>;

/// What [`Flights::begin`] gives.
pub(super) enum Turn<'a> {
    /// The caller fetches.
    Mine(Pilot<'a>),
    /// Another thread fetched meanwhile; look whether what is wanted is there now.
    Landed,
    /// Another thread tried meanwhile, and this is what it got.
    Failed(SpanError),
}

/// The right to fetch from a point. Dropped without [`Pilot::land`], it fails those who wait.
pub(super) struct Pilot<'a> {
    flights: &'a Flights,
    point: u32,
}

impl Flights {
    /// Takes the right to fetch from `point`, or waits for the thread that has it.
    ///
    /// The wait ends: a source's reads have deadlines, and a pilot always lands.
    pub(super) fn begin(&self, point: u32) -> Turn<'_> {
        let flight = {
            let mut points = self.points.lock();
            match points.get(&point) {
                Some(flight) => flight.clone(),
                None => {
                    points.insert(point, Arc::default());
                    return Turn::Mine(Pilot { flights: self, point });
                }
            }
        };
        let mut outcome = flight.outcome.lock();
        while outcome.is_none() {
            flight.landed.wait(&mut outcome);
        }
        match &*outcome {
            Some(Err((kind, text))) => Turn::Failed(SpanError::Read {
                offset: 0,
                source: io::Error::new(*kind, text.clone()),
            }),
            _ => Turn::Landed,
        }
    }

    fn land(&self, point: u32, outcome: Outcome) {
        let flight = self.points.lock().remove(&point);
        if let Some(flight) = flight {
            *flight.outcome.lock() = Some(outcome);
            flight.landed.notify_all();
        }
    }
}

impl Pilot<'_> {
    /// Ends the fetch and tells those who wait.
    pub(super) fn land(self, result: &Result<(), SpanError>) {
        let outcome = match result {
            Ok(()) => Ok(()),
            Err(SpanError::Read { source, .. } | SpanError::ReadWindow { source, .. }) => {
                Err((source.kind(), source.to_string()))
            }
            Err(e @ (SpanError::Decode { .. } | SpanError::Mismatch { .. })) => {
                Err((io::ErrorKind::InvalidData, e.to_string()))
            }
        };
        self.flights.land(self.point, outcome);
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        let outcome = Err((io::ErrorKind::Other, "the fetch ended unexpectedly".to_owned()));
        self.flights.land(self.point, outcome);
    }
}
