use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const LONG: Duration = Duration::from_secs(60);

type Outcome = Result<Result<Vec<u8>, i32>, Failure>;

fn submit(
    pool: &MissPool,
    source: usize,
    work: impl FnOnce(&mut Vec<u8>) -> Result<usize, i32> + Send + 'static,
) -> Receiver<Outcome> {
    let (tell, outcome) = channel();
    let reply: Reply = Box::new(move |outcome| {
        let _ = tell.send(outcome.map(|done| done.map(<[u8]>::to_vec)));
    });
    pool.submit(Source::numbered(source), Box::new(work), reply);
    outcome
}

fn pool(threads: usize, per_source: usize, queue: usize, deadline: Duration) -> MissPool {
    MissPool::new(Limits { threads, per_source, queue, deadline })
}

/// Work that goes on until what is returned is dropped.
fn hang() -> (impl FnOnce(&mut Vec<u8>) -> Result<usize, i32> + Send, Sender<()>) {
    let (release, released) = channel::<()>();
    let work = move |_: &mut Vec<u8>| {
        let _ = released.recv();
        Ok(0)
    };
    (work, release)
}

#[test]
fn work_is_answered_with_what_it_gives() {
    let pool = pool(2, 2, 8, LONG);
    let bytes = submit(&pool, 0, |buf| {
        *buf = b"bytes and more".to_vec();
        Ok(5)
    });
    assert_eq!(bytes.recv(), Ok(Ok(Ok(b"bytes".to_vec()))));
    assert_eq!(submit(&pool, 0, |_| Err(7)).recv(), Ok(Ok(Err(7))));
    assert_eq!(submit(&pool, 0, |_| panic!("as the test wants")).recv(), {
        Ok(Err(Failure::Panicked))
    });
    assert_eq!(submit(&pool, 0, |_| Ok(0)).recv(), Ok(Ok(Ok(vec![]))));
}

#[test]
fn hung_work_is_answered_at_its_deadline_and_so_is_what_waits_behind_it() {
    let pool = pool(1, 1, 8, Duration::from_millis(50));
    let (work, _release) = hang();
    let begun = Instant::now();
    let hung = submit(&pool, 0, work);
    let behind = submit(&pool, 0, |_| Ok(0));
    assert_eq!(hung.recv(), Ok(Err(Failure::Overdue)));
    assert_eq!(behind.recv(), Ok(Err(Failure::Overdue)));
    assert!(begun.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_hung_source_leaves_threads_to_the_others() {
    let pool = pool(4, 2, 64, LONG);
    let (hung, releases): (Vec<_>, Vec<_>) = (0..6)
        .map(|_| {
            let (work, release) = hang();
            (submit(&pool, 1, work), release)
        })
        .unzip();
    for n in 0..100 {
        assert_eq!(submit(&pool, 2 + n % 5, |_| Ok(0)).recv(), Ok(Ok(Ok(vec![]))));
    }
    drop(releases);
    for outcome in hung {
        assert_eq!(outcome.recv(), Ok(Ok(Ok(vec![]))));
    }
}

#[test]
fn a_full_queue_refuses() {
    let pool = pool(1, 1, 1, LONG);
    let (work, release) = hang();
    let running = submit(&pool, 0, work);
    while pool.0.state.lock().queued > 0 {
        std::thread::yield_now();
    }
    let queued = submit(&pool, 0, |_| Ok(0));
    assert_eq!(submit(&pool, 0, |_| Ok(0)).recv(), Ok(Err(Failure::Full)));
    drop(release);
    assert_eq!((running.recv(), queued.recv()), (Ok(Ok(Ok(vec![]))), Ok(Ok(Ok(vec![])))));
}

#[test]
fn threads_are_no_more_than_wanted() {
    let pool = pool(64, 8, 1024, LONG);
    for _ in 0..200 {
        assert!(submit(&pool, 0, |_| Ok(0)).recv().is_ok());
        // A thread is idle only a little after its answer was taken.
        while pool.0.state.lock().idle == 0 {
            std::thread::yield_now();
        }
    }
    let state = pool.0.state.lock();
    assert_eq!(state.threads, 1, "threads for one read at a time");
    assert!(state.deadlines.len() <= 1);
}

#[test]
fn a_pool_that_closes_answers_all_that_wait() {
    let pool = pool(1, 1, 8, LONG);
    let (work, _release) = hang();
    let running = submit(&pool, 0, work);
    let queued = submit(&pool, 0, |_| Ok(0));
    drop(pool);
    assert_eq!(running.recv(), Ok(Err(Failure::Closed)));
    assert_eq!(queued.recv(), Ok(Err(Failure::Closed)));
}
