use crate::archive::{
    Entry, EntryKind, LayerPath, MAX_PATH, Metadata, PathError, Whiteout, Xattr, whiteout_of,
};

use super::names::{Folder, NameTree, Node, NodeId, ROOT};
use super::{Extent, Inode, Name, Target, Toc, TocError, TocFault};

/// The most extents of all files of one layer.
pub const MAX_EXTENTS: usize = 1 << 23;
/// The most bytes of extended attributes of one layer: names, values and 64 for each.
pub const MAX_XATTR_BYTES: usize = 1 << 28;

/// What an extended attribute counts against [`MAX_XATTR_BYTES`].
pub(crate) fn xattr_cost(xattr: &Xattr) -> usize {
    xattr.name.len() + xattr.value.len() + 64
}

/// Makes the [`Toc`] of a layer from its entries, given in the order of the archive.
///
/// The result is what extracting them one after the other into an empty folder leaves, in the way
/// of containerd's `archive.Apply`:
///
/// - parents that are symbolic links of this layer are followed inside the root; missing ones are
///   implied; others that are no directories are refused.
/// - an entry takes the place of what its name was, with all that was below; a directory on a
///   directory keeps what is below, takes the new metadata and adds the new xattrs to the old.
/// - a hard link names the inode that its target names at that point; the metadata of its own
///   header count for nothing. A target that this layer does not have is one of the layers below.
/// - entries that are the root itself are ignored, but a directory gives its metadata.
///
/// Whiteouts, told by the last name alone, are collected and hide nothing of this layer. Where a
/// directory takes the place of a file of the same layer, what the layers below have at the name
/// was gone before: it becomes a whiteout too.
#[derive(Debug)]
pub struct TocBuilder {
    names: NameTree,
    inodes: Vec<Inode>,
    extents: usize,
    xattr_bytes: usize,
}

impl Default for TocBuilder {
    fn default() -> Self {
        Self { names: NameTree::new(), inodes: Vec::new(), extents: 0, xattr_bytes: 0 }
    }
}

impl TocBuilder {
    /// A builder that has seen no entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next entry of the archive.
    ///
    /// # Errors
    ///
    /// [`TocError`], which names the entry; the builder is of no use then.
    pub fn add(&mut self, mut entry: Entry) -> Result<(), TocError> {
        let (raw, offset) = (std::mem::take(&mut entry.path), entry.offset);
        self.place(&raw, entry).map_err(|fault| {
            let entry = String::from_utf8_lossy(&raw[..raw.len().min(MAX_PATH)]).into_owned();
            TocError { entry, offset, fault }
        })
    }

    fn place(&mut self, raw: &[u8], entry: Entry) -> Result<(), TocFault> {
        let path = LayerPath::parse(raw)?;
        let Some(name) = path.file_name() else {
            return self.add_root(entry);
        };
        let above = &path.as_bytes()[..path.as_bytes().len() - name.len()];
        let (folder, folder_len) = self.names.make_folder(above, &self.inodes)?;
        let len = folder_len + usize::from(folder_len > 0) + name.len();
        if len > MAX_PATH {
            return Err(PathError::TooLong(len).into());
        }
        self.names.charge(len)?;
        match whiteout_of(name) {
            None => self.put(folder, name, entry),
            Some(Whiteout::Invalid) => Err(TocFault::InvalidWhiteout),
            Some(Whiteout::Aufs) => Ok(()),
            Some(Whiteout::Opaque) => {
                self.with_folder(folder, |folder| folder.opaque = true);
                Ok(())
            }
            Some(Whiteout::Name(hidden)) => {
                self.with_folder(folder, |folder| {
                    folder.whiteouts.insert(hidden.into());
                });
                Ok(())
            }
        }
    }

    fn with_folder(&mut self, id: NodeId, act: impl FnOnce(&mut Folder)) {
        if let Some(folder) = self.names.folder_mut(id) {
            act(folder);
        }
    }

    fn add_root(&mut self, entry: Entry) -> Result<(), TocFault> {
        if entry.kind != EntryKind::Directory {
            return Ok(());
        }
        self.describe_folder(ROOT, entry.metadata)
    }

    fn put(&mut self, folder: NodeId, name: &[u8], entry: Entry) -> Result<(), TocFault> {
        let old = self.names.child(folder, name);
        match entry.kind {
            EntryKind::Directory => self.put_folder(folder, name, old, entry.metadata),
            EntryKind::HardLink(target) => {
                let node = self.link(&target)?;
                self.names.put(folder, name, node);
                Ok(())
            }
            EntryKind::Symlink(link_target) => {
                let len = link_target.len();
                if len == 0 || len >= MAX_PATH || link_target.contains(&0) {
                    return Err(TocFault::LinkTarget(len));
                }
                let inode = Inode { link_target, ..bare(entry.metadata) };
                self.put_inode(folder, name, inode)
            }
            EntryKind::Regular => {
                let extents = entry.runs.into_iter().map(Extent::from).collect();
                let inode = Inode { size: entry.size, extents, ..bare(entry.metadata) };
                self.put_inode(folder, name, inode)
            }
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                self.put_inode(folder, name, bare(entry.metadata))
            }
        }
    }

    fn put_folder(
        &mut self,
        folder: NodeId,
        name: &[u8],
        old: Option<NodeId>,
        metadata: Metadata,
    ) -> Result<(), TocFault> {
        if let Some(id) = old.filter(|&id| self.names.folder(id).is_some()) {
            return self.describe_folder(id, metadata);
        }
        if old.is_some() {
            self.with_folder(folder, |folder| {
                folder.whiteouts.insert(name.into());
            });
        }
        let id = self.names.put(folder, name, Node::Folder(Folder::default()));
        self.describe_folder(id, metadata)
    }

    /// Gives the folder `id` the metadata of its entry.
    fn describe_folder(&mut self, id: NodeId, mut metadata: Metadata) -> Result<(), TocFault> {
        let Some(known) = self.names.folder(id).and_then(|folder| folder.inode) else {
            let inode = self.add_inode(bare(metadata))?;
            self.with_folder(id, |folder| folder.inode = Some(inode));
            return Ok(());
        };
        self.charge_xattrs(&metadata.xattrs)?;
        let known = &mut self.inodes[known as usize].metadata;
        let has = |name: &[u8]| metadata.xattrs.iter().any(|x| x.name == name);
        let mut kept = std::mem::take(&mut known.xattrs);
        kept.retain(|x| !has(&x.name));
        metadata.xattrs.extend(kept);
        metadata.xattrs.sort();
        *known = metadata;
        Ok(())
    }

    fn put_inode(&mut self, folder: NodeId, name: &[u8], inode: Inode) -> Result<(), TocFault> {
        let inode = self.add_inode(inode)?;
        self.names.put(folder, name, Node::Inode(inode));
        Ok(())
    }

    fn add_inode(&mut self, inode: Inode) -> Result<u32, TocFault> {
        self.extents += inode.extents.len();
        if self.extents > MAX_EXTENTS {
            return Err(TocFault::TooManyExtents);
        }
        self.charge_xattrs(&inode.metadata.xattrs)?;
        let place = u32::try_from(self.inodes.len()).map_err(|_| TocFault::TooManyNames)?;
        self.inodes.push(inode);
        Ok(place)
    }

    fn charge_xattrs(&mut self, xattrs: &[Xattr]) -> Result<(), TocFault> {
        self.xattr_bytes += xattrs.iter().map(xattr_cost).sum::<usize>();
        if self.xattr_bytes > MAX_XATTR_BYTES {
            return Err(TocFault::TooManyXattrBytes);
        }
        Ok(())
    }

    /// What a hard link to `target` is: parents followed inside the root, the last name not.
    fn link(&self, target: &[u8]) -> Result<Node, TocFault> {
        let clean = LayerPath::parse_clamped(target)?;
        let Some(name) = clean.file_name() else {
            return Err(TocFault::LinkToDirectory(clean));
        };
        let above = &clean.as_bytes()[..clean.as_bytes().len() - name.len()];
        match self.names.find(above, name, &self.inodes)? {
            Err(lower) => Ok(Node::Lower(lower)),
            Ok(id) => match self.names.node(id) {
                Node::Folder(_) => Err(TocFault::LinkToDirectory(clean)),
                Node::Inode(inode) => Ok(Node::Inode(*inode)),
                Node::Lower(lower) => Ok(Node::Lower(lower.clone())),
            },
        }
    }

    /// The table of contents of all that was added.
    pub fn finish(self) -> Toc {
        let mut toc = Toc::default();
        let mut path = Vec::new();
        let mut numbers = vec![u32::MAX; self.inodes.len()];
        if let Some(root) = self.names.folder(ROOT) {
            note_folder(root, &path, &mut toc);
            let mut open = vec![(root.children.iter(), 0)];
            while let Some((children, len)) = open.last_mut() {
                path.truncate(*len);
                let Some((name, &id)) = children.next() else {
                    open.pop();
                    continue;
                };
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                match self.names.node(id) {
                    Node::Folder(folder) => {
                        note_folder(folder, &path, &mut toc);
                        open.push((folder.children.iter(), path.len()));
                    }
                    Node::Inode(inode) => note_name(&path, Target::Inode(*inode), &mut toc),
                    Node::Lower(below) => note_name(&path, Target::Lower(below.clone()), &mut toc),
                }
            }
        }
        toc.whiteouts.sort();
        keep_named_inodes(self.inodes, &mut numbers, &mut toc);
        toc
    }
}

fn bare(metadata: Metadata) -> Inode {
    Inode { metadata, size: 0, extents: Vec::new(), link_target: Vec::new() }
}

fn note_name(path: &[u8], target: Target, toc: &mut Toc) {
    toc.names.push(Name { path: LayerPath::from_clean(path), target });
}

fn note_folder(folder: &Folder, path: &[u8], toc: &mut Toc) {
    if let Some(inode) = folder.inode {
        note_name(path, Target::Inode(inode), toc);
    }
    if folder.opaque {
        toc.opaques.push(LayerPath::from_clean(path));
    }
    for name in &folder.whiteouts {
        let hidden = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
        toc.whiteouts.push(LayerPath::from_clean(&hidden));
    }
}

/// Moves the inodes that have a name into `toc`, in their order, and renumbers its targets.
fn keep_named_inodes(inodes: Vec<Inode>, numbers: &mut [u32], toc: &mut Toc) {
    for name in &toc.names {
        if let Target::Inode(inode) = name.target {
            numbers[inode as usize] = 0;
        }
    }
    let mut next = 0;
    for (inode, number) in inodes.into_iter().zip(numbers.iter_mut()) {
        if *number == 0 {
            *number = next;
            next += 1;
            toc.inodes.push(inode);
        }
    }
    for name in &mut toc.names {
        if let Target::Inode(inode) = &mut name.target {
            *inode = numbers[*inode as usize];
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
