//! Which tree is in which slot of the daemon's mount, for the daemon after it.
//!
//! The kernel may hold node numbers of any slot that was ever in use on a connection, so a slot is
//! written down before the kernel can see it, and is never given to another tree while the
//! connection lasts. The file is as short-lived as the connection: it is in the run folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::digest::ChainId;
use crate::io::AtomicFile;

/// What a node number means: the slot, the inode of the tree, what the kernel was told about the
/// connection. A daemon takes over only what was made with the same version.
pub(super) const VERSION: u32 = 1;

/// What is shown in one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Its number.
    pub(super) number: u32,
    /// [`Tree::fingerprint`](crate::tree::Tree::fingerprint) of the tree.
    pub(super) fingerprint: u32,
    /// By which index each layer is read ([`Chain::readings`](crate::chain::Chain::readings)); others
    /// may come to be here.
    #[serde(default)]
    pub(super) readings: Vec<Option<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    version: u32,
    connection: u32,
    next: u32,
    slots: BTreeMap<String, Slot>,
}

/// The slots of one connection, in memory and in a file.
#[derive(Debug)]
pub(super) struct Slots {
    path: PathBuf,
    table: Mutex<Table>,
}

impl Slots {
    /// No slots yet, for a new connection.
    pub(super) fn new(path: &Path, connection: u32) -> Result<Self, Error> {
        let table = Table { version: VERSION, connection, next: 1, slots: BTreeMap::new() };
        save(path, &table)?;
        Ok(Self { path: path.to_owned(), table: Mutex::new(table) })
    }

    /// The slots that another daemon wrote down for `connection`; `None` where there is no such
    /// file, or it means something else.
    pub(super) fn load(path: &Path, connection: u32) -> Option<Self> {
        let table: Table = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let fits = table.version == VERSION && table.connection == connection;
        fits.then(|| Self { path: path.to_owned(), table: Mutex::new(table) })
    }

    /// All chains with their slots.
    pub(super) fn all(&self) -> Vec<(ChainId, Slot)> {
        let table = self.table.lock();
        let parsed = |(name, slot): (&String, &Slot)| Some((name.parse().ok()?, slot.clone()));
        table.slots.iter().filter_map(parsed).collect()
    }

    /// The slot for a tree that is about to be shown, written down.
    pub(super) fn take(
        &self,
        chain: &ChainId,
        fingerprint: u32,
        readings: Vec<Option<String>>,
    ) -> Result<u32, Error> {
        self.change(|table| {
            let number = table.next;
            table.next = number.saturating_add(1);
            table.slots.insert(chain.to_string(), Slot { number, fingerprint, readings });
            number
        })
    }

    /// Gives up the slot of a chain that is not shown any more.
    pub(super) fn give_up(&self, chain: &ChainId) -> Result<(), Error> {
        self.change(|table| {
            table.slots.remove(&chain.to_string());
        })
    }

    fn change<T>(&self, f: impl FnOnce(&mut Table) -> T) -> Result<T, Error> {
        // Held over writing a small file: the next change must not overtake it.
        let mut table = self.table.lock();
        let mut changed = table.clone();
        let value = f(&mut changed);
        save(&self.path, &changed)?;
        *table = changed;
        Ok(value)
    }
}

fn save(path: &Path, table: &Table) -> Result<(), Error> {
    let write = || {
        let mut file = AtomicFile::create(path)?;
        file.file().write_all(&serde_json::to_vec(table).map_err(io::Error::from)?)?;
        file.commit()
    };
    write().map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn chain(name: &str) -> ChainId {
        ChainId::new(Digest::sha256(name.as_bytes()))
    }

    #[test]
    fn slots_are_found_again_and_never_used_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots.json");
        let slots = Slots::new(&path, 7).unwrap();
        assert_eq!(slots.take(&chain("a"), 11, vec![None, Some("x".into())]).unwrap(), 1);
        assert_eq!(slots.take(&chain("b"), 12, Vec::new()).unwrap(), 2);
        slots.give_up(&chain("b")).unwrap();
        let again = Slots::load(&path, 7).unwrap();
        let readings = vec![None, Some("x".into())];
        let slot = Slot { number: 1, fingerprint: 11, readings };
        assert_eq!(again.all(), [(chain("a"), slot)]);
        assert_eq!(again.take(&chain("b"), 12, Vec::new()).unwrap(), 3);
        assert!(Slots::load(&path, 8).is_none(), "of another connection");
    }

    #[test]
    fn what_another_version_wrote_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots.json");
        Slots::new(&path, 7).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"version\":1", "\"version\":2")).unwrap();
        assert!(Slots::load(&path, 7).is_none());
        fs::write(&path, "{").unwrap();
        assert!(Slots::load(&path, 7).is_none());
    }
}
