use std::collections::HashSet;

use parking_lot::{Condvar, Mutex};

/// Which spans of a layer are being fetched: one fetch a span, the others wait for it.
#[derive(Debug, Default)]
pub(super) struct Flights {
    spans: Mutex<HashSet<u32>>,
    landed: Condvar,
}

/// The right to fetch a span; dropping it, with success or without, lets the waiting go on.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    span: u32,
}

impl Flights {
    /// Takes the right to fetch `span`. `None`: another thread was fetching it and is done; look
    /// whether it is there now.
    pub(super) fn begin(&self, span: u32) -> Option<Flight<'_>> {
        let mut spans = self.spans.lock();
        if spans.insert(span) {
            return Some(Flight { flights: self, span });
        }
        // Ends: the holder's fetch has a deadline of its own and its drop always wakes us.
        while spans.contains(&span) {
            self.landed.wait(&mut spans);
        }
        None
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.spans.lock().remove(&self.span);
        self.flights.landed.notify_all();
    }
}
