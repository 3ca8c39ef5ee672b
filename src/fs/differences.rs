use std::collections::BTreeMap;

use crate::archive::FileType;
use crate::digest::DiffId;
use crate::tree::{self, Extent, Node, ROOT, Tree};

use super::{Error, Filesystem, MountedTree, NodeId};

/// How much of two files is compared at once, in bytes.
const CHUNK: usize = 256 << 10;

/// One path at which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path from the root, with a slash before it.
    pub path: Vec<u8>,
    /// How they differ.
    pub change: Change,
    /// The size in the old tree, of a regular file.
    pub old_size: Option<u64>,
    /// The size in the new tree, of a regular file.
    pub new_size: Option<u64>,
}

/// How two trees differ at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the new tree has it.
    Added,
    /// Only the old tree has it.
    Removed,
    /// Both have it, and these are not the same: `type`, `mode`, `owner`, `time`, `content`,
    /// `target`, `device`, `attributes`.
    Changed(Vec<&'static str>),
}

/// Tells `visit` each path at which `new` differs from `old`, folders before what is in them. The
/// content of files is read only where size and place do not tell.
///
/// # Errors
///
/// Those of reading the trees and their layers.
pub fn differences(
    old: &MountedTree,
    new: &MountedTree,
    visit: &mut dyn FnMut(Difference),
) -> Result<(), Error> {
    let sides = Sides {
        old: &old.tree,
        new: &new.tree,
        old_files: Filesystem::of_tree(old.clone()),
        new_files: Filesystem::of_tree(new.clone()),
    };
    let mut stack = vec![Pair { path: Vec::new(), old: Some(ROOT), new: Some(ROOT) }];
    while let Some(pair) = stack.pop() {
        let (old, new) = (sides.old_node(&pair)?, sides.new_node(&pair)?);
        let change = match (&old, &new) {
            (Some(_), None) => Some(Change::Removed),
            (None, Some(_)) => Some(Change::Added),
            (Some(old), Some(new)) => {
                let what = sides.changed(&pair, old, new)?;
                (!what.is_empty()).then_some(Change::Changed(what))
            }
            (None, None) => None,
        };
        if let Some(change) = change {
            let path = if pair.path.is_empty() { b"/".to_vec() } else { pair.path.clone() };
            visit(Difference { path, change, old_size: size(old), new_size: size(new) });
        }
        sides.push_children(&pair, old, new, &mut stack)?;
    }
    Ok(())
}

fn size(node: Option<Node>) -> Option<u64> {
    node.filter(|node| node.file_type == FileType::Regular).map(|node| node.size)
}

/// One path, and what the two trees have there.
struct Pair {
    path: Vec<u8>,
    old: Option<u32>,
    new: Option<u32>,
}

struct Sides<'a> {
    old: &'a Tree,
    new: &'a Tree,
    old_files: Filesystem,
    new_files: Filesystem,
}

impl Sides<'_> {
    fn old_node(&self, pair: &Pair) -> Result<Option<Node>, Error> {
        pair.old.map(|ino| self.old.node(ino).map_err(at(ino))).transpose()
    }

    fn new_node(&self, pair: &Pair) -> Result<Option<Node>, Error> {
        pair.new.map(|ino| self.new.node(ino).map_err(at(ino))).transpose()
    }

    /// Puts the names of two folders on the stack, first name last.
    fn push_children(
        &self,
        pair: &Pair,
        old: Option<Node>,
        new: Option<Node>,
        stack: &mut Vec<Pair>,
    ) -> Result<(), Error> {
        let mut all: BTreeMap<Vec<u8>, (Option<u32>, Option<u32>)> = BTreeMap::new();
        for (name, ino) in names(self.old, pair.old, old)? {
            all.entry(name).or_default().0 = Some(ino);
        }
        for (name, ino) in names(self.new, pair.new, new)? {
            all.entry(name).or_default().1 = Some(ino);
        }
        stack.extend(all.into_iter().rev().map(|(name, (old, new))| Pair {
            path: [&pair.path[..], b"/", &name].concat(),
            old,
            new,
        }));
        Ok(())
    }

    /// What is not the same of two inodes.
    fn changed(&self, pair: &Pair, a: &Node, b: &Node) -> Result<Vec<&'static str>, Error> {
        let (Some(old), Some(new)) = (pair.old, pair.new) else { return Ok(Vec::new()) };
        if a.file_type != b.file_type {
            return Ok(vec!["type"]);
        }
        let other_attributes = if a.has_xattrs || b.has_xattrs {
            attributes(self.old, old)? != attributes(self.new, new)?
        } else {
            false
        };
        let target = a.file_type == FileType::Symlink
            && self.old.link_target(old).map_err(at(old))?
                != self.new.link_target(new).map_err(at(new))?;
        let content = a.file_type == FileType::Regular
            && (a.size != b.size || !self.same_content(old, new, a.size)?);
        let all = [
            ("mode", a.mode != b.mode),
            ("owner", (a.uid, a.gid) != (b.uid, b.gid)),
            ("time", a.mtime != b.mtime),
            ("content", content),
            ("target", target),
            ("device", a.device != b.device),
            ("attributes", other_attributes),
        ];
        Ok(all.into_iter().filter_map(|(what, is_other)| is_other.then_some(what)).collect())
    }

    fn same_content(&self, old: u32, new: u32, size: u64) -> Result<bool, Error> {
        if size == 0 || self.same_place(old, new)? {
            return Ok(true);
        }
        let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut at = 0;
        while at < size {
            let n = self.old_files.read(NodeId::new(0, old), at, &mut a)?;
            let m = self.new_files.read(NodeId::new(0, new), at, &mut b)?;
            if n != m || a[..n] != b[..m] {
                return Ok(false);
            }
            if n == 0 {
                break;
            }
            at += n as u64;
        }
        Ok(true)
    }

    /// Whether the data of both lie in the same places of the same layers.
    fn same_place(&self, old: u32, new: u32) -> Result<bool, Error> {
        Ok(places(self.old, old)? == places(self.new, new)?)
    }
}

/// Names `ino` in an error of its tree.
fn at(ino: u32) -> impl FnOnce(tree::Error) -> Error {
    move |source| Error::Tree { node: NodeId::new(0, ino), source }
}

/// The names in a folder; none in anything else.
fn names(tree: &Tree, ino: Option<u32>, node: Option<Node>) -> Result<Vec<(Vec<u8>, u32)>, Error> {
    let is_folder = node.is_some_and(|node| node.file_type == FileType::Directory);
    let Some(ino) = ino.filter(|_| is_folder) else { return Ok(Vec::new()) };
    let children = tree.children(ino, 0).map_err(at(ino))?;
    children.map(|c| c.map(|c| (c.name.to_vec(), c.ino)).map_err(at(ino))).collect()
}

type Attributes<'t> = Vec<(&'t [u8], &'t [u8])>;

fn attributes(tree: &Tree, ino: u32) -> Result<Attributes<'_>, Error> {
    tree.xattrs(ino).and_then(Iterator::collect).map_err(at(ino))
}

/// Where the data of a file lie: where in the file, how long, in which layer, where in it.
type Places = Vec<(u64, u64, Option<DiffId>, u64)>;

fn places(tree: &Tree, ino: u32) -> Result<Places, Error> {
    let extents: Result<Vec<Extent>, _> = tree.extents(ino, 0).and_then(Iterator::collect);
    let layer = |place: u16| tree.layers().get(usize::from(place)).map(|l| l.diff_id.clone());
    let place = |e: &Extent| (e.file_offset, e.len, layer(e.layer), e.layer_offset);
    Ok(extents.map_err(at(ino))?.iter().map(place).collect())
}
