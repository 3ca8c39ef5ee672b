//! What is fetched before a read wants it: by a few threads, the most urgent first.
//!
//! | urgency | what | when |
//! |---|---|---|
//! | 0 | what follows what is read in order, the rest of a layer that is read densely, guesses | at once |
//! | 1 | the trace of a start | at once |
//! | 2 | the rest of all layers | once no read has waited for a while |
//!
//! # Invariants
//!
//! - Nobody waits for what is here but this module's threads; a task that fails is dropped, or, of
//!   urgency 2, tried again later.
//! - Tasks hold their layer weakly: a layer that nobody reads any more is not fetched.
//! - The mutex is not held while something is fetched.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::compress::StartTrace;

use super::layer::CachedLayer;
use super::pace::Pace;
use super::plan::{self, RUN_MAX, Wanted};

/// Fetches at the same time, of all urgencies.
const THREADS: usize = 8;
/// Of those, fetches of the rest of layers.
const BACKGROUND: usize = 2;
/// Tasks that may wait of one urgency; what is more is left to the reads.
const MAX_TASKS: usize = 1 << 16;
/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);
/// Stack of a thread: a decoder runs on it.
const STACK: usize = 512 << 10;

/// The threads that fetch ahead.
#[derive(Debug)]
pub(super) struct Ahead(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Spans of a layer to be fetched.
#[derive(Debug)]
struct Task {
    layer: Weak<CachedLayer>,
    spans: Range<u32>,
}

#[derive(Debug)]
struct State {
    /// What follows reads.
    urgent: VecDeque<Task>,
    /// What a start will read.
    trace: VecDeque<Task>,
    /// The rest.
    background: VecDeque<Task>,
    running_background: usize,
    pace: Pace,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// What a thread is to do next.
enum Next {
    Fetch(Task),
    Fill(Task),
    /// Nothing before this has passed.
    Wait(Duration),
}

/// A read that waits; the rest of layers waits with it.
pub(super) struct Waiting<'a>(&'a Shared);

impl Ahead {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                urgent: VecDeque::new(),
                trace: VecDeque::new(),
                background: VecDeque::new(),
                running_background: 0,
                pace: Pace::new(Instant::now()),
                threads: 0,
                idle: 0,
                closed: false,
            }),
            changed: Condvar::new(),
        }))
    }

    /// Says that a read waits, as long as the result lives.
    pub(super) fn read_waits(&self) -> Waiting<'_> {
        self.0.state.lock().pace.read_begins();
        Waiting(&self.0)
    }

    /// A start begins: the rest of layers waits until it is over.
    pub(super) fn start_begins(&self) {
        self.0.state.lock().pace.start_begins(Instant::now());
    }

    /// Fetches what a read will soon want.
    pub(super) fn fetch(&self, layer: &Arc<CachedLayer>, spans: Range<u32>) {
        self.add(|state| push(&mut state.urgent, layer, spans));
    }

    /// Fetches all of a layer that is read densely.
    pub(super) fn fetch_all(&self, layer: &Arc<CachedLayer>) {
        let runs = plan::runs(layer.table(), 0..spans_of(layer), u64::MAX, RUN_MAX);
        self.add(|state| {
            for run in runs {
                push(&mut state.urgent, layer, run);
            }
        });
    }

    /// Fetches what a start will read, which traces say. Those that are of another table say
    /// nothing.
    pub(super) fn replay(&self, traces: &[(Arc<CachedLayer>, StartTrace)]) {
        let fitting: Vec<_> =
            traces.iter().filter(|(layer, trace)| trace.fits(layer.table())).collect();
        let mut wanted = Vec::new();
        for (place, (layer, trace)) in fitting.iter().enumerate() {
            let missing = trace.spans().filter(|(span, _)| !layer.is_here(*span));
            wanted.extend(missing.map(|(span, at)| Wanted { at, layer: place, span }));
        }
        for (layer, trace) in &fitting {
            layer.guesses.follow_trace(trace.spans().map(|(span, _)| span));
        }
        let tables: Vec<_> = fitting.iter().map(|(layer, _)| layer.table()).collect();
        let fetches = plan::replay(&tables, wanted);
        self.add(|state| {
            for (place, run) in fetches {
                push(&mut state.trace, &fitting[place].0, run);
            }
        });
    }

    /// Fetches the rest of `layer` when nothing else is to be done.
    pub(super) fn fill(&self, layer: &Arc<CachedLayer>) {
        self.add(|state| push(&mut state.background, layer, 0..spans_of(layer)));
    }

    /// How many tasks wait: what follows reads, what starts will read, layers to be completed.
    pub(super) fn waiting(&self) -> (usize, usize, usize) {
        let state = self.0.state.lock();
        (state.urgent.len(), state.trace.len(), state.background.len())
    }

    fn add(&self, add: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock();
        add(&mut state);
        let waiting = state.urgent.len() + state.trace.len() + state.background.len();
        let mut missing = waiting.min(THREADS.saturating_sub(state.threads));
        missing = missing.saturating_sub(state.idle);
        for _ in 0..missing {
            let shared = self.0.clone();
            let builder = thread::Builder::new().name("ahead".into()).stack_size(STACK);
            // Without a thread nothing is fetched ahead, which is no failure.
            if builder.spawn(move || shared.work()).is_ok() {
                state.threads += 1;
            }
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

fn spans_of(layer: &CachedLayer) -> u32 {
    u32::try_from(layer.table().spans.len()).unwrap_or(u32::MAX)
}

fn push(tasks: &mut VecDeque<Task>, layer: &Arc<CachedLayer>, spans: Range<u32>) {
    if tasks.len() < MAX_TASKS {
        tasks.push_back(Task { layer: Arc::downgrade(layer), spans });
    }
}

impl State {
    fn next(&mut self, now: Instant) -> Next {
        if let Some(task) = self.urgent.pop_front().or_else(|| self.trace.pop_front()) {
            return Next::Fetch(task);
        }
        if self.background.is_empty() || self.running_background >= BACKGROUND {
            return Next::Wait(IDLE);
        }
        match self.pace.background_in(now) {
            Some(wait) => Next::Wait(wait),
            None => match self.background.pop_front() {
                Some(task) => {
                    self.running_background += 1;
                    Next::Fill(task)
                }
                None => Next::Wait(IDLE),
            },
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            match state.next(Instant::now()) {
                Next::Fetch(task) => {
                    drop(state);
                    fetch(&task);
                    state = self.state.lock();
                }
                Next::Fill(task) => {
                    let size = state.pace.run_size();
                    drop(state);
                    let begun = Instant::now();
                    let filled = fill(&task, size);
                    state = self.state.lock();
                    state.running_background -= 1;
                    state.after_fill(task, filled, begun);
                }
                Next::Wait(most) => {
                    state.idle += 1;
                    let timed_out = self.changed.wait_for(&mut state, most).timed_out();
                    state.idle -= 1;
                    if timed_out && most >= IDLE && state.background.is_empty() {
                        break;
                    }
                }
            }
        }
        state.threads -= 1;
    }
}

impl State {
    /// Puts back what is left of a layer.
    fn after_fill(&mut self, task: Task, filled: Filled, begun: Instant) {
        let now = Instant::now();
        match filled {
            Filled::Run { next, len } => {
                self.pace.fetched(len, now.saturating_duration_since(begun));
                self.background.push_front(Task { spans: next..task.spans.end, ..task });
            }
            Filled::Failed => {
                self.pace.failed(now);
                self.background.push_back(task);
            }
            Filled::Done => {}
        }
    }
}

/// How one step of completing a layer went.
enum Filled {
    /// So many compressed bytes were fetched; go on from there.
    Run {
        next: u32,
        len: u64,
    },
    Failed,
    /// It is complete, nobody reads it any more, or there is no room for it.
    Done,
}

fn fill(task: &Task, size: u64) -> Filled {
    let Some(layer) = task.layer.upgrade() else { return Filled::Done };
    if !layer.cache().is_some_and(|cache| cache.may_fill()) {
        return Filled::Done;
    }
    let Some(run) = layer.missing(task.spans.clone(), size) else {
        layer.note_complete();
        return Filled::Done;
    };
    let done = Filled::Run { next: run.end, len: plan::compressed_len(layer.table(), &run) };
    match layer.fetch_ahead(run) {
        Ok(()) => done,
        // What is not there will not come by asking for it again: a read that wants it will say so.
        Err(error) if error.is_wrong() => {
            tracing::warn!(%error, "some of a layer is not what its table of contents says");
            done
        }
        Err(error) => {
            tracing::debug!(%error, "the rest of a layer could not be fetched");
            Filled::Failed
        }
    }
}

fn fetch(task: &Task) {
    let Some(layer) = task.layer.upgrade() else { return };
    if let Err(error) = layer.fetch_ahead(task.spans.clone()) {
        tracing::debug!(%error, "could not fetch ahead");
    }
    layer.note_complete();
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().pace.read_ends(Instant::now());
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.changed.notify_all();
    }
}
