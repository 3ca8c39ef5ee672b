use crate::archive::{LayerPath, Metadata, Xattr};
use crate::diff::Error;
use crate::diff::lowers::LayerFolders;
use crate::tree::{ROOT, Tree};

/// What a tree says of one of its files, its content apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Type, mode, owner, time, attributes.
    pub metadata: Metadata,
    /// The size of a regular file in bytes, else 0.
    pub size: u64,
    /// The target of a symbolic link, else empty.
    pub link_target: Vec<u8>,
    /// What tells it from other inodes: two paths with one ID are hard links.
    pub id: (u64, u64),
    /// How many names it has.
    pub nlink: u64,
}

/// A tree that others are compared with: metadata and names, never content.
pub trait LowerTree {
    /// What there is at `path`, no link followed. A socket is nothing.
    ///
    /// # Errors
    ///
    /// Those of looking it up.
    fn find(&self, path: &LayerPath) -> Result<Option<Inode>, Error>;

    /// The names in the directory `path`, sorted bytewise; none where there is no directory.
    ///
    /// # Errors
    ///
    /// Those of listing it.
    fn names(&self, path: &LayerPath) -> Result<Vec<Box<[u8]>>, Error>;

    /// The folders that it is made of, where their content can be read: needed only for a folder
    /// of an overlay that was renamed, whose files are in the layer under their new names.
    fn folders(&self) -> Option<&LayerFolders> {
        None
    }
}

/// A tree without anything: all that is compared with it is new.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyTree;

impl LowerTree for EmptyTree {
    fn find(&self, path: &LayerPath) -> Result<Option<Inode>, Error> {
        Ok(path.is_root().then(|| Inode {
            metadata: Metadata::implied_directory(),
            size: 0,
            link_target: Vec::new(),
            id: (0, 0),
            nlink: 2,
        }))
    }

    fn names(&self, _: &LayerPath) -> Result<Vec<Box<[u8]>>, Error> {
        Ok(Vec::new())
    }
}

impl LowerTree for LayerFolders {
    fn find(&self, path: &LayerPath) -> Result<Option<Inode>, Error> {
        let Some(found) = LayerFolders::find(self, path)? else { return Ok(None) };
        super::node::read(&found.folder, &found.name, &found.status, path)
    }

    fn names(&self, path: &LayerPath) -> Result<Vec<Box<[u8]>>, Error> {
        Ok(self.children(path)?.into_keys().collect())
    }

    fn folders(&self) -> Option<&LayerFolders> {
        Some(self)
    }
}

impl LowerTree for Tree {
    fn find(&self, path: &LayerPath) -> Result<Option<Inode>, Error> {
        let Some(ino) = lookup(self, path)? else { return Ok(None) };
        let node = self.node(ino)?;
        let mut xattrs = Vec::new();
        for xattr in self.xattrs(ino)? {
            let (name, value) = xattr?;
            xattrs.push(Xattr { name: name.to_vec(), value: value.to_vec() });
        }
        let is_file = node.file_type == crate::archive::FileType::Regular;
        let is_link = node.file_type == crate::archive::FileType::Symlink;
        Ok(Some(Inode {
            metadata: Metadata {
                file_type: node.file_type,
                mode: node.mode,
                uid: node.uid,
                gid: node.gid,
                mtime: node.mtime,
                device: node.device,
                xattrs,
            },
            size: if is_file { node.size } else { 0 },
            link_target: if is_link { self.link_target(ino)?.to_vec() } else { Vec::new() },
            id: (0, ino.into()),
            nlink: node.nlink.into(),
        }))
    }

    fn names(&self, path: &LayerPath) -> Result<Vec<Box<[u8]>>, Error> {
        let Some(ino) = lookup(self, path)? else { return Ok(Vec::new()) };
        if self.node(ino)?.file_type != crate::archive::FileType::Directory {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for child in self.children(ino, 0)? {
            names.push(child?.name.into());
        }
        Ok(names)
    }
}

/// The inode at `path`, no link followed.
fn lookup(tree: &Tree, path: &LayerPath) -> Result<Option<u32>, Error> {
    let mut ino = ROOT;
    for name in path.components() {
        if tree.node(ino)?.file_type != crate::archive::FileType::Directory {
            return Ok(None);
        }
        match tree.lookup(ino, name)? {
            Some(child) => ino = child,
            None => return Ok(None),
        }
    }
    Ok(Some(ino))
}
