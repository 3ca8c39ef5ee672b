//! Whether SQLite may write: on a full disk of small blocks it would kill the process.

use std::path::Path;

use rusqlite::ffi;

use super::super::Error;

/// SQLite writes to its index of the log (`-shm`) through a mapping. Before, it makes sure of one
/// block in each of these many bytes (`unixShmMap` in its `os_unix.c`); where blocks are smaller, a
/// write to one of the others is a SIGBUS if there is no room for it.
const PAGE: u64 = 4096;

/// Room for a new index and what the filesystem needs to know of it, in bytes.
const NEEDED: u64 = 64 << 10;

/// Checks that the disk of the store at `path` has room for the index of its log. Between this and
/// the write others may take the room: that is as far as it can be seen to from outside of SQLite.
///
/// # Errors
///
/// [`Error::StoreFull`].
pub(super) fn check_room(path: &Path) -> Result<(), Error> {
    // Where it cannot be told, SQLite says what is wrong.
    let Ok(disk) = rustix::fs::statvfs(path.parent().unwrap_or(path)) else { return Ok(()) };
    // Not `f_bfree`: ext4 keeps some of those blocks from root too.
    if disk.f_frsize >= PAGE || disk.f_bavail.saturating_mul(disk.f_frsize) >= NEEDED {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None).into())
}
