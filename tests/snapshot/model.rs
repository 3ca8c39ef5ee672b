//! What snapshots are, said in the simplest way: a map.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use stratafs::error::{Classify, Kind as ErrorKind};
use stratafs::snapshot::{Error, Filter, Kind, Labels, Snapshotter};

/// A call that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Prepare { key: String, parent: Option<String>, labels: Labels },
    View { key: String, parent: Option<String>, labels: Labels },
    Commit { name: String, key: String, parent: Option<String>, labels: Labels },
    Remove { key: String },
    Update { key: String, labels: Labels, paths: Vec<String> },
    Cleanup,
}

/// A snapshot without what only a clock or a disk knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modelled {
    pub kind: Kind,
    pub parent: Option<String>,
    pub labels: Labels,
}

/// All snapshots, by key or name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model(pub BTreeMap<String, Modelled>);

impl Model {
    /// What `snapshotter` holds.
    pub fn of(snapshotter: &dyn Snapshotter) -> Self {
        let mut model = Self::default();
        snapshotter
            .walk(&Filter::all(), &mut |info| {
                let (kind, parent, labels) = (info.kind, info.parent, info.labels);
                let old = model.0.insert(info.name, Modelled { kind, parent, labels });
                assert_eq!(old, None);
                ControlFlow::Continue(())
            })
            .unwrap();
        model
    }

    /// Does `op`, or says what is wrong with it.
    pub fn apply(&mut self, op: &Op) -> Result<(), ErrorKind> {
        match op {
            Op::Prepare { key, parent, labels } => self.create(Kind::Active, key, parent, labels),
            Op::View { key, parent, labels } => self.create(Kind::View, key, parent, labels),
            Op::Commit { name, key, parent, labels } => self.commit(name, key, parent, labels),
            Op::Remove { key } => self.remove(key),
            Op::Update { key, labels, paths } => self.update(key, labels, paths),
            Op::Cleanup => Ok(()),
        }
    }

    fn create(
        &mut self,
        kind: Kind,
        key: &str,
        parent: &Option<String>,
        labels: &Labels,
    ) -> Result<(), ErrorKind> {
        if let Some(parent) = parent {
            match self.0.get(parent).ok_or(ErrorKind::NotFound)?.kind {
                Kind::Committed => {}
                Kind::Active | Kind::View => return Err(ErrorKind::InvalidArgument),
            }
        }
        if self.0.contains_key(key) {
            return Err(ErrorKind::AlreadyExists);
        }
        self.put(key, kind, parent.clone(), labels);
        Ok(())
    }

    fn put(&mut self, key: &str, kind: Kind, parent: Option<String>, labels: &Labels) {
        let mut labels = labels.clone();
        labels.retain(|_, value| !value.is_empty());
        self.0.insert(key.to_owned(), Modelled { kind, parent, labels });
    }

    fn commit(
        &mut self,
        name: &str,
        key: &str,
        parent: &Option<String>,
        labels: &Labels,
    ) -> Result<(), ErrorKind> {
        if self.0.contains_key(name) {
            return Err(ErrorKind::AlreadyExists);
        }
        let old = self.0.get(key).ok_or(ErrorKind::NotFound)?.clone();
        if old.kind != Kind::Active {
            return Err(ErrorKind::FailedPrecondition);
        }
        let parent = match (old.parent, parent) {
            (Some(old), Some(new)) if old != *new => return Err(ErrorKind::InvalidArgument),
            (None, Some(new)) => match self.0.get(new).ok_or(ErrorKind::NotFound)?.kind {
                Kind::Committed => Some(new.clone()),
                Kind::Active | Kind::View => return Err(ErrorKind::FailedPrecondition),
            },
            (old, _) => old,
        };
        self.0.remove(key);
        self.put(name, Kind::Committed, parent, labels);
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), ErrorKind> {
        if !self.0.contains_key(key) {
            return Err(ErrorKind::NotFound);
        }
        if self.0.values().any(|other| other.parent.as_deref() == Some(key)) {
            return Err(ErrorKind::FailedPrecondition);
        }
        self.0.remove(key);
        Ok(())
    }

    fn update(&mut self, key: &str, labels: &Labels, paths: &[String]) -> Result<(), ErrorKind> {
        let snapshot = self.0.get(key).ok_or(ErrorKind::NotFound)?;
        let mut new = snapshot.labels.clone();
        if paths.is_empty() {
            new = labels.clone();
        }
        for path in paths {
            match (path.as_str(), path.split_once("labels.")) {
                ("labels", _) => new = labels.clone(),
                (_, Some(("", label))) => {
                    new.insert(label.to_owned(), labels.get(label).cloned().unwrap_or_default());
                }
                _ => return Err(ErrorKind::InvalidArgument),
            }
        }
        let (kind, parent) = (snapshot.kind, snapshot.parent.clone());
        self.put(key, kind, parent, &new);
        Ok(())
    }
}

/// Does `op` to the real thing.
pub fn perform(snapshotter: &dyn Snapshotter, op: &Op) -> Result<(), Error> {
    match op {
        Op::Prepare { key, parent, labels } => {
            snapshotter.prepare(key, parent.as_deref(), labels).map(drop)
        }
        Op::View { key, parent, labels } => {
            snapshotter.view(key, parent.as_deref(), labels).map(drop)
        }
        Op::Commit { name, key, parent, labels } => {
            snapshotter.commit(name, key, parent.as_deref(), labels)
        }
        Op::Remove { key } => snapshotter.remove(key),
        Op::Update { key, labels, paths } => snapshotter.update(key, labels, paths).map(drop),
        Op::Cleanup => snapshotter.cleanup(),
    }
}

/// Does `op` to both and checks that they agree on how it went.
pub fn perform_both(snapshotter: &dyn Snapshotter, model: &mut Model, op: &Op) {
    let (expected, result) = (model.apply(op), perform(snapshotter, op));
    match result {
        Ok(()) => assert_eq!(expected, Ok(()), "{op:?}"),
        Err(e) => assert_eq!(expected, Err(e.kind()), "{op:?}: {e}"),
    }
}
