//! The steps that change snapshots, each with containerd's checks in its order.

use std::time::SystemTime;

use rusqlite::{ErrorCode, OptionalExtension, params};

use super::super::info::{check_key, check_labels};
use super::super::{Error, Info, Kind, Labels, Owner, Usage};
use super::records::{Id, Record, Stack, Tx, find, get, kind_number, nanoseconds, stack};
use crate::digest::ChainId;

/// A snapshot to be made or committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New<'a> {
    /// The key or name.
    pub(crate) key: &'a str,
    pub(crate) parent: Option<&'a str>,
    pub(crate) labels: &'a Labels,
}

impl New<'_> {
    fn check(&self) -> Result<(), Error> {
        check_key(self.key)?;
        check_labels(self.labels)
    }
}

/// Makes an active snapshot or view: the parent is checked first, then the key.
pub(crate) fn create(tx: &Tx<'_>, owner: Owner, kind: Kind, new: New<'_>) -> Result<Stack, Error> {
    new.check()?;
    let parent = new.parent.map(|parent| parent_of_new(tx, owner, parent)).transpose()?;
    insert(tx, owner, kind, new, parent.map(|p| p.id), None)?;
    stack(tx, owner, new.key)
}

/// Makes a committed snapshot whose content is the merged tree of `chain`, with the parent checked
/// first, then the name.
pub(crate) fn create_lazy(
    tx: &Tx<'_>,
    owner: Owner,
    new: New<'_>,
    chain: &ChainId,
    usage: Usage,
) -> Result<Id, Error> {
    new.check()?;
    let parent = new.parent.map(|parent| parent_of_new(tx, owner, parent)).transpose()?;
    let id = insert(tx, owner, Kind::Committed, new, parent.map(|p| p.id), Some(chain))?;
    set_usage(tx, id, usage)?;
    Ok(id)
}

/// The committed snapshot that is to be the parent of a new one.
pub(crate) fn parent_of_new(tx: &Tx<'_>, owner: Owner, parent: &str) -> Result<Record, Error> {
    let record = find(tx, owner, parent)?
        .ok_or_else(|| Error::ParentNotFound { parent: parent.to_owned() })?;
    match record.info.kind {
        Kind::Committed => Ok(record),
        kind @ (Kind::Active | Kind::View) => {
            Err(Error::ParentNotCommitted { parent: parent.to_owned(), kind })
        }
    }
}

fn insert(
    tx: &Tx<'_>,
    owner: Owner,
    kind: Kind,
    new: New<'_>,
    parent: Option<Id>,
    chain: Option<&ChainId>,
) -> Result<Id, Error> {
    let now = nanoseconds(SystemTime::now());
    let mut statement = tx.prepare_cached(
        "INSERT INTO snapshots (owner, name, kind, parent, chain, created, updated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?;
    let chain = chain.map(ToString::to_string);
    let parent = parent.map(|id| id.0);
    let row = params![owner.name(), new.key, kind_number(kind), parent, chain, now];
    match statement.insert(row) {
        Ok(id) => {
            put_labels(tx, Id(id), new.labels)?;
            Ok(Id(id))
        }
        Err(e) if is_unique_violation(&e) => Err(Error::Exists { key: new.key.to_owned() }),
        Err(e) => Err(e.into()),
    }
}

fn is_unique_violation(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| {
        e.code == ErrorCode::ConstraintViolation
            && e.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
    })
}

/// Replaces the labels of `id`; those without a value are left out.
fn put_labels(tx: &Tx<'_>, id: Id, labels: &Labels) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM labels WHERE snapshot = ?1")?.execute([id.0])?;
    let mut insert =
        tx.prepare_cached("INSERT INTO labels (snapshot, key, value) VALUES (?1, ?2, ?3)")?;
    for (key, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        insert.execute(params![id.0, key, value])?;
    }
    Ok(())
}

fn set_usage(tx: &Tx<'_>, id: Id, usage: Usage) -> Result<(), Error> {
    tx.prepare_cached("UPDATE snapshots SET inodes = ?2, size = ?3 WHERE id = ?1")?
        .execute(params![id.0, usage.inodes.cast_signed(), usage.size.cast_signed()])?;
    Ok(())
}

/// Changes labels of `key`: all of them where `paths` is empty or holds `labels`, single ones for
/// `labels.KEY`, whose KEY is taken as it is.
pub(crate) fn update_labels(
    tx: &Tx<'_>,
    owner: Owner,
    key: &str,
    labels: &Labels,
    paths: &[String],
) -> Result<Info, Error> {
    check_key(key)?;
    check_labels(labels)?;
    let Record { id, mut info, .. } = get(tx, owner, key)?;
    if paths.is_empty() {
        info.labels.clone_from(labels);
    }
    for path in paths {
        match path.strip_prefix("labels.") {
            Some(label) => {
                let value = labels.get(label).cloned().unwrap_or_default();
                info.labels.insert(label.to_owned(), value);
            }
            None if path == "labels" => info.labels.clone_from(labels),
            None => return Err(Error::FixedField { key: key.to_owned(), field: path.clone() }),
        }
    }
    put_labels(tx, id, &info.labels)?;
    let now = nanoseconds(SystemTime::now());
    tx.prepare_cached("UPDATE snapshots SET updated = ?2 WHERE id = ?1")?
        .execute(params![id.0, now])?;
    Ok(get(tx, owner, key)?.info)
}

/// The active snapshot `key`, where it can be committed as `new`: the name is checked first, then
/// the key, then the parent.
pub(crate) fn get_committable(
    tx: &Tx<'_>,
    owner: Owner,
    key: &str,
    new: New<'_>,
) -> Result<Record, Error> {
    new.check()?;
    if find(tx, owner, new.key)?.is_some() {
        return Err(Error::Exists { key: new.key.to_owned() });
    }
    let record = get(tx, owner, key)?;
    if record.info.kind != Kind::Active {
        return Err(Error::NotActive { key: key.to_owned(), kind: record.info.kind });
    }
    match (&record.info.parent, new.parent) {
        (Some(old), Some(new)) if old != new => {
            Err(Error::ParentFixed { key: key.to_owned(), old: old.clone(), new: new.to_owned() })
        }
        (None, Some(new)) => rebase_parent(tx, owner, new).map(|_| record),
        (Some(_) | None, _) => Ok(record),
    }
}

fn rebase_parent(tx: &Tx<'_>, owner: Owner, parent: &str) -> Result<Record, Error> {
    let found = parent_of_new(tx, owner, parent);
    if let Err(Error::ParentNotCommitted { parent, kind }) = found {
        return Err(Error::RebaseParentNotCommitted { parent, kind });
    }
    found
}

/// Turns the active snapshot `key` into the committed `new`, with the same internal ID; labels are
/// those of `new`.
pub(crate) fn commit(
    tx: &Tx<'_>,
    owner: Owner,
    key: &str,
    new: New<'_>,
    usage: Usage,
) -> Result<Id, Error> {
    let id = get_committable(tx, owner, key, new)?.id;
    let parent = new.parent.map(|parent| rebase_parent(tx, owner, parent)).transpose()?;
    tx.prepare_cached(
        "UPDATE snapshots SET name = ?2, kind = ?3, parent = COALESCE(parent, ?4), created = ?5,
         updated = ?5 WHERE id = ?1",
    )?
    .execute(params![
        id.0,
        new.key,
        kind_number(Kind::Committed),
        parent.map(|p| p.id.0),
        nanoseconds(SystemTime::now()),
    ])?;
    set_usage(tx, id, usage)?;
    put_labels(tx, id, new.labels)?;
    Ok(id)
}

/// Removes the snapshot `key`, which must have no children, and returns what it was.
pub(crate) fn remove(tx: &Tx<'_>, owner: Owner, key: &str) -> Result<Record, Error> {
    let record = get(tx, owner, key)?;
    let child: Option<String> = tx
        .prepare_cached("SELECT name FROM snapshots WHERE parent = ?1 LIMIT 1")?
        .query_row([record.id.0], |row| row.get(0))
        .optional()?;
    if let Some(child) = child {
        return Err(Error::HasChild { key: key.to_owned(), child });
    }
    tx.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?.execute([record.id.0])?;
    Ok(record)
}
