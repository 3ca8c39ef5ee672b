//! What a tree says, as attributes, names and attributes' values of nodes.

use crate::archive::FileType;
use crate::tree;

use super::{Attr, DirEntry, Error, MountedTree, NodeId};

/// How many positions `.` and `..` take.
const DOTS: u64 = 2;

/// What a tree's error means for a node.
pub(super) fn failed(node: NodeId, e: tree::Error) -> Error {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is damage: one answer for all")]
    match e {
        tree::Error::NoSuchInode(_) => Error::Stale(node),
        tree::Error::NotADirectory(_) => Error::NotADirectory(node),
        tree::Error::NotASymlink(_) => Error::WrongType(node),
        source => Error::Tree { node, source },
    }
}

impl MountedTree {
    pub(super) fn getattr(&self, node: NodeId) -> Result<Attr, Error> {
        if node.is_blob() {
            return Ok(self.blob_attr(node));
        }
        let found = self.tree.node(node.ino()).map_err(|e| failed(node, e))?;
        Ok(Attr {
            node,
            file_type: found.file_type,
            mode: found.mode,
            nlink: found.nlink,
            uid: found.uid,
            gid: found.gid,
            size: found.size,
            blocks: self.blocks(node, &found)?,
            mtime: found.mtime,
            device: found.device,
        })
    }

    /// What an unpacked copy would take on disk. Programs that copy look for holes where it is
    /// less than the size says.
    fn blocks(&self, node: NodeId, found: &tree::Node) -> Result<u64, Error> {
        let mut bytes = 0_u64;
        if found.file_type == FileType::Regular && found.size > 0 {
            for extent in self.tree.extents(node.ino(), 0).map_err(|e| failed(node, e))? {
                bytes = bytes.saturating_add(extent.map_err(|e| failed(node, e))?.len);
            }
        }
        Ok(bytes.div_ceil(512))
    }

    pub(super) fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<Attr>, Error> {
        if parent.is_blob() && name != b"." {
            return Err(Error::NotADirectory(parent));
        }
        let ino = match name {
            b"." => Some(parent.ino()),
            b".." => Some(self.tree.parent(parent.ino()).map_err(|e| failed(parent, e))?),
            name => self.tree.lookup(parent.ino(), name).map_err(|e| failed(parent, e))?,
        };
        ino.map(|ino| self.getattr(NodeId::new(parent.slot(), ino))).transpose()
    }

    pub(super) fn readdir(
        &self,
        dir: NodeId,
        position: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        if dir.is_blob() {
            return Err(Error::NotADirectory(dir));
        }
        let node = |ino| NodeId::new(dir.slot(), ino);
        let mut dot = |name: &[u8], ino, next| {
            sink(&DirEntry { name, node: node(ino), file_type: FileType::Directory, next })
        };
        let above = self.tree.parent(dir.ino()).map_err(|e| failed(dir, e))?;
        if position < 1 && !dot(b".", dir.ino(), 1) {
            return Ok(());
        }
        if position < DOTS && !dot(b"..", above, DOTS) {
            return Ok(());
        }
        let from = position.saturating_sub(DOTS);
        for child in self.tree.children(dir.ino(), from).map_err(|e| failed(dir, e))? {
            let child = child.map_err(|e| failed(dir, e))?;
            let (node, next) = (node(child.ino), child.next.saturating_add(DOTS));
            if !sink(&DirEntry { name: child.name, node, file_type: child.file_type, next }) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn readlink(&self, node: NodeId) -> Result<Vec<u8>, Error> {
        if node.is_blob() {
            return Err(Error::WrongType(node));
        }
        let target = self.tree.link_target(node.ino()).map_err(|e| failed(node, e))?;
        Ok(target.to_vec())
    }

    pub(super) fn getxattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, Error> {
        if !self.tree.summary().has_xattrs || node.is_blob() {
            return Err(Error::NoData(node));
        }
        let value = self.tree.xattr(node.ino(), name).map_err(|e| failed(node, e))?;
        value.map(<[u8]>::to_vec).ok_or(Error::NoData(node))
    }

    pub(super) fn listxattr(&self, node: NodeId) -> Result<Vec<u8>, Error> {
        let mut names = Vec::new();
        if !self.tree.summary().has_xattrs || node.is_blob() {
            return Ok(names);
        }
        for xattr in self.tree.xattrs(node.ino()).map_err(|e| failed(node, e))? {
            let (name, _) = xattr.map_err(|e| failed(node, e))?;
            names.extend_from_slice(name);
            names.push(0);
        }
        Ok(names)
    }

    /// Bytes of all files and the number of inodes.
    pub(super) fn totals(&self) -> (u64, u64) {
        let summary = self.tree.summary();
        (summary.bytes, u64::from(summary.inodes))
    }
}
