//! What hard links to paths of lower layers stand for.
//!
//! A link of layer *n* means what layers 0 to *n* - 1 show at its target, before the whiteouts of
//! layer *n* apply: it keeps the inode even where the same layer, or a later one, hides the target.

use std::collections::HashMap;

use crate::archive::{FileType, LayerPath};
use crate::layer::{Inode, Target, Toc};

use super::error::Error;

/// An inode of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// The layer.
    pub(super) layer: u16,
    /// The place in its [`Toc::inodes`].
    pub(super) inode: u32,
}

/// What every name of a chain stands for, links to lower layers resolved.
pub(super) struct Origins<'a, 'l> {
    layers: &'l [&'a Toc],
    /// By layer and place of the name.
    links: HashMap<(u16, u32), Origin>,
}

/// What the layers below show at a path.
pub(super) enum Below {
    File(Origin),
    Directory,
    Nothing,
}

impl<'a, 'l> Origins<'a, 'l> {
    /// Resolves every [`Target::Lower`] of `layers`, bottom first.
    pub(super) fn resolve(layers: &'l [&'a Toc]) -> Result<Self, Error> {
        let mut origins = Self { layers, links: HashMap::new() };
        for (layer, toc) in (0..).zip(layers) {
            for (place, name) in (0..).zip(&toc.names) {
                let Target::Lower(target) = &name.target else { continue };
                let (path, target) = (name.path.clone(), target.clone());
                match origins.look_below(layer, &target) {
                    Below::File(origin) => origins.links.insert((layer, place), origin),
                    Below::Directory => {
                        let layer = usize::from(layer);
                        return Err(Error::LinkToDirectory { layer, path, target });
                    }
                    Below::Nothing => {
                        let layer = usize::from(layer);
                        return Err(Error::MissingTarget { layer, path, target });
                    }
                };
            }
        }
        Ok(origins)
    }

    /// The inode that the name at `place` of `layer` stands for.
    pub(super) fn of(&self, layer: u16, place: u32) -> Option<Origin> {
        match self.layers.get(usize::from(layer))?.names.get(place as usize)?.target {
            Target::Inode(inode) => Some(Origin { layer, inode }),
            Target::Lower(_) => self.links.get(&(layer, place)).copied(),
        }
    }

    /// The type of an inode.
    pub(super) fn file_type(&self, origin: Origin) -> FileType {
        self.layers[usize::from(origin.layer)].inodes[origin.inode as usize].metadata.file_type
    }

    /// An inode.
    pub(super) fn inode(&self, origin: Origin) -> Option<&Inode> {
        self.layers.get(usize::from(origin.layer))?.inodes.get(origin.inode as usize)
    }

    /// What all the layers together show at `path`.
    pub(super) fn look(&self, path: &LayerPath) -> Below {
        self.look_below(u16::try_from(self.layers.len()).unwrap_or(u16::MAX), path)
    }

    fn look_below(&self, top: u16, path: &LayerPath) -> Below {
        for layer in (0..top).rev() {
            if let Some(found) = self.look_in(layer, path) {
                return found;
            }
        }
        Below::Nothing
    }

    /// What `layer` says of `path`; `None` where the layers below it decide.
    fn look_in(&self, layer: u16, path: &LayerPath) -> Option<Below> {
        let toc = self.layers[usize::from(layer)];
        let place = match toc.names.binary_search_by(|name| name.path.cmp(path)) {
            Ok(place) => return Some(self.named(layer, place)),
            Err(place) => place,
        };
        if toc.names.get(place).is_some_and(|next| next.path.starts_with(path)) {
            return Some(Below::Directory);
        }
        // Nothing sorts between a file and a path below it, so one look back finds the file.
        let under_a_file = place > 0
            && path.starts_with(&toc.names[place - 1].path)
            && !matches!(self.named(layer, place - 1), Below::Directory);
        if under_a_file || hides(&toc.whiteouts, Some(path.clone())) {
            return Some(Below::Nothing);
        }
        hides(&toc.opaques, path.parent()).then_some(Below::Nothing)
    }

    fn named(&self, layer: u16, place: usize) -> Below {
        match self.of(layer, u32::try_from(place).unwrap_or(u32::MAX)) {
            None => Below::Nothing,
            Some(origin) if self.file_type(origin) == FileType::Directory => Below::Directory,
            Some(origin) => Below::File(origin),
        }
    }
}

/// Whether `path` or a folder above it is in the sorted `list`.
pub(super) fn hides(list: &[LayerPath], path: Option<LayerPath>) -> bool {
    !list.is_empty()
        && std::iter::successors(path, LayerPath::parent).any(|p| list.binary_search(&p).is_ok())
}
