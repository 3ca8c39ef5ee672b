//! The names of a layer as a tree of folders, while its entries come in.
//!
//! Nodes are kept in one list and refer to each other by their place in it, so that neither walking
//! nor dropping a deep tree recurses. What a later entry replaces is unlinked and stays in the list.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{LayerPath, MAX_NAME, MAX_PATH, PathError};

use super::{Inode, TocFault};

/// The most symbolic links that are followed to find one folder. containerd's limit too.
pub const MAX_LINKS: usize = 255;
/// The most components, those of links included, on the way to one folder.
const MAX_STEPS: usize = 2 * MAX_PATH;
/// The most names of one layer, implied folders, whiteouts and replaced names included.
pub const MAX_NAMES: usize = 1 << 22;
/// The most bytes of paths of one layer, counted as names are.
pub const MAX_PATH_BYTES: usize = 1 << 29;

/// The place of a node in the list.
pub(super) type NodeId = usize;

pub(super) const ROOT: NodeId = 0;

/// What a name is in this layer.
#[derive(Debug)]
pub(super) enum Node {
    Folder(Folder),
    /// Any other file: the place of its inode.
    Inode(u32),
    /// A hard link to what the layers below have at this path.
    Lower(LayerPath),
}

/// A folder, and what the layer says of its content.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The place of its inode; `None` while the layer only implies it.
    pub(super) inode: Option<u32>,
    pub(super) children: BTreeMap<Box<[u8]>, NodeId>,
    /// Names that the layer hides here.
    pub(super) whiteouts: BTreeSet<Box<[u8]>>,
    pub(super) opaque: bool,
}

/// Where a path leads: links followed, `.` and `..` resolved.
struct Place<'a> {
    names: Vec<&'a [u8]>,
    /// The nodes of the root and of as many of `names` as there are.
    nodes: Vec<NodeId>,
}

impl Place<'_> {
    fn path(&self) -> Result<LayerPath, PathError> {
        LayerPath::parse(&self.names.join(&b'/'))
    }
}

/// The names of one layer.
#[derive(Debug)]
pub(super) struct NameTree {
    nodes: Vec<Node>,
    path_bytes: usize,
}

impl NameTree {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::Folder(Folder::default())], path_bytes: 0 }
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(super) fn folder(&self, id: NodeId) -> Option<&Folder> {
        match &self.nodes[id] {
            Node::Folder(folder) => Some(folder),
            Node::Inode(_) | Node::Lower(_) => None,
        }
    }

    pub(super) fn folder_mut(&mut self, id: NodeId) -> Option<&mut Folder> {
        match &mut self.nodes[id] {
            Node::Folder(folder) => Some(folder),
            Node::Inode(_) | Node::Lower(_) => None,
        }
    }

    pub(super) fn child(&self, folder: NodeId, name: &[u8]) -> Option<NodeId> {
        self.folder(folder)?.children.get(name).copied()
    }

    /// Counts one more name of `path_len` bytes.
    pub(super) fn charge(&mut self, path_len: usize) -> Result<(), TocFault> {
        self.path_bytes += path_len;
        if self.path_bytes > MAX_PATH_BYTES {
            return Err(TocFault::TooManyPathBytes);
        }
        if self.nodes.len() >= MAX_NAMES { Err(TocFault::TooManyNames) } else { Ok(()) }
    }

    /// Puts `node` at `name` of `folder`, in place of what is there.
    pub(super) fn put(&mut self, folder: NodeId, name: &[u8], node: Node) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(node);
        if let Some(folder) = self.folder_mut(folder) {
            folder.children.insert(name.into(), id);
        }
        id
    }

    /// The folder at `path` and the length of the path it really has, in bytes. Symbolic links of
    /// this layer are followed, inside the root; missing folders are implied from here on.
    pub(super) fn make_folder(
        &mut self,
        path: &[u8],
        inodes: &[Inode],
    ) -> Result<(NodeId, usize), TocFault> {
        let place = self.walk(path, inodes)?;
        let mut folder = *place.nodes.last().unwrap_or(&ROOT);
        let mut len = place.names.iter().map(|name| name.len() + 1).sum::<usize>();
        len = len.saturating_sub(1);
        if len > MAX_PATH {
            return Err(PathError::TooLong(len).into());
        }
        let known = place.nodes.len() - 1;
        if known == place.names.len() && self.folder(folder).is_none() {
            return Err(TocFault::NotADirectory(place.path()?));
        }
        let missing: Vec<Box<[u8]>> = place.names[known..].iter().map(|&n| n.into()).collect();
        for name in missing {
            if name.len() > MAX_NAME {
                let name = String::from_utf8_lossy(&name).into_owned();
                return Err(PathError::NameTooLong(name).into());
            }
            self.charge(len)?;
            folder = self.put(folder, &name, Node::Folder(Folder::default()));
        }
        Ok((folder, len))
    }

    /// What `folder`/`name` is in this layer, `name` itself not followed, or else its path below.
    pub(super) fn find(
        &self,
        folder: &[u8],
        name: &[u8],
        inodes: &[Inode],
    ) -> Result<Result<NodeId, LayerPath>, TocFault> {
        let place = self.walk(folder, inodes)?;
        let known = place.nodes.len() == place.names.len() + 1;
        let parent = place.nodes.last().filter(|_| known);
        if let Some(&parent) = parent
            && self.folder(parent).is_none()
        {
            return Err(TocFault::NotADirectory(place.path()?));
        }
        match parent.and_then(|&parent| self.child(parent, name)) {
            Some(id) => Ok(Ok(id)),
            None => Ok(Err(place.path()?.join(name)?)),
        }
    }

    /// Follows `path` from the root as a process chrooted into the layer would.
    fn walk<'a>(&'a self, path: &'a [u8], inodes: &'a [Inode]) -> Result<Place<'a>, TocFault> {
        let mut place = Place { names: Vec::new(), nodes: vec![ROOT] };
        let mut todo: Vec<&[u8]> = path.rsplit(|&b| b == b'/').collect();
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = todo.pop() {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(TocFault::TooManyLinks);
            }
            match name {
                b"" | b"." => continue,
                b".." => {
                    place.names.pop();
                    place.nodes.truncate(place.names.len() + 1);
                    continue;
                }
                _ => {}
            }
            let known = place.nodes.len() == place.names.len() + 1;
            let here = *place.nodes.last().unwrap_or(&ROOT);
            if known && self.folder(here).is_none() {
                return Err(TocFault::NotADirectory(place.path()?));
            }
            let child = self.child(here, name).filter(|_| known);
            if let Some(target) = child.and_then(|id| self.link_target(id, inodes)) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(TocFault::TooManyLinks);
                }
                if target.starts_with(b"/") {
                    place.names.clear();
                    place.nodes.truncate(1);
                }
                todo.extend(target.rsplit(|&b| b == b'/'));
                continue;
            }
            place.names.push(name);
            place.nodes.extend(child);
        }
        Ok(place)
    }

    fn link_target<'a>(&self, id: NodeId, inodes: &'a [Inode]) -> Option<&'a [u8]> {
        match self.nodes[id] {
            Node::Inode(inode) => {
                let target = &inodes[inode as usize].link_target;
                (!target.is_empty()).then_some(target)
            }
            Node::Folder(_) | Node::Lower(_) => None,
        }
    }
}
