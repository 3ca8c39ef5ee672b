//! The miss pool: where reads wait for bytes that are not at hand, so that the threads that
//! answer the kernel never do.
//!
//! # Invariants
//!
//! - every ticket is answered exactly once: with what its work gave, or with an error at its
//!   deadline, whichever is first; work that is stuck past its deadline keeps its thread and
//!   nothing else.
//! - a source (a layer) occupies at most [`Limits::per_source`] threads, so one that hangs leaves
//!   threads to the others; sources that wait take turns.
//! - the queue and the number of threads are bounded; threads start when they are needed and end
//!   when they have been idle for a while.
//!
//! # Locking
//!
//! One mutex over the queues, never held while work runs or an answer is sent.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::fs::Source;

/// Bounds of the miss pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Threads that may wait at once, all sources together.
    pub threads: usize,
    /// Threads that may wait for one source (one layer).
    pub per_source: usize,
    /// Reads that may queue for a thread; one more fails at once.
    pub queue: usize,
    /// How long a read may take, from the kernel's request; it then fails with EIO.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { threads: 128, per_source: 16, queue: 16 * 1024, deadline: Duration::from_secs(60) }
    }
}

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// Stack of a thread: a decoder runs on it.
const STACK: usize = 512 * 1024;

/// Why a read was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The deadline passed.
    #[error("its content did not come before the deadline")]
    Overdue,
    /// The queue is full, or no thread can be started.
    #[error("too many reads are waiting for content")]
    Full,
    /// The work panicked.
    #[error("its handler panicked")]
    Panicked,
    /// The pool is closing.
    #[error("the mount is ending")]
    Closed,
}

/// Fills the buffer and says how many bytes of it count, or gives an errno.
pub(super) type Work = Box<dyn FnOnce(&mut Vec<u8>) -> Result<usize, i32> + Send>;

/// Takes the outcome to whoever waits for it.
pub(super) type Reply = Box<dyn FnOnce(Result<Result<&[u8], i32>, Failure>) + Send>;

/// The right to answer a read; whoever takes it answers.
type Ticket = Arc<Mutex<Option<Reply>>>;

/// Answers, unless that was done. A reply that panics costs no thread of the pool.
fn answer(ticket: &Ticket, outcome: Result<Result<&[u8], i32>, Failure>) {
    let reply = ticket.lock().take();
    if let Some(reply) = reply
        && catch_unwind(AssertUnwindSafe(|| reply(outcome))).is_err()
    {
        tracing::error!("answering a read failed by a panic");
    }
}

struct Job {
    number: u64,
    work: Work,
    ticket: Ticket,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Job>,
    running: usize,
}

#[derive(Default)]
struct State {
    sources: HashMap<Source, Waiting>,
    /// Sources that have queued jobs, in the order of their turns.
    turns: VecDeque<Source>,
    queued: usize,
    threads: usize,
    idle: usize,
    /// The number of the next job.
    next: u64,
    /// Jobs that are queued or run, by number: in the order of their deadlines too, as all are
    /// given equally long.
    deadlines: BTreeMap<u64, (Instant, Ticket)>,
    clock_runs: bool,
    closed: bool,
}

struct Shared {
    limits: Limits,
    state: Mutex<State>,
    work_ready: Condvar,
    clock: Condvar,
}

/// A bounded pool of threads that wait.
pub(super) struct MissPool(Arc<Shared>);

impl MissPool {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            state: Mutex::default(),
            work_ready: Condvar::new(),
            clock: Condvar::new(),
        }))
    }

    /// Has `work` done by a thread that may wait; `source` says for whom it will.
    pub(super) fn submit(&self, source: Source, work: Work, reply: Reply) {
        let ticket: Ticket = Arc::new(Mutex::new(Some(reply)));
        if let Err(failure) = self.enqueue(source, work, ticket.clone()) {
            answer(&ticket, Err(failure));
        }
    }

    fn enqueue(&self, source: Source, work: Work, ticket: Ticket) -> Result<(), Failure> {
        let shared = &self.0;
        let mut state = shared.state.lock();
        if state.closed {
            return Err(Failure::Closed);
        }
        if state.queued >= shared.limits.queue {
            return Err(Failure::Full);
        }
        if !state.clock_runs {
            self.start_clock()?;
            state.clock_runs = true;
        }
        if state.wants_thread(source, &shared.limits) {
            match self.start_worker() {
                Ok(()) => state.threads += 1,
                Err(failure) if state.threads == 0 => return Err(failure),
                Err(_) => {}
            }
        }
        state.push(source, work, ticket, Instant::now() + shared.limits.deadline);
        let first = state.deadlines.len() == 1;
        drop(state);
        if first {
            shared.clock.notify_one();
        }
        shared.work_ready.notify_one();
        Ok(())
    }

    fn start_worker(&self) -> Result<(), Failure> {
        let shared = self.0.clone();
        let thread = std::thread::Builder::new().name("miss".into()).stack_size(STACK);
        thread.spawn(move || shared.work()).map(drop).map_err(|e| {
            tracing::error!(error = %e, "no thread for a read that has to wait");
            Failure::Full
        })
    }

    fn start_clock(&self) -> Result<(), Failure> {
        let shared = self.0.clone();
        let thread = std::thread::Builder::new().name("miss-clock".into()).stack_size(STACK);
        thread.spawn(move || shared.run_clock()).map(drop).map_err(|e| {
            tracing::error!(error = %e, "no thread for the deadlines of reads");
            Failure::Full
        })
    }
}

impl Drop for MissPool {
    /// Fails what is queued and lets idle threads end; a thread that is stuck ends when its work
    /// does.
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        let left: Vec<Ticket> =
            std::mem::take(&mut state.deadlines).into_values().map(|(_, ticket)| ticket).collect();
        drop(state);
        self.0.work_ready.notify_all();
        self.0.clock.notify_all();
        for ticket in left {
            answer(&ticket, Err(Failure::Closed));
        }
    }
}

impl State {
    /// Whether a new job of `source` would run at once if there were one more thread.
    fn wants_thread(&self, source: Source, limits: &Limits) -> bool {
        let ahead = self.sources.get(&source).map_or(0, |s| s.running + s.queue.len());
        ahead < limits.per_source && self.idle <= self.queued && self.threads < limits.threads
    }

    fn push(&mut self, source: Source, work: Work, ticket: Ticket, deadline: Instant) {
        let number = self.next;
        self.next += 1;
        self.deadlines.insert(number, (deadline, ticket.clone()));
        let queue = &mut self.sources.entry(source).or_default().queue;
        if queue.is_empty() {
            self.turns.push_back(source);
        }
        queue.push_back(Job { number, work, ticket });
        self.queued += 1;
    }

    /// Takes the next job whose source has a thread left.
    fn pop(&mut self, per_source: usize) -> Option<(Source, Job)> {
        for _ in 0..self.turns.len() {
            let id = self.turns.pop_front()?;
            let Some(source) = self.sources.get_mut(&id) else { continue };
            if source.running >= per_source {
                self.turns.push_back(id);
                continue;
            }
            let Some(job) = source.queue.pop_front() else { continue };
            source.running += 1;
            self.queued -= 1;
            if !source.queue.is_empty() {
                self.turns.push_back(id);
            }
            return Some((id, job));
        }
        None
    }

    fn finished(&mut self, id: Source, number: u64) {
        self.deadlines.remove(&number);
        if let Some(source) = self.sources.get_mut(&id) {
            source.running -= 1;
            if source.running == 0 && source.queue.is_empty() {
                self.sources.remove(&id);
            }
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut buf = Vec::new();
        let mut state = self.state.lock();
        while !state.closed {
            if let Some((source, job)) = state.pop(self.limits.per_source) {
                drop(state);
                let number = job.number;
                run(job, &mut buf);
                state = self.state.lock();
                state.finished(source, number);
                continue;
            }
            state.idle += 1;
            let timed_out = self.work_ready.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if timed_out && state.queued == 0 {
                break;
            }
        }
        state.threads -= 1;
    }

    fn run_clock(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            let Some(entry) = state.deadlines.first_entry() else {
                self.clock.wait(&mut state);
                continue;
            };
            let left = entry.get().0.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                self.clock.wait_for(&mut state, left);
                continue;
            }
            let (_, ticket) = entry.remove();
            drop(state);
            answer(&ticket, Err(Failure::Overdue));
            state = self.state.lock();
        }
    }
}

fn run(job: Job, buf: &mut Vec<u8>) {
    // Overdue while it was queued: nobody waits for it.
    if job.ticket.lock().is_none() {
        return;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| (job.work)(buf)));
    let outcome = match outcome {
        Ok(Ok(n)) => Ok(Ok(buf.get(..n).unwrap_or_default())),
        Ok(Err(errno)) => Ok(Err(errno)),
        Err(_) => Err(Failure::Panicked),
    };
    answer(&job.ticket, outcome);
}

#[cfg(test)]
mod tests;
