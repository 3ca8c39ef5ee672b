//! Chains of layers, and who needs them: snapshots, leases, and the chains above.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, params};

use super::super::Error;
use super::records::{Tx, chain, nanoseconds, parse};
use crate::digest::{ChainId, DiffId, Digest};

/// A stack of layers as the stack below and one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The chain ID.
    pub id: ChainId,
    /// The chain below; `None` for a single layer.
    pub below: Option<ChainId>,
    /// The layer on top.
    pub diff_id: DiffId,
    /// The blobs known to hold that layer.
    pub blobs: BTreeSet<Digest>,
}

impl Chain {
    /// The chain of `diff_id` on `below`, with one blob known to hold that layer.
    pub fn new(below: Option<&ChainId>, diff_id: DiffId, blob: Digest) -> Self {
        let id = match below {
            Some(below) => below.push(&diff_id),
            None => ChainId::new(diff_id.digest().clone()),
        };
        Self { id, below: below.cloned(), diff_id, blobs: BTreeSet::from([blob]) }
    }
}

/// The number of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseId(i64);

/// The layers that something needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Chains, those below others among them.
    pub(crate) chains: BTreeSet<ChainId>,
    /// Their layers.
    pub(crate) diff_ids: BTreeSet<DiffId>,
    /// The blobs known to hold those.
    pub(crate) blobs: BTreeSet<Digest>,
}

/// Every chain that a snapshot or a lease stands on.
const LIVE: &str = "WITH RECURSIVE live (chain) AS (
        SELECT chain FROM snapshots WHERE chain IS NOT NULL
        UNION
        SELECT chain FROM lease_chains
        UNION
        SELECT c.below FROM live JOIN chains c ON c.chain = live.chain WHERE c.below IS NOT NULL
    )";

/// Records `new`, or more blobs of a known chain. The chain below must be known.
pub(crate) fn put_chain(tx: &Tx<'_>, new: &Chain) -> Result<(), Error> {
    if let Some(below) = &new.below {
        get_chain(tx, below)?;
    }
    let id = new.id.to_string();
    tx.prepare_cached(
        "INSERT INTO chains (chain, below, diff_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        id,
        new.below.as_ref().map(ToString::to_string),
        new.diff_id.to_string()
    ])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO chain_blobs (chain, blob) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?;
    for blob in &new.blobs {
        insert.execute([&id, &blob.to_string()])?;
    }
    Ok(())
}

/// The chain `id`.
pub(crate) fn get_chain(tx: &Tx<'_>, id: &ChainId) -> Result<Chain, Error> {
    let text = id.to_string();
    let found = tx
        .prepare_cached("SELECT below, diff_id FROM chains WHERE chain = ?1")?
        .query_row([&text], |row| Ok((chain(row, 0)?, digest(row, 1)?)))
        .optional()?;
    let (below, diff_id) = found.ok_or_else(|| Error::ChainNotFound { chain: id.clone() })?;
    let blobs = tx
        .prepare_cached("SELECT blob FROM chain_blobs WHERE chain = ?1")?
        .query_map([&text], |row| digest(row, 0))?
        .collect::<Result<_, _>>()?;
    Ok(Chain { id: id.clone(), below, diff_id, blobs })
}

/// Whether a snapshot of any owner has the tree of `id` as its content.
pub(crate) fn chain_has_snapshot(tx: &Tx<'_>, id: &ChainId) -> Result<bool, Error> {
    let mut statement = tx.prepare_cached("SELECT 1 FROM snapshots WHERE chain = ?1 LIMIT 1")?;
    Ok(statement.exists([id.to_string()])?)
}

/// The chains that snapshots of any owner have as their content.
pub(crate) fn snapshot_chains(tx: &Tx<'_>) -> Result<Vec<ChainId>, Error> {
    let sql = "SELECT DISTINCT chain FROM snapshots WHERE chain IS NOT NULL";
    let mut statement = tx.prepare_cached(sql)?;
    Ok(statement.query_map([], |row| digest(row, 0))?.collect::<Result<_, _>>()?)
}

/// Makes a lease that keeps its chains until `expires`.
pub(crate) fn create_lease(tx: &Tx<'_>, expires: SystemTime) -> Result<LeaseId, Error> {
    let mut statement = tx.prepare_cached("INSERT INTO leases (expires) VALUES (?1)")?;
    Ok(LeaseId(statement.insert([nanoseconds(expires)])?))
}

/// Puts the known chain `id` under `lease`.
pub(crate) fn add_to_lease(tx: &Tx<'_>, lease: LeaseId, id: &ChainId) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO lease_chains (lease, chain) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?
    .execute(params![lease.0, id.to_string()])?;
    Ok(())
}

/// Ends `lease`, where it has not expired already.
pub(crate) fn delete_lease(tx: &Tx<'_>, lease: LeaseId) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute([lease.0])?;
    Ok(())
}

/// Forgets leases that have expired by `now` and chains that nothing needs, and returns the rest.
pub(crate) fn collect(tx: &Tx<'_>, now: SystemTime) -> Result<Live, Error> {
    tx.execute("DELETE FROM leases WHERE expires <= ?1", [nanoseconds(now)])?;
    tx.execute(
        &format!("{LIVE} DELETE FROM chains WHERE chain NOT IN (SELECT chain FROM live)"),
        [],
    )?;
    Ok(Live {
        chains: column(tx, "SELECT chain FROM chains")?,
        diff_ids: column(tx, "SELECT diff_id FROM chains")?,
        blobs: column(tx, "SELECT blob FROM chain_blobs")?,
    })
}

fn column<T: Ord + std::str::FromStr<Err = crate::digest::ParseError>>(
    tx: &Tx<'_>,
    sql: &str,
) -> Result<BTreeSet<T>, Error> {
    let mut statement = tx.prepare_cached(sql)?;
    Ok(statement.query_map([], |row| digest(row, 0))?.collect::<Result<_, _>>()?)
}

fn digest<T: std::str::FromStr<Err = crate::digest::ParseError>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    parse(&row.get::<_, String>(column)?, column)
}
