//! Paths of a layer that lead through symbolic links of the layers below.
//!
//! A layer may bring `lib/x` without saying what `lib` is, where the layers below have
//! `lib -> usr/lib`. Whoever unpacks layers one by one writes `usr/lib/x` then, as do GNU tar,
//! umoci and containerd (`fs.RootPath`), and a layer made by hand or by a build system counts on it.
//! [`super::merge`] knows nothing of links, so the layers are rewritten before it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::archive::{FileType, LayerPath};
use crate::layer::{Name, Target, Toc};

use super::error::Error;
use super::lower::{Below, Origins, hides};
use super::resolve::MAX_LINKS;

/// `layers`, bottom first, with paths that lead through links of lower layers taken to where they
/// lead; layers without such paths are the same.
///
/// A link is followed where the layer itself says nothing of its path: a folder that a layer lists
/// replaces the link. Links stay inside of the root, `..` at the root is the root. One that leads
/// in circles is not followed.
///
/// # Errors
///
/// Those of [`super::merge`] for hard links.
pub fn follow<'a>(layers: &[&'a Toc]) -> Result<Vec<Cow<'a, Toc>>, Error> {
    let mut followed: Vec<Cow<'a, Toc>> = Vec::with_capacity(layers.len());
    for toc in layers {
        let below: Vec<&Toc> = followed.iter().map(|toc| &**toc).collect();
        let rewritten = rewritten(toc, &below)?;
        followed.push(rewritten.map_or(Cow::Borrowed(*toc), Cow::Owned));
    }
    Ok(followed)
}

/// `toc` with its paths followed; `None` where that changes nothing.
fn rewritten(toc: &Toc, below: &[&Toc]) -> Result<Option<Toc>, Error> {
    let implied = implied_folders(toc);
    if implied.is_empty() || below.is_empty() {
        return Ok(None);
    }
    let mut guide = Guide { toc, below: Origins::resolve(below)?, known: HashMap::new() };
    if implied.iter().all(|folder| guide.folder(folder) == *folder) {
        return Ok(None);
    }
    let mut names: BTreeMap<LayerPath, Target> = BTreeMap::new();
    for name in &toc.names {
        let target = match &name.target {
            Target::Inode(inode) => Target::Inode(*inode),
            Target::Lower(path) => Target::Lower(guide.file(path)),
        };
        // Two names may come to one path: the one that the archive had later stays.
        match names.entry(guide.file(&name.path)) {
            std::collections::btree_map::Entry::Occupied(mut other) => {
                if order(&target) > order(other.get()) {
                    other.insert(target);
                }
            }
            std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(target)),
        }
    }
    let sorted = |mut paths: Vec<LayerPath>| {
        paths.sort();
        paths.dedup();
        paths
    };
    let whiteouts = sorted(toc.whiteouts.iter().map(|path| guide.file(path)).collect());
    let opaques = sorted(toc.opaques.iter().map(|path| guide.folder(path)).collect());
    let names = names.into_iter().map(|(path, target)| Name { path, target }).collect();
    Ok(Some(Toc { inodes: toc.inodes.clone(), names, whiteouts, opaques }))
}

/// When the archive first had what a name stands for; links to lower layers come first.
fn order(target: &Target) -> Option<u32> {
    match target {
        Target::Inode(inode) => Some(*inode),
        Target::Lower(_) => None,
    }
}

/// The folders that `toc` speaks of without listing them.
fn implied_folders(toc: &Toc) -> Vec<LayerPath> {
    let listed = |path: &LayerPath| place(toc, path).is_some();
    let links = toc.names.iter().filter_map(|name| match &name.target {
        Target::Inode(_) => None,
        Target::Lower(path) => Some(path),
    });
    let paths = toc.names.iter().map(|name| &name.path).chain(&toc.whiteouts).chain(links);
    let mut last = LayerPath::root();
    let mut found = Vec::new();
    for folder in paths.filter_map(LayerPath::parent).chain(toc.opaques.iter().cloned()) {
        if folder == last {
            continue; // What is in one folder comes together.
        }
        let above = std::iter::successors(Some(folder.clone()), LayerPath::parent);
        found.extend(above.filter(|path| !path.is_root() && !listed(path)));
        last = folder;
    }
    found.sort();
    found.dedup();
    found
}

fn place(toc: &Toc, path: &LayerPath) -> Option<usize> {
    toc.names.binary_search_by(|name| name.path.cmp(path)).ok()
}

/// Knows where the folders of a layer are.
struct Guide<'a, 'l> {
    toc: &'l Toc,
    below: Origins<'a, 'l>,
    known: HashMap<LayerPath, LayerPath>,
}

impl Guide<'_, '_> {
    /// Where the layer's file `path` is: its folder is followed, it itself is not.
    fn file(&mut self, path: &LayerPath) -> LayerPath {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return path.clone();
        };
        let folder = self.folder(&folder);
        // A path that gets too long stays what it was.
        folder.join(name).unwrap_or_else(|_| path.clone())
    }

    /// Where the layer's folder `path` is.
    fn folder(&mut self, path: &LayerPath) -> LayerPath {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let found = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = self.folder(&parent);
                let there = parent.join(name).unwrap_or_else(|_| path.clone());
                let is_own = place(self.toc, path).is_some();
                let end = if is_own { None } else { self.end_of_link(&there) };
                end.unwrap_or(there)
            }
            _ => path.clone(),
        };
        self.known.insert(path.clone(), found.clone());
        found
    }

    /// Where the link at `path` ends; `None` if there is no link, or it has no end.
    fn end_of_link(&self, path: &LayerPath) -> Option<LayerPath> {
        let mut left: Vec<Box<[u8]>> = Vec::new();
        let mut at = self.step(path, &mut left)?;
        let mut links = 1;
        while let Some(part) = left.pop() {
            let next = match &*part {
                b"" | b"." => continue,
                b".." => at.parent().unwrap_or_default(),
                name => at.join(name).ok()?,
            };
            at = match self.step(&next, &mut left) {
                Some(_) if links == MAX_LINKS => return None,
                Some(from) => {
                    links += 1;
                    from
                }
                None => next,
            };
        }
        Some(at)
    }

    /// Where to go on from if a link is at `path`; its target's parts are pushed to `left`.
    fn step(&self, path: &LayerPath, left: &mut Vec<Box<[u8]>>) -> Option<LayerPath> {
        let target = self.link(path)?;
        left.extend(target.split(|&b| b == b'/').rev().map(Into::into));
        if target.starts_with(b"/") { Some(LayerPath::root()) } else { path.parent() }
    }

    /// The target of the symbolic link at `path`, of the layer or of those below.
    fn link(&self, path: &LayerPath) -> Option<&[u8]> {
        let inode = match place(self.toc, path).map(|place| &self.toc.names[place].target) {
            Some(Target::Inode(inode)) => self.toc.inodes.get(*inode as usize)?,
            Some(Target::Lower(_)) => return None,
            None if hides(&self.toc.whiteouts, Some(path.clone())) => return None,
            None if hides(&self.toc.opaques, path.parent()) => return None,
            None => match self.below.look(path) {
                Below::File(origin) => self.below.inode(origin)?,
                Below::Directory | Below::Nothing => return None,
            },
        };
        (inode.metadata.file_type == FileType::Symlink).then_some(&inode.link_target)
    }
}
