use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Transaction;

use super::backend::Backend;
use super::disk_usage::disk_usage;
use super::folders::RootAttributes;
use super::store::{self, Id, New};
use super::{Error, Filter, Info, Kind, Labels, Mount, Owner, Snapshotter, Usage, overlay};

/// How often a call starts over because another replaced the snapshot that it looked at.
const TRIES: usize = 8;

/// The snapshots of one owner in a [`Backend`]: writable ones are mounted by overlayfs.
#[derive(Debug, Clone)]
pub struct OverlaySnapshotter {
    pub(super) backend: Arc<Backend>,
    pub(super) owner: Owner,
}

/// What a new snapshot is to stand on.
struct Base {
    id: Id,
    attributes: RootAttributes,
}

impl OverlaySnapshotter {
    pub(super) fn new(backend: Arc<Backend>, owner: Owner) -> Self {
        Self { backend, owner }
    }

    /// Whose snapshots these are.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    fn record(&self, key: &str) -> Result<store::Record, Error> {
        self.backend.check_open()?;
        self.backend.store.read(|tx| store::get(tx, self.owner, key))
    }

    fn create(&self, kind: Kind, new: New<'_>) -> Result<Vec<Mount>, Error> {
        self.backend.check_open()?;
        unless_replaced(|| {
            let base = new.parent.map(|parent| self.base(parent)).transpose()?;
            self.backend.store.write(|tx| self.create_on(tx, kind, new, base.as_ref()))
        })
    }

    /// Looks at the parent of a new snapshot, with its lazy lower folder shown.
    fn base(&self, parent: &str) -> Result<Base, Error> {
        let (id, levels) = self.backend.store.read(|tx| {
            let id = store::parent_of_new(tx, self.owner, parent)?.id;
            Ok((id, store::levels(tx, id)?))
        })?;
        self.backend.show_lazy(&levels)?;
        let path = self.backend.folders.fs(id);
        Ok(Base { id, attributes: RootAttributes::of(Path::new(&path))? })
    }

    /// Makes row and folder, where the parent is still the one that was looked at.
    fn create_on(
        &self,
        tx: &Transaction<'_>,
        kind: Kind,
        new: New<'_>,
        base: Option<&Base>,
    ) -> Result<Vec<Mount>, Error> {
        let stack = store::create(tx, self.owner, kind, new)?;
        if stack.parents.first().map(|level| level.id) != base.map(|base| base.id) {
            return Err(Error::Replaced { key: new.parent.unwrap_or_default().to_owned() });
        }
        let mounts = overlay::mounts(&self.backend.folders, new.key, &stack)?;
        self.backend.folders.create(stack.id, kind, base.map(|base| &base.attributes))?;
        Ok(mounts)
    }

    fn try_commit(&self, key: &str, new: New<'_>) -> Result<(), Error> {
        let backend = &self.backend;
        let counted = backend.store.read(|tx| store::get_committable(tx, self.owner, key, new))?;
        let path = backend.folders.fs(counted.id);
        let usage = disk_usage(Path::new(&path)).map_err(Error::io("count", Path::new(&path)))?;
        if backend.options.sync_on_commit {
            backend.folders.sync_filesystem()?;
        }
        backend.store.write(|tx| {
            if store::commit(tx, self.owner, key, new, usage)? == counted.id {
                Ok(())
            } else {
                Err(Error::Replaced { key: key.to_owned() })
            }
        })
    }
}

impl Snapshotter for OverlaySnapshotter {
    fn stat(&self, key: &str) -> Result<Info, Error> {
        Ok(self.record(key)?.info)
    }

    fn update(&self, key: &str, labels: &Labels, paths: &[String]) -> Result<Info, Error> {
        self.backend.check_open()?;
        self.backend.store.write(|tx| store::update_labels(tx, self.owner, key, labels, paths))
    }

    fn usage(&self, key: &str) -> Result<Usage, Error> {
        let record = self.record(key)?;
        match record.info.kind {
            Kind::Committed => Ok(record.usage),
            Kind::View => Ok(Usage::default()),
            Kind::Active => {
                let path = self.backend.folders.fs(record.id);
                disk_usage(Path::new(&path)).map_err(Error::io("count", Path::new(&path)))
            }
        }
    }

    fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        self.backend.check_open()?;
        let stack = self.backend.store.read(|tx| store::stack(tx, self.owner, key))?;
        self.backend.show_lazy(&stack.parents)?;
        overlay::mounts(&self.backend.folders, key, &stack)
    }

    fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        self.create(Kind::Active, New { key, parent, labels })
    }

    fn view(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error> {
        self.create(Kind::View, New { key, parent, labels })
    }

    fn commit(
        &self,
        name: &str,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<(), Error> {
        self.backend.check_open()?;
        unless_replaced(|| self.try_commit(key, New { key: name, parent, labels }))
    }

    fn remove(&self, key: &str) -> Result<(), Error> {
        self.backend.check_open()?;
        let removed = self.backend.write_to_free(|tx| store::remove(tx, self.owner, key))?;
        self.backend.discard(removed.id, removed.chain.as_ref());
        Ok(())
    }

    fn walk(
        &self,
        filter: &Filter,
        visit: &mut dyn FnMut(Info) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.backend.check_open()?;
        for info in self.backend.store.read(|tx| store::walk(tx, self.owner, filter))? {
            if visit(info).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn cleanup(&self) -> Result<(), Error> {
        self.backend.check_open()?;
        self.backend.cleanup()
    }

    fn close(&self) -> Result<(), Error> {
        self.backend.close();
        Ok(())
    }
}

/// Runs `f`, again where another caller replaced what it had looked at.
fn unless_replaced<T>(f: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..TRIES {
        match f() {
            Err(Error::Replaced { .. }) => {}
            other => return other,
        }
    }
    f()
}
