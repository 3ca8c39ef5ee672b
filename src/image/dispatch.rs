use std::collections::VecDeque;
use std::num::NonZeroUsize;

use parking_lot::{Condvar, Mutex};

use crate::content::Descriptor;

use super::walk::Seen;
use super::{Cancel, Error, Handler, Step};

/// Visits all below `roots`, up to `limit` descriptors at once. A descriptor that is reached twice
/// is handled once. The first error cancels the rest and is returned once those under way are back.
///
/// # Errors
///
/// As [`super::walk`].
pub fn dispatch(
    handler: &dyn Handler,
    limit: NonZeroUsize,
    roots: &[Descriptor],
    cancel: &Cancel,
) -> Result<(), Error> {
    let work = Work {
        state: Mutex::new(State {
            waiting: roots.iter().map(|root| (root.clone(), 0)).collect(),
            ..State::default()
        }),
        changed: Condvar::new(),
        cancel: cancel.child(),
    };
    std::thread::scope(|scope| {
        // This thread is one of them.
        for _ in 1..limit.get() {
            scope.spawn(|| work.run(handler));
        }
        work.run(handler);
    });
    match work.state.into_inner().error {
        Some(error) => Err(error),
        None => cancel.check(),
    }
}

/// What the threads of one dispatch share.
struct Work {
    state: Mutex<State>,
    /// There is more to do, or nothing any more.
    changed: Condvar,
    cancel: Cancel,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Descriptor, usize)>,
    running: usize,
    seen: Seen,
    error: Option<Error>,
}

impl Work {
    fn run(&self, handler: &dyn Handler) {
        while let Some((at, depth)) = self.take() {
            let mut turn = Turn { work: self, outcome: None };
            let step = self.cancel.check().and_then(|()| handler.handle(&at, &self.cancel));
            turn.outcome = Some((step, depth));
        }
    }

    /// The next descriptor to handle; `None` once there will be none.
    fn take(&self) -> Option<(Descriptor, usize)> {
        let mut state = self.state.lock();
        loop {
            if state.error.is_some() {
                return None;
            }
            while let Some((at, depth)) = state.waiting.pop_front() {
                match state.seen.admit(&at, depth) {
                    Ok(true) => {
                        state.running += 1;
                        return Some((at, depth));
                    }
                    Ok(false) => {}
                    Err(e) => {
                        self.fail(&mut state, e);
                        return None;
                    }
                }
            }
            if state.running == 0 {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    fn fail(&self, state: &mut State, error: Error) {
        // What fails because it was told to stop is no cause.
        state.error.get_or_insert(error);
        self.cancel.cancel();
        self.changed.notify_all();
    }
}

/// One descriptor in the hands of one thread; given back even where the handler panics.
struct Turn<'a> {
    work: &'a Work,
    outcome: Option<(Result<Step, Error>, usize)>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.work.state.lock();
        state.running -= 1;
        match self.outcome.take() {
            Some((Ok(Step::Children(children)), depth)) => {
                state.waiting.extend(children.into_iter().map(|child| (child, depth + 1)));
            }
            Some((Ok(Step::Skip | Step::Stop), _)) => {}
            Some((Err(e), _)) => self.work.fail(&mut state, e),
            // The panic goes on once all threads are back.
            None => self.work.fail(&mut state, Error::Cancelled),
        }
        self.work.changed.notify_all();
    }
}
