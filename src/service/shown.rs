//! Which way the daemon shows each chain, in a file of the run folder: `status` and `inspect` are
//! other processes.
//!
//! The file is as short-lived as the mounts that it tells of, and nothing hangs on it: where it
//! cannot be written, a log line says so.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::daemon::turn_path;
use crate::digest::ChainId;
use crate::erofs::{Choice, Way};

/// How a chain is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownChain {
    /// The chain.
    pub chain_id: String,
    /// Where its tree is.
    pub path: PathBuf,
    /// Which way.
    pub mode: Way,
    /// Why that way.
    pub why: String,
    /// Whether the data come from a local file and not through FUSE.
    pub local: bool,
}

impl ShownChain {
    pub(super) fn new(chain: &ChainId, path: &Path, choice: Choice, local: bool) -> Self {
        Self {
            chain_id: chain.to_string(),
            path: path.to_owned(),
            mode: choice.way,
            why: choice.why,
            local,
        }
    }
}

/// What the daemon of a run folder shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Whether a daemon is at work; where not, the chains wait for the next one.
    pub served: bool,
    /// The chains, sorted.
    pub chains: Vec<ShownChain>,
}

impl Shown {
    /// What the daemon of the run folder `run_root` shows; `None` where none was ever started.
    ///
    /// # Errors
    ///
    /// Those of reading the folder; `InvalidData` where the file is none of ours.
    pub fn load(run_root: &Path) -> io::Result<Option<Self>> {
        let served = match File::open(turn_path(run_root)) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => false,
                Err(TryLockError::WouldBlock) => true,
                Err(TryLockError::Error(e)) => return Err(e),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let chains = read(&path(run_root))?.into_values().collect();
        Ok(Some(Self { served, chains }))
    }
}

type Table = BTreeMap<String, ShownChain>;

/// The chains that this daemon shows, in memory and in the file.
#[derive(Debug)]
pub(super) struct ShownChains {
    path: PathBuf,
    table: Mutex<Table>,
}

impl ShownChains {
    /// None yet.
    pub(super) fn none(run_root: &Path) -> Self {
        let chains = Self { path: path(run_root), table: Mutex::default() };
        chains.change(|_| ());
        chains
    }

    /// Those of the daemon before.
    pub(super) fn of_daemon_before(run_root: &Path) -> Self {
        let path = path(run_root);
        let table = read(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "how chains are shown is not known");
            Table::new()
        });
        Self { path, table: Mutex::new(table) }
    }

    /// How `chain` is shown.
    pub(super) fn get(&self, chain: &ChainId) -> Option<ShownChain> {
        self.table.lock().get(&chain.to_string()).cloned()
    }

    pub(super) fn put(&self, shown: ShownChain) {
        self.change(|table| {
            table.insert(shown.chain_id.clone(), shown);
        });
    }

    pub(super) fn remove(&self, chain: &ChainId) {
        self.change(|table| {
            table.remove(&chain.to_string());
        });
    }

    fn change(&self, f: impl FnOnce(&mut Table)) {
        // Held over writing a small file: the next change must not overtake it.
        let mut table = self.table.lock();
        f(&mut table);
        if let Err(error) = write(&self.path, &table) {
            tracing::warn!(path = %self.path.display(), %error, "status will not tell how chains are shown");
        }
    }
}

fn path(run_root: &Path) -> PathBuf {
    run_root.join("shown.json")
}

fn read(path: &Path) -> io::Result<Table> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Table::new()),
        Err(e) => Err(e),
    }
}

fn write(path: &Path, table: &Table) -> io::Result<()> {
    let dir = path.parent().unwrap_or(path);
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&serde_json::to_vec(table)?)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn another_process_finds_what_is_shown_and_whether_anybody_serves_it() {
        let dir = tempfile::tempdir().unwrap();
        let run_root = dir.path();
        assert_eq!(Shown::load(run_root).unwrap(), None);
        let turn = File::create(turn_path(run_root)).unwrap();
        turn.lock().unwrap();
        let chains = ShownChains::none(run_root);
        let none = Shown { served: true, chains: Vec::new() };
        assert_eq!(Shown::load(run_root).unwrap(), Some(none));
        let [a, b] = ["a", "b"].map(|name| ChainId::new(Digest::sha256(name.as_bytes())));
        for chain in [&a, &b] {
            let choice = Choice::asked_for(Way::Fuse);
            chains.put(ShownChain::new(chain, Path::new("/there"), choice, false));
        }
        let local = ShownChain::new(&a, Path::new("/here"), Choice::possible(), true);
        chains.put(local.clone());
        chains.remove(&b);
        let expected = Shown { served: true, chains: vec![local.clone()] };
        assert_eq!(Shown::load(run_root).unwrap(), Some(expected));
        drop((turn, chains));
        let expected = Shown { served: false, chains: vec![local.clone()] };
        assert_eq!(Shown::load(run_root).unwrap(), Some(expected));
        let next = ShownChains::of_daemon_before(run_root);
        assert_eq!((next.get(&a), next.get(&b)), (Some(local), None));
    }
}
