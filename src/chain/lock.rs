use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::digest::ChainId;

/// How long one process waits for another that unpacks the same layer. After that it does the work
/// itself: the result is the same, only made twice.
const WAIT: Duration = Duration::from_secs(600);

/// How often it is looked whether the other is done.
const TICK: Duration = Duration::from_millis(20);

/// The right to unpack a layer of a chain; it ends with the process at the latest.
#[derive(Debug)]
pub(super) struct ChainLock {
    _file: File,
}

impl ChainLock {
    /// Takes the lock of `chain` in the folder `dir`, or `None` where another process still has it
    /// after a long time.
    pub(super) fn take(dir: &Path, chain: &ChainId) -> io::Result<Option<Self>> {
        fs::create_dir_all(dir)?;
        let digest = chain.digest();
        let name = format!("{}-{}.lock", digest.algorithm().name(), digest.hex());
        let file = File::create(dir.join(name))?;
        let deadline = Instant::now() + WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(TryLockError::Error(e)) => return Err(e),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(TICK),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_second_taker_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let chain = ChainId::new(Digest::sha256(b"chain"));
        let first = ChainLock::take(dir.path(), &chain).unwrap();
        let started = Instant::now();
        thread::scope(|scope| {
            let second = scope.spawn(|| ChainLock::take(dir.path(), &chain).unwrap().is_some());
            thread::sleep(Duration::from_millis(60));
            drop(first);
            assert!(second.join().unwrap());
        });
        assert!(started.elapsed() >= Duration::from_millis(60));
    }
}
