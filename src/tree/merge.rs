//! The merge of a chain of layers.
//!
//! One depth-first walk over all layers at once. At each folder, the children are read in order
//! off the runs of the layers that show through there. What hides what is a *floor* that only
//! rises on the way down: the lowest layer that still shows. A whiteout of layer *n* raises the
//! floor of its path to *n*, an opaque marker that of the folder's content to *n*, a file of layer
//! *n* that of what is above it to *n* + 1. So a layer's whiteouts never touch its own entries, in
//! whatever order its tar had them.

use std::borrow::Cow;

use crate::archive::FileType;
use crate::layer::Toc;

use super::check::{MAX_INODES, MAX_LAYERS, check};
use super::error::Error;
use super::lower::{Origin, Origins};
use super::merged::{Merged, MergedInode, MergedName};
use super::run::{Children, Claim, List, Run};

/// Merges `layers`, bottom first, as the OCI image specification applies them (`layer.md`).
///
/// - A whiteout or opaque marker hides what *lower* layers have, and makes no folder.
/// - A directory, listed or implied, over something else replaces it, a symbolic link too: paths
///   that lead through links were taken to where they lead before ([`super::follow`]). Something
///   else over a directory hides all that was in it.
/// - A directory over a directory is merged; its attributes are those of the topmost layer that
///   lists it. One that no layer lists is root's, 0755, of 1970.
/// - Names of one inode stay one inode; its link count is that of the merged tree.
///
/// # Errors
///
/// [`Error::BrokenToc`] where a layer breaks an invariant of [`Toc`], [`Error::MissingTarget`]
/// and [`Error::LinkToDirectory`] for hard links to lower layers, [`Error::TooMany`] past a bound.
pub fn merge<'a>(layers: &[&'a Toc]) -> Result<Merged<'a>, Error> {
    let (inodes, names) = shape(layers)?;
    let layers = layers.iter().map(|toc| Cow::Borrowed(*toc)).collect();
    Ok(Merged { layers, inodes, names, hides_overlay_xattrs: true })
}

/// The inodes and names of the merge of `layers`.
pub(super) fn shape(layers: &[&Toc]) -> Result<(Vec<MergedInode>, Vec<MergedName>), Error> {
    if layers.len() > MAX_LAYERS {
        return Err(Error::TooMany { what: "layers", bound: MAX_LAYERS as u64 });
    }
    layers.iter().enumerate().try_for_each(|(layer, toc)| check(layer, toc))?;
    let mut merger = Merger {
        layers,
        origins: Origins::resolve(layers)?,
        numbers: layers.iter().map(|toc| vec![0; toc.inodes.len()]).collect(),
        inodes: Vec::new(),
        names: Vec::new(),
        pending: Vec::new(),
    };
    merger.root()?;
    let mut claims = Vec::new();
    while let Some(folder) = merger.pending.pop() {
        merger.folder(&folder, &mut claims)?;
    }
    Ok((merger.inodes, merger.names))
}

/// A folder whose children are still to be listed.
struct Folder {
    ino: u32,
    /// Where the names of its children start in their paths.
    depth: usize,
    /// The lowest layer whose children of it show.
    floor: u16,
    runs: Vec<Run>,
}

/// What a path is after the merge.
enum Verdict {
    Hidden,
    File {
        claim: Claim,
        origin: Origin,
    },
    Folder {
        /// The topmost layer's claim that lists it, or else that implies it.
        claim: Claim,
        origin: Option<Origin>,
        /// The lowest layer whose children of it show.
        floor: u16,
    },
}

struct Merger<'a, 'l> {
    layers: &'l [&'a Toc],
    origins: Origins<'a, 'l>,
    /// By layer and place, the number that an inode was given; 0 for none yet.
    numbers: Vec<Vec<u32>>,
    inodes: Vec<MergedInode>,
    names: Vec<MergedName>,
    pending: Vec<Folder>,
}

impl Merger<'_, '_> {
    fn root(&mut self) -> Result<(), Error> {
        let mut claims = Vec::new();
        for list in [List::Names, List::Whiteouts, List::Opaques] {
            for (layer, toc) in (0..).zip(self.layers) {
                claims.extend(Claim::of_root(list, layer, toc));
            }
        }
        let (origin, floor) = match self.judge(&claims, 0) {
            Verdict::Folder { origin, floor, .. } => (origin, floor),
            // That the root is no file was checked: no layer has anything.
            Verdict::File { .. } | Verdict::Hidden => (None, u16::MAX),
        };
        let layer = origin.map_or(0, |origin| origin.layer);
        let ino = self.new_directory(origin, layer, 1)?;
        self.pending.push(Folder { ino, depth: 0, floor, runs: runs_below(&claims, floor) });
        Ok(())
    }

    fn folder(&mut self, folder: &Folder, claims: &mut Vec<Claim>) -> Result<(), Error> {
        let (first, subfolders) = (self.names.len(), self.pending.len());
        let mut children = Children::new(self.layers, folder.depth, &folder.runs);
        while let Some(name) = children.next(claims) {
            self.child(folder, name, claims)?;
        }
        // The first subfolder is to be on top of the stack.
        self.pending[subfolders..].reverse();
        let inode = &mut self.inodes[folder.ino as usize - 1];
        inode.first = narrow("names", first)?;
        inode.count = narrow("names", self.names.len() - first)?;
        Ok(())
    }

    fn child(&mut self, folder: &Folder, name: &[u8], claims: &[Claim]) -> Result<(), Error> {
        let (ino, claim) = match self.judge(claims, folder.floor) {
            Verdict::Hidden => return Ok(()),
            Verdict::File { claim, origin } => (self.file(origin)?, claim),
            Verdict::Folder { claim, origin, floor } => {
                let ino = self.new_directory(origin, claim.layer(), folder.ino)?;
                self.inodes[folder.ino as usize - 1].nlink += 1;
                let depth = folder.depth + name.len() + 1;
                self.pending.push(Folder { ino, depth, floor, runs: runs_below(claims, floor) });
                (ino, claim)
            }
        };
        bound("names", self.names.len())?;
        self.names.push(MergedName {
            ino,
            at: claim.at,
            layer: claim.layer(),
            offset: narrow("bytes of a path", folder.depth)?,
            len: narrow("bytes of a name", name.len())?,
        });
        Ok(())
    }

    /// Decides what a path is by what the layers say of it; those below `floor` do not show there.
    fn judge(&self, claims: &[Claim], floor: u16) -> Verdict {
        let top = |list| claims.iter().rev().find(|c| c.list() == list && c.exact);
        let whiteout = top(List::Whiteouts).map_or(0, Claim::layer);
        let mut content_floor = floor.max(whiteout);
        // The topmost claim that implies the folder, and the topmost that lists it.
        let (mut implied, mut listed) = (None, None);
        let names = claims.iter().filter(|c| c.list() == List::Names);
        for claim in names.rev().take_while(|c| c.layer() >= floor.max(whiteout)) {
            let origin = if claim.exact { self.origins.of(claim.layer(), claim.at) } else { None };
            match origin {
                Some(origin) if self.origins.file_type(origin) == FileType::Directory => {
                    listed = listed.or(Some((*claim, origin)));
                }
                Some(origin) if implied.is_none() && listed.is_none() => {
                    return Verdict::File { claim: *claim, origin };
                }
                Some(_) => {
                    content_floor = claim.layer() + 1;
                    break;
                }
                None => implied = implied.or(Some(*claim)),
            }
        }
        let floor = content_floor.max(top(List::Opaques).map_or(0, Claim::layer));
        match (listed, implied) {
            (Some((claim, origin)), _) => Verdict::Folder { claim, origin: Some(origin), floor },
            (None, Some(claim)) => Verdict::Folder { claim, origin: None, floor },
            (None, None) => Verdict::Hidden,
        }
    }

    /// The number of a file's inode, which gets one more link.
    fn file(&mut self, origin: Origin) -> Result<u32, Error> {
        let number = self.numbers[usize::from(origin.layer)][origin.inode as usize];
        if number != 0 {
            self.inodes[number as usize - 1].nlink += 1;
            return Ok(number);
        }
        self.new_inode(MergedInode {
            origin: Some(origin),
            layer: origin.layer,
            nlink: 1,
            parent: 0,
            first: 0,
            count: 0,
        })
    }

    fn new_directory(
        &mut self,
        origin: Option<Origin>,
        layer: u16,
        parent: u32,
    ) -> Result<u32, Error> {
        self.new_inode(MergedInode { origin, layer, nlink: 2, parent, first: 0, count: 0 })
    }

    fn new_inode(&mut self, inode: MergedInode) -> Result<u32, Error> {
        bound("inodes", self.inodes.len())?;
        self.inodes.push(inode);
        let ino = narrow("inodes", self.inodes.len())?;
        if let Some(origin) = inode.origin {
            self.numbers[usize::from(origin.layer)][origin.inode as usize] = ino;
        }
        Ok(ino)
    }
}

/// What shows below a folder. A whiteout or opaque of the floor itself has nothing left to hide.
fn runs_below(claims: &[Claim], floor: u16) -> Vec<Run> {
    let shows = |run: &Run| match run.list {
        List::Names => run.layer >= floor,
        List::Whiteouts | List::Opaques => run.layer > floor,
    };
    claims.iter().map(|claim| claim.below).filter(|run| !run.is_empty() && shows(run)).collect()
}

fn bound(what: &'static str, count: usize) -> Result<(), Error> {
    if count >= MAX_INODES {
        return Err(Error::TooMany { what, bound: MAX_INODES as u64 });
    }
    Ok(())
}

fn narrow<T: TryFrom<usize>>(what: &'static str, count: usize) -> Result<T, Error> {
    T::try_from(count).map_err(|_| Error::TooMany { what, bound: MAX_INODES as u64 })
}
