//! The directories of slot 0 that hold the trees: the root, `chains/`, `layers/` and
//! `blobs/`.

use crate::archive::{Device, FileType};
use crate::tree;

use super::blob::BLOB;
use super::slots::{Names, Table};
use super::{Answer, Attr, DirEntry, Error, NodeId};

const CHAINS: NodeId = NodeId::new(0, 2);
const LAYERS: NodeId = NodeId::new(0, 3);
const BLOBS: NodeId = NodeId::new(0, 4);

/// How many positions `.` and `..` take.
const DOTS: u64 = 2;

/// The virtual directories as of one table.
pub(super) struct VirtualRoot<'a> {
    table: &'a Table,
}

enum Directory<'a> {
    Root,
    Trees(&'a Names),
    /// The virtual blobs of these trees.
    Blobs(&'a Names),
}

impl<'a> VirtualRoot<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self { table }
    }

    fn directory(&self, node: NodeId) -> Result<Directory<'a>, Error> {
        match node {
            NodeId::ROOT => Ok(Directory::Root),
            CHAINS => Ok(Directory::Trees(&self.table.chains)),
            LAYERS => Ok(Directory::Trees(&self.table.layers)),
            BLOBS => Ok(Directory::Blobs(&self.table.chains)),
            other => Err(Error::Stale(other)),
        }
    }

    pub(super) fn lookup(
        &self,
        parent: NodeId,
        name: &[u8],
    ) -> Result<Answer<Option<Attr>>, Error> {
        let directory = self.directory(parent)?;
        let found = match (name, directory) {
            (b".", _) => Some(self.getattr(parent)?),
            (b"..", _) => Some(self.getattr(NodeId::ROOT)?),
            (b"chains", Directory::Root) => Some(self.getattr(CHAINS)?),
            (b"layers", Directory::Root) => Some(self.getattr(LAYERS)?),
            (b"blobs", Directory::Root) => Some(self.getattr(BLOBS)?),
            (_, Directory::Root) => None,
            (name, Directory::Trees(names)) => self.named(names, name, tree::ROOT)?,
            (name, Directory::Blobs(names)) => self.named(names, name, BLOB)?,
        };
        Ok(Answer::volatile(found))
    }

    pub(super) fn getattr(&self, node: NodeId) -> Result<Attr, Error> {
        let folders = match self.directory(node)? {
            Directory::Root => 3,
            Directory::Trees(names) => names.len(),
            Directory::Blobs(_) => 0,
        };
        Ok(Attr {
            node,
            file_type: FileType::Directory,
            mode: 0o755,
            nlink: u32::try_from(folders + 2).unwrap_or(u32::MAX),
            uid: 0,
            gid: 0,
            size: 0,
            blocks: 0,
            mtime: self.table.changed,
            device: Device::default(),
        })
    }

    /// The inode `ino` of the tree called `name`.
    fn named(&self, names: &Names, name: &[u8], ino: u32) -> Result<Option<Attr>, Error> {
        let Some(slot) = names.slot(name) else { return Ok(None) };
        let node = NodeId::new(slot, ino);
        self.table.tree(slot).ok_or(Error::Stale(node))?.getattr(node).map(Some)
    }

    pub(super) fn readdir(
        &self,
        dir: NodeId,
        position: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        let directory = self.directory(dir)?;
        let mut give =
            |name: &[u8], node, file_type, next| sink(&DirEntry { name, node, file_type, next });
        if position < 1 && !give(b".", dir, FileType::Directory, 1) {
            return Ok(());
        }
        if position < DOTS && !give(b"..", NodeId::ROOT, FileType::Directory, DOTS) {
            return Ok(());
        }
        let after = position.saturating_sub(DOTS);
        let (names, ino, file_type) = match directory {
            Directory::Root => {
                let names = [(&b"chains"[..], CHAINS), (b"layers", LAYERS), (b"blobs", BLOBS)];
                let left = (1..).zip(names).filter(|(place, _)| *place > after);
                for (place, (name, node)) in left {
                    if !give(name, node, FileType::Directory, DOTS + place) {
                        break;
                    }
                }
                return Ok(());
            }
            Directory::Trees(names) => (names, tree::ROOT, FileType::Directory),
            Directory::Blobs(names) => (names, BLOB, FileType::Regular),
        };
        // Past the last slot there is none.
        let Ok(after) = u32::try_from(after) else { return Ok(()) };
        for (slot, name) in names.after(after) {
            let node = NodeId::new(slot, ino);
            if !give(name.as_bytes(), node, file_type, DOTS + u64::from(slot)) {
                break;
            }
        }
        Ok(())
    }

    /// Bytes and inodes of all trees.
    pub(super) fn totals(&self) -> (u64, u64) {
        let totals = self.table.trees().map(super::MountedTree::totals);
        totals.fold((0, 4), |(bytes, files), (b, f)| {
            (bytes.saturating_add(b), files.saturating_add(f))
        })
    }
}
