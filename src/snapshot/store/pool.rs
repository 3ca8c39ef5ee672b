//! Connections to the metadata store, for many threads and processes at once.
//!
//! SQLite in WAL mode: readers see the last commit and wait for nobody, writers take turns, across
//! processes too. Within the process writers queue at a lock that is fair, instead of polling.
//! `synchronous=FULL` makes a commit outlast a power cut.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::super::Error;
use super::room::check_room;
use super::schema;

/// Connections that wait for the next reader.
const MAX_IDLE: usize = 8;

/// How long opening sleeps between attempts to switch a new store to WAL mode.
const OPEN_RETRY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Pool {
    path: PathBuf,
    deadline: Duration,
    idle: Mutex<Vec<Connection>>,
    writer: Mutex<Connection>,
}

impl Pool {
    /// Opens or makes the store at `path`; no call waits for other processes longer than
    /// `deadline`.
    pub(crate) fn open(path: &Path, deadline: Duration) -> Result<Self, Error> {
        check_room(path)?;
        let mut writer = connect(path, deadline)?;
        switch_to_wal(&writer, deadline)?;
        schema::migrate(&mut writer, path)?;
        let idle = Mutex::new(Vec::new());
        Ok(Self { path: path.to_owned(), deadline, idle, writer: Mutex::new(writer) })
    }

    /// Runs `f` on a consistent view of the store.
    pub(crate) fn read<T>(
        &self,
        f: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, self.deadline)?,
        };
        let result = f(&connection.transaction_with_behavior(TransactionBehavior::Deferred)?);
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        result
    }

    /// Runs `f` in the one write transaction of the moment and commits what it did, or undoes it
    /// where it fails.
    pub(crate) fn write<T>(
        &self,
        f: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let busy = || Error::Busy { seconds: self.deadline.as_secs() };
        let mut writer = self.writer.try_lock_for(self.deadline).ok_or_else(busy)?;
        check_room(&self.path)?;
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = f(&tx)?;
        tx.commit()?;
        Ok(value)
    }
}

fn connect(path: &Path, deadline: Duration) -> Result<Connection, Error> {
    // Each connection is used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(deadline)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The switch needs the store for itself and does not wait for it by the busy timeout, so two
/// processes that make one store at once try again.
fn switch_to_wal(connection: &Connection, deadline: Duration) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(value) => return Err(Error::Damaged { what: "journal mode", value }),
            Err(e)
                if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && start.elapsed() < deadline =>
            {
                std::thread::sleep(OPEN_RETRY);
            }
            Err(e) => return Err(e.into()),
        }
    }
}
