//! The tables of `metadata.db` and how older ones become the newest.

use rusqlite::Connection;

use super::super::Error;

/// Says in the file's header that it is ours ("strf").
const APPLICATION_ID: i64 = 0x7374_7266;

/// What makes version `n + 1` from version `n`, at index `n`. Entries never change once released.
const MIGRATIONS: &[&str] = &[
    // A chain is the chain below and one layer on top, as chain IDs are defined; the blobs are
    // those known to hold that layer. Internal IDs of snapshots name their folders and are never
    // used twice. Times are nanoseconds since the epoch.
    "CREATE TABLE chains (
         chain   TEXT PRIMARY KEY,
         below   TEXT REFERENCES chains (chain),
         diff_id TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX chains_below ON chains (below) WHERE below IS NOT NULL;
     CREATE TABLE chain_blobs (
         chain TEXT NOT NULL REFERENCES chains (chain) ON DELETE CASCADE,
         blob  TEXT NOT NULL,
         PRIMARY KEY (chain, blob)
     ) STRICT, WITHOUT ROWID;

     CREATE TABLE snapshots (
         id      INTEGER PRIMARY KEY AUTOINCREMENT,
         owner   TEXT NOT NULL,
         name    TEXT NOT NULL,
         kind    INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),
         parent  INTEGER REFERENCES snapshots (id),
         chain   TEXT REFERENCES chains (chain),
         created INTEGER NOT NULL,
         updated INTEGER NOT NULL,
         inodes  INTEGER NOT NULL DEFAULT 0,
         size    INTEGER NOT NULL DEFAULT 0,
         UNIQUE (owner, name),
         CHECK (chain IS NULL OR kind = 3)
     ) STRICT;
     CREATE INDEX snapshots_parent ON snapshots (parent) WHERE parent IS NOT NULL;
     CREATE INDEX snapshots_chain ON snapshots (chain) WHERE chain IS NOT NULL;

     CREATE TABLE labels (
         snapshot INTEGER NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
         key      TEXT NOT NULL,
         value    TEXT NOT NULL,
         PRIMARY KEY (snapshot, key)
     ) STRICT, WITHOUT ROWID;

     CREATE TABLE leases (
         id      INTEGER PRIMARY KEY AUTOINCREMENT,
         expires INTEGER NOT NULL
     ) STRICT;
     CREATE TABLE lease_chains (
         lease INTEGER NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
         chain TEXT NOT NULL REFERENCES chains (chain),
         PRIMARY KEY (lease, chain)
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX lease_chains_chain ON lease_chains (chain);",
];

/// Brings the store that `connection` is open on to the newest version.
///
/// # Errors
///
/// [`Error::ForeignStore`], [`Error::NewerSchema`], and those of the store.
pub(super) fn migrate(connection: &mut Connection, path: &std::path::Path) -> Result<(), Error> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    // Without a write lock first: the usual case is that there is nothing to do.
    if version(connection, path)? == known {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found = version(&tx, path)?;
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len());
    let Some(done) = done else {
        return Err(Error::NewerSchema { found, known });
    };
    for migration in &MIGRATIONS[done..] {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", known)?;
    Ok(tx.commit()?)
}

fn version(connection: &Connection, path: &std::path::Path) -> Result<i64, Error> {
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, version) = (read("application_id")?, read("user_version")?);
    match application {
        APPLICATION_ID => Ok(version),
        0 if version == 0 => Ok(0),
        _ => Err(Error::ForeignStore { path: path.to_owned() }),
    }
}
