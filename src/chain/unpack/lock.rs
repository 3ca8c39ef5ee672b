//! Locks that processes share: a file a chain, held by flock(2), which ends with its holder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::digest::ChainId;

use super::{UnpackError, UnpackOptions};

/// How long to sleep between two looks at a lock that another process holds.
const POLL: Duration = Duration::from_millis(20);

/// The right to unpack a chain, as long as it lives.
#[derive(Debug)]
pub(super) struct ChainLock {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

/// Waits for the lock of `chain`; `None` where there are no locks, or it took too long.
pub(super) fn acquire(
    options: &UnpackOptions,
    chain: &ChainId,
) -> Result<Option<ChainLock>, UnpackError> {
    let Some(folder) = &options.locks else { return Ok(None) };
    let digest = chain.digest();
    let path = folder.join(format!("{}-{}.lock", digest.algorithm().name(), digest.hex()));
    let failed = |source| UnpackError::Lock { path: path.clone(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let give_up = Instant::now() + options.lock_wait;
    loop {
        match try_lock(&path).map_err(failed)? {
            Some(file) => return Ok(Some(ChainLock { path, _file: file })),
            None if Instant::now() >= give_up => {
                tracing::warn!(%chain, "another process takes long to unpack this: doing it too");
                return Ok(None);
            }
            None => std::thread::sleep(POLL),
        }
    }
}

/// Takes the lock if nobody has it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    // Its holder may have removed it after it was opened here: then it is nobody's lock.
    let same = |named: fs::Metadata| {
        file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (named.dev(), named.ino()))
    };
    Ok(fs::metadata(path).is_ok_and(same).then_some(file))
}

impl Drop for ChainLock {
    fn drop(&mut self) {
        // Held until after this, so that nobody removes the lock of another.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a lock stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::digest::Digest;

    fn chain() -> ChainId {
        ChainId::new(Digest::sha256(b"chain"))
    }

    fn options(folder: &Path, wait: u64) -> UnpackOptions {
        let locks = Some(folder.join("locks"));
        UnpackOptions { locks, lock_wait: Duration::from_millis(wait), ..UnpackOptions::default() }
    }

    #[test]
    fn one_at_a_time_holds_a_lock() {
        let temp = tempfile::tempdir().unwrap();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let lock = acquire(&options(temp.path(), 60_000), &chain()).unwrap();
                        assert!(lock.is_some());
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(temp.path().join("locks")).unwrap().count(), 0);
    }

    #[test]
    fn waiting_ends() {
        let temp = tempfile::tempdir().unwrap();
        let held = acquire(&options(temp.path(), 0), &chain()).unwrap();
        assert!(held.is_some());
        assert!(acquire(&options(temp.path(), 50), &chain()).unwrap().is_none());
        drop(held);
        assert!(acquire(&options(temp.path(), 50), &chain()).unwrap().is_some());
    }

    /// A process that was killed leaves the file, but not the lock.
    #[test]
    fn what_a_dead_holder_left_is_taken() {
        let temp = tempfile::tempdir().unwrap();
        let options = options(temp.path(), 0);
        let held = acquire(&options, &chain()).unwrap().unwrap();
        fs::copy(&held.path, temp.path().join("copy")).unwrap();
        let path = held.path.clone();
        drop(held);
        fs::rename(temp.path().join("copy"), path).unwrap();
        assert!(acquire(&options, &chain()).unwrap().is_some());
    }
}
