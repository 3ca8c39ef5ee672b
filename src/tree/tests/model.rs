//! The slow and obvious merge: a map of paths, to which the layers are applied one by one.

use std::collections::BTreeMap;

use crate::archive::{FileType, LayerPath};
use crate::layer::{Target, Toc};

/// A layer and a place in its inodes.
pub(super) type Origin = (usize, u32);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A directory: the layer that last listed it, and the last layer that implied it.
    Folder { listed: Option<Origin>, implied: usize },
    /// Anything else, and the layer of its name.
    File { origin: Origin, named: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Missing,
    Directory,
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) entries: BTreeMap<LayerPath, Entry>,
}

impl Model {
    pub(super) fn new() -> Self {
        let root = Entry::Folder { listed: None, implied: 0 };
        Self { entries: BTreeMap::from([(LayerPath::root(), root)]) }
    }

    pub(super) fn apply(&mut self, layer: usize, toc: &Toc) -> Result<(), Refused> {
        let below = self.clone();
        for path in &toc.whiteouts {
            self.entries.retain(|p, _| !p.starts_with(path));
        }
        for path in &toc.opaques {
            self.entries.retain(|p, _| p == path || !p.starts_with(path));
        }
        for name in &toc.names {
            let above = std::iter::successors(name.path.parent(), LayerPath::parent);
            for folder in above.filter(|p| !p.is_root()) {
                self.imply(layer, folder);
            }
            let origin = match &name.target {
                Target::Inode(inode) => (layer, *inode),
                Target::Lower(target) => match below.entries.get(target) {
                    None => return Err(Refused::Missing),
                    Some(Entry::Folder { .. }) => return Err(Refused::Directory),
                    Some(Entry::File { origin, .. }) => *origin,
                },
            };
            let is_folder = matches!(name.target, Target::Inode(inode)
                if toc.inodes[inode as usize].metadata.file_type == FileType::Directory);
            if is_folder {
                let listed = Some(origin);
                self.entries.insert(name.path.clone(), Entry::Folder { listed, implied: layer });
            } else {
                self.entries.retain(|p, _| !p.starts_with(&name.path));
                self.entries.insert(name.path.clone(), Entry::File { origin, named: layer });
            }
        }
        Ok(())
    }

    fn imply(&mut self, layer: usize, path: LayerPath) {
        let fresh = Entry::Folder { listed: None, implied: layer };
        match self.entries.get_mut(&path) {
            Some(Entry::Folder { implied, .. }) => *implied = layer,
            Some(other @ Entry::File { .. }) => *other = fresh,
            None => drop(self.entries.insert(path, fresh)),
        }
    }

    /// The paths of all that is no directory.
    pub(super) fn files(&self) -> Vec<LayerPath> {
        let is_file = |e: &Entry| matches!(e, Entry::File { .. });
        self.entries.iter().filter(|(_, e)| is_file(e)).map(|(p, _)| p.clone()).collect()
    }
}
