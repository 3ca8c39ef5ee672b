use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use stratafs::error::Kind as ErrorKind;
use stratafs::snapshot::{Kind, Labels, Owner};

use super::super::model::{Model, Modelled, Op};
use super::open;
use super::step::Step;

/// The name of the file by which the content of a snapshot is known again.
pub const MARKER: &str = "marker";

/// Snapshots and their markers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub model: Model,
    pub markers: BTreeMap<String, String>,
}

impl State {
    pub fn apply(&mut self, step: &Step) -> Result<(), ErrorKind> {
        match step {
            Step::Call(op) => {
                self.model.apply(op)?;
                match op {
                    Op::Commit { name, key, .. } => {
                        if let Some(marker) = self.markers.remove(key) {
                            self.markers.insert(name.clone(), marker);
                        }
                    }
                    Op::Remove { key } => drop(self.markers.remove(key)),
                    Op::Prepare { .. } | Op::View { .. } | Op::Update { .. } | Op::Cleanup => {}
                }
            }
            Step::Write { key, marker } => drop(self.markers.insert(key.clone(), marker.clone())),
            Step::Lazy { name, parent, marker } => {
                if self.model.0.contains_key(name) {
                    return Err(ErrorKind::AlreadyExists);
                }
                let (kind, parent, labels) = (Kind::Committed, parent.clone(), Labels::new());
                self.model.0.insert(name.clone(), Modelled { kind, parent, labels });
                self.markers.insert(name.clone(), marker.clone());
            }
        }
        Ok(())
    }

    /// The part whose keys start with `prefix`.
    pub fn part(&self, prefix: &str) -> Self {
        let mut part = self.clone();
        part.model.0.retain(|key, _| key.starts_with(prefix));
        part.markers.retain(|key, _| key.starts_with(prefix));
        part
    }

    /// What is in the store and on disk below `root`; panics where the two do not agree.
    pub fn found(root: &Path) -> Self {
        let store = rusqlite::Connection::open(root.join("metadata.db")).unwrap();
        let check: String =
            store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let foreign = store.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap();
        assert!(!foreign, "a row refers to a missing one");
        let mut statement = store.prepare("SELECT id, name, kind FROM snapshots").unwrap();
        let rows: Vec<(i64, String, i64)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let mut markers = BTreeMap::new();
        for (id, name, kind) in &rows {
            let folder = root.join("snapshots").join(id.to_string());
            assert!(folder.join("fs").is_dir(), "{name} has no folder");
            assert!(*kind != 2 || folder.join("work").is_dir(), "{name} has no work folder");
            if let Ok(marker) = fs::read_to_string(folder.join("fs").join(MARKER)) {
                markers.insert(name.clone(), marker);
            }
        }
        let folders = fs::read_dir(root.join("snapshots")).unwrap().count();
        assert_eq!(folders, rows.len(), "a folder without a snapshot");
        let model = Model::of(&open(root).snapshotter(Owner::Containerd));
        assert_eq!(model.0.len(), rows.len());
        Self { model, markers }
    }
}
