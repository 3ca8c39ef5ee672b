//! What the store knows of snapshots: one row each, labels beside.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::super::{Error, Filter, Info, Kind, Labels, Owner, Usage};
use crate::digest::ChainId;

/// The internal ID of a snapshot: the name of its folder, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(pub(in super::super) i64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All that the store knows of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: Id,
    pub(crate) info: Info,
    /// What was stored at the commit; zero before.
    pub(crate) usage: Usage,
    /// The chain whose merged tree is the content, of a lazy committed snapshot.
    pub(crate) chain: Option<ChainId>,
}

/// A committed snapshot below another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) id: Id,
    pub(crate) chain: Option<ChainId>,
}

/// An active snapshot or view and all that it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stack {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
    /// Nearest first.
    pub(crate) parents: Vec<Level>,
}

pub(super) type Tx<'a> = Transaction<'a>;

const COLUMNS: &str = "s.id, s.kind, s.name, p.name, s.chain, s.created, s.updated, s.inodes, \
                       s.size FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent";

/// The snapshot `key`.
pub(crate) fn get(tx: &Tx<'_>, owner: Owner, key: &str) -> Result<Record, Error> {
    find(tx, owner, key)?.ok_or_else(|| Error::NotFound { key: key.to_owned() })
}

pub(super) fn find(tx: &Tx<'_>, owner: Owner, key: &str) -> Result<Option<Record>, Error> {
    let sql = format!("SELECT {COLUMNS} WHERE s.owner = ?1 AND s.name = ?2");
    let row = tx.prepare_cached(&sql)?.query_row([owner.name(), key], record).optional()?;
    row.map(|record| with_labels(tx, record)).transpose()
}

/// The snapshots of `owner` that `filter` matches, in the order of their IDs.
pub(crate) fn walk(tx: &Tx<'_>, owner: Owner, filter: &Filter) -> Result<Vec<Info>, Error> {
    let sql = format!("SELECT {COLUMNS} WHERE s.owner = ?1 ORDER BY s.id");
    let mut statement = tx.prepare_cached(&sql)?;
    let mut labels = labels_of_all(tx, owner)?;
    let mut found = Vec::new();
    for row in statement.query_map([owner.name()], record)? {
        let Record { id, mut info, .. } = row?;
        info.labels = labels.remove(&id).unwrap_or_default();
        if filter.matches(&info) {
            found.push(info);
        }
    }
    Ok(found)
}

/// The labels of all snapshots of `owner` that have any.
fn labels_of_all(tx: &Tx<'_>, owner: Owner) -> Result<HashMap<Id, Labels>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT l.snapshot, l.key, l.value FROM labels l JOIN snapshots s ON s.id = l.snapshot
         WHERE s.owner = ?1",
    )?;
    let mut all: HashMap<Id, Labels> = HashMap::new();
    let rows = statement
        .query_map([owner.name()], |row| Ok((Id(row.get(0)?), row.get(1)?, row.get(2)?)))?;
    for row in rows {
        let (id, key, value) = row?;
        all.entry(id).or_default().insert(key, value);
    }
    Ok(all)
}

/// The internal IDs of the snapshots of every owner.
pub(crate) fn ids(tx: &Tx<'_>) -> Result<HashSet<Id>, Error> {
    let mut statement = tx.prepare_cached("SELECT id FROM snapshots")?;
    let ids = statement.query_map([], |row| Ok(Id(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// The active snapshot or view `key` with its parents.
pub(crate) fn stack(tx: &Tx<'_>, owner: Owner, key: &str) -> Result<Stack, Error> {
    let record = get(tx, owner, key)?;
    if record.info.kind == Kind::Committed {
        return Err(Error::NotMountable { key: key.to_owned() });
    }
    let parents = levels(tx, record.id)?.split_off(1);
    Ok(Stack { id: record.id, kind: record.info.kind, parents })
}

/// The snapshot `id` and all that it stands on, top first.
pub(crate) fn levels(tx: &Tx<'_>, id: Id) -> Result<Vec<Level>, Error> {
    let mut statement = tx.prepare_cached(
        "WITH RECURSIVE up (id, parent, chain, depth) AS (
             SELECT id, parent, chain, 0 FROM snapshots WHERE id = ?1
             UNION ALL
             SELECT s.id, s.parent, s.chain, up.depth + 1
             FROM up JOIN snapshots s ON s.id = up.parent
         ) SELECT id, chain FROM up ORDER BY depth",
    )?;
    let level = |row: &Row<'_>| Ok(Level { id: Id(row.get(0)?), chain: chain(row, 1)? });
    Ok(statement.query_map([id.0], level)?.collect::<Result<_, _>>()?)
}

/// Columns of [`COLUMNS`] to a record without its labels.
fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        id: Id(row.get(0)?),
        info: Info {
            kind: kind_of(row.get(1)?)?,
            name: row.get(2)?,
            parent: row.get(3)?,
            labels: Labels::new(),
            created: time_of(row.get(5)?),
            updated: time_of(row.get(6)?),
        },
        usage: Usage {
            inodes: row.get::<_, i64>(7)?.cast_unsigned(),
            size: row.get::<_, i64>(8)?.cast_unsigned(),
        },
        chain: chain(row, 4)?,
    })
}

fn with_labels(tx: &Tx<'_>, mut record: Record) -> Result<Record, Error> {
    let mut statement = tx.prepare_cached("SELECT key, value FROM labels WHERE snapshot = ?1")?;
    let labels = statement.query_map([record.id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    record.info.labels = labels.collect::<Result<_, _>>()?;
    Ok(record)
}

/// The number of `kind` in the store.
pub(super) fn kind_number(kind: Kind) -> i64 {
    match kind {
        Kind::View => 1,
        Kind::Active => 2,
        Kind::Committed => 3,
    }
}

fn kind_of(number: i64) -> rusqlite::Result<Kind> {
    match number {
        1 => Ok(Kind::View),
        2 => Ok(Kind::Active),
        3 => Ok(Kind::Committed),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    }
}

pub(super) fn chain(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ChainId>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse(&text, column)).transpose()
}

/// Parses a digest of column `column`.
pub(super) fn parse<T: std::str::FromStr<Err = crate::digest::ParseError>>(
    text: &str,
    column: usize,
) -> rusqlite::Result<T> {
    text.parse()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// Nanoseconds since the epoch, good until the year 2262.
pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn time_of(nanoseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}
