use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate};

/// How much room is set aside, in bytes: far more than a removal writes to the store.
const SIZE: u64 = 1 << 20;

/// Room on disk that is given up when removing something finds none: what frees space must not
/// need any first.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// The reserve that is kept as the file at `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Sets the room aside, where it is not and there is enough.
    pub(super) fn restore(&self) {
        if self.path.exists() {
            return;
        }
        let kept = File::create(&self.path)
            .and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, SIZE)?));
        if let Err(error) = kept {
            tracing::debug!(path = %self.path.display(), %error, "no room to set aside");
            self.give_up();
        }
    }

    fn give_up(&self) {
        // Another caller may have given it up a moment ago.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Does `f`, again with the room given up where it found the disk full.
    pub(super) fn or_give_up<T, E>(
        &self,
        is_full: impl Fn(&E) -> bool,
        f: impl Fn() -> Result<T, E>,
    ) -> Result<T, E> {
        match f() {
            Err(e) if is_full(&e) => {
                self.give_up();
                f()
            }
            other => other,
        }
    }
}

/// Whether the disk has neither blocks nor inodes left, or its owner no quota.
pub(super) fn no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
