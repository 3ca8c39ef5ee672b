use std::collections::{HashMap, HashSet};

use crate::archive::{LayerPath, Timestamp};

/// What a layer has brought so far.
///
/// Whiteouts hide what lower layers have and nothing of their own layer, wherever in the archive
/// they are: this tells the two apart in one folder. All paths here are resolved.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// For each folder below which the layer has brought something: what it has brought right there.
    names: HashMap<LayerPath, HashSet<Box<[u8]>>>,
    /// The times that folders have at the end, whatever happens in them until then.
    times: HashMap<LayerPath, Timestamp>,
}

impl Ledger {
    /// Notes that the layer brought `name` in `folder`.
    pub(super) fn bring(&mut self, folder: &LayerPath, name: &[u8]) {
        if let Some(names) = self.names.get_mut(folder) {
            names.insert(name.into());
            return;
        }
        self.names.entry(folder.clone()).or_default().insert(name.into());
        let mut above = folder.parent();
        while let Some(path) = above {
            above = path.parent();
            if self.names.contains_key(&path) {
                break;
            }
            self.names.insert(path, HashSet::new());
        }
    }

    /// Whether the layer brought `name` in `folder`.
    pub(super) fn brought(&self, folder: &LayerPath, name: &[u8]) -> bool {
        self.names.get(folder).is_some_and(|names| names.contains(name))
    }

    /// Whether the layer brought anything below the folder `path`.
    pub(super) fn reaches(&self, path: &LayerPath) -> bool {
        self.names.contains_key(path)
    }

    /// Notes that `name` of `folder` is gone.
    pub(super) fn forget(&mut self, folder: &LayerPath, name: &[u8]) {
        if let Some(names) = self.names.get_mut(folder) {
            names.remove(name);
        }
    }

    /// Notes that the folder `path` is gone, with its content.
    pub(super) fn forget_folder(&mut self, path: &LayerPath) {
        self.names.remove(path);
        self.times.remove(path);
    }

    /// Sets the time that the folder `path` has at the end.
    pub(super) fn set_time(&mut self, path: &LayerPath, time: Timestamp) {
        self.times.insert(path.clone(), time);
    }

    /// As [`Ledger::set_time`], unless one is set.
    pub(super) fn keep_time(&mut self, path: &LayerPath, time: Timestamp) {
        if !self.times.contains_key(path) {
            self.times.insert(path.clone(), time);
        }
    }

    /// The times to set at the end.
    pub(super) fn times(&self) -> impl Iterator<Item = (&LayerPath, Timestamp)> {
        self.times.iter().map(|(path, time)| (path, *time))
    }
}
