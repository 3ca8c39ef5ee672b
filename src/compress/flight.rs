//! Single flight: of several threads that miss on one access point, one decodes and the others
//! wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::SpanError;
use super::pages::Pages;

/// How long a thread waits for another one's decode.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(120);

/// An access point of one of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PointKey {
    pub(super) layer: u32,
    pub(super) point: u32,
}

/// What a decode has given so far.
#[derive(Debug, Clone)]
enum Progress {
    /// Spans up to this one, if any, have been handed over.
    Running(Option<u32>),
    /// The last span that was asked for, and its bytes.
    Done(u32, Arc<Pages>),
    /// It failed. Only those who waited learn of it.
    Failed(Arc<SpanError>),
    /// The thread that decoded has panicked.
    Abandoned,
}

/// One decode under way.
#[derive(Debug)]
pub(super) struct Flight {
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// What waiting for a flight has brought.
#[derive(Debug)]
pub(super) enum Landed {
    /// The bytes.
    Bytes(Arc<Pages>),
    /// The span may be in the cache now; else it is to be decoded anew.
    LookAgain,
    /// The decode failed.
    Failed(Arc<SpanError>),
    /// [`WAIT_MAX`] has passed.
    TimedOut,
}

impl Flight {
    /// Waits until `span` has been handed over, or the flight has ended.
    pub(super) fn wait(&self, span: u32) -> Landed {
        let deadline = Instant::now() + WAIT_MAX;
        let mut progress = self.progress.lock();
        loop {
            match &*progress {
                Progress::Running(Some(passed)) if *passed >= span => return Landed::LookAgain,
                Progress::Running(_) => {}
                Progress::Done(done, bytes) if *done == span => {
                    return Landed::Bytes(Arc::clone(bytes));
                }
                Progress::Done(..) | Progress::Abandoned => return Landed::LookAgain,
                Progress::Failed(e) => return Landed::Failed(Arc::clone(e)),
            }
            if self.changed.wait_until(&mut progress, deadline).timed_out() {
                return Landed::TimedOut;
            }
        }
    }

    fn set(&self, progress: Progress) {
        *self.progress.lock() = progress;
        self.changed.notify_all();
    }
}

/// The decodes under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<PointKey, Arc<Flight>>>,
}

/// Whether the caller is to decode or to wait.
#[derive(Debug)]
pub(super) enum Boarding<'a> {
    /// To decode.
    Lead(Lead<'a>),
    /// To wait.
    Wait(Arc<Flight>),
}

impl Flights {
    /// Joins the decode of `key`, or begins it.
    pub(super) fn board(&self, key: PointKey) -> Boarding<'_> {
        use std::collections::hash_map::Entry;
        match self.under_way.lock().entry(key) {
            Entry::Occupied(flight) => Boarding::Wait(Arc::clone(flight.get())),
            Entry::Vacant(place) => {
                let flight = Arc::new(Flight {
                    progress: Mutex::new(Progress::Running(None)),
                    changed: Condvar::new(),
                });
                place.insert(Arc::clone(&flight));
                Boarding::Lead(Lead { flights: self, key, flight, landed: false })
            }
        }
    }
}

/// The duty to decode; dropped without an outcome it wakes those who wait.
#[derive(Debug)]
pub(super) struct Lead<'a> {
    flights: &'a Flights,
    key: PointKey,
    flight: Arc<Flight>,
    landed: bool,
}

impl Lead<'_> {
    /// Says that `span` is in the cache.
    pub(super) fn passed(&self, span: u32) {
        self.flight.set(Progress::Running(Some(span)));
    }

    /// Ends the flight with what it was made for.
    pub(super) fn land(mut self, span: u32, bytes: Arc<Pages>) {
        self.end(Progress::Done(span, bytes));
    }

    /// Ends the flight with an error.
    pub(super) fn fail(mut self, error: Arc<SpanError>) {
        self.end(Progress::Failed(error));
    }

    fn end(&mut self, progress: Progress) {
        self.landed = true;
        self.flights.under_way.lock().remove(&self.key);
        self.flight.set(progress);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.end(Progress::Abandoned);
        }
    }
}
