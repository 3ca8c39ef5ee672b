use std::sync::Arc;

use super::slots::{Slots, Table};
use super::virtual_root::VirtualRoot;
use super::{Answer, Attr, Cached, DirEntry, Error, MountedTree, NodeId, SlotName, Statfs};

/// The longest name in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// The trees that are mounted, as one read-only filesystem.
pub struct Filesystem {
    slots: Slots,
}

/// What a node is part of.
enum Place {
    Virtual(arc_swap::Guard<Arc<Table>>),
    Tree(Arc<MountedTree>),
}

impl Default for Filesystem {
    fn default() -> Self {
        Self::new()
    }
}

impl Filesystem {
    /// A virtual root without trees.
    pub fn new() -> Self {
        Self { slots: Slots::new(None) }
    }

    /// A filesystem that is one tree, its root the root.
    pub fn of_tree(tree: MountedTree) -> Self {
        Self { slots: Slots::new(Some(tree)) }
    }

    /// Shows a tree in the virtual root under `name`, and says in which slot.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], [`Error::NoSlots`].
    pub fn attach(&self, name: &SlotName, tree: MountedTree) -> Result<u32, Error> {
        self.slots.attach(None, name, tree)
    }

    /// Shows a tree in the slot that it had in an earlier process; a kernel may still hold nodes
    /// of it, for ever. So a process that takes a connection over, or may be taken over from,
    /// numbers slots by a counter on disk that never goes back, and uses this call alone.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], [`Error::SlotTaken`], [`Error::NoSlots`].
    pub fn attach_at(&self, slot: u32, name: &SlotName, tree: MountedTree) -> Result<(), Error> {
        self.slots.attach(Some(slot), name, tree).map(drop)
    }

    /// Takes a tree away and gives back its slot, which no other tree gets; `None` where there is
    /// none of that name. What is still open of it is stale.
    pub fn detach(&self, name: &SlotName) -> Option<u32> {
        self.slots.detach(name)
    }

    /// The slot of the tree with this name.
    pub fn slot(&self, name: &SlotName) -> Option<u32> {
        self.slots.find(name)
    }

    /// What `name` in the directory `parent` is; `None` where there is no such name.
    ///
    /// `.` and `..` are the directory itself (any node, for `.`) and the one above.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::NotADirectory`], [`Error::NameTooLong`], [`Error::Tree`].
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Answer<Option<Attr>>, Error> {
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong(name.len()));
        }
        match self.place(parent)? {
            Place::Virtual(table) => VirtualRoot::new(&table).lookup(parent, name),
            Place::Tree(tree) => tree.lookup(parent, name).map(Answer::immutable),
        }
    }

    /// What `stat` tells of a node.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::Tree`].
    pub fn getattr(&self, node: NodeId) -> Result<Answer<Attr>, Error> {
        match self.place(node)? {
            Place::Virtual(table) => VirtualRoot::new(&table).getattr(node).map(Answer::volatile),
            Place::Tree(tree) => tree.getattr(node).map(Answer::immutable),
        }
    }

    /// Gives the names of a directory to `sink`, `.` and `..` first, from `position` (0, or
    /// [`DirEntry::next`] of the last one taken) until `sink` says `false` or there are no more.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::NotADirectory`], [`Error::Tree`].
    pub fn readdir(
        &self,
        dir: NodeId,
        position: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        match self.place(dir)? {
            Place::Virtual(table) => VirtualRoot::new(&table).readdir(dir, position, sink),
            Place::Tree(tree) => tree.readdir(dir, position, sink),
        }
    }

    /// As [`Filesystem::readdir`], with what `stat` tells of each name.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::readdir`].
    pub fn readdir_plus(
        &self,
        dir: NodeId,
        position: u64,
        sink: &mut dyn FnMut(&DirEntry<'_>, &Answer<Attr>) -> bool,
    ) -> Result<(), Error> {
        let names_last = matches!(self.place(dir)?, Place::Tree(_));
        let mut failed = None;
        let mut given = 0_u64;
        self.readdir(dir, position, &mut |entry| match self.getattr(entry.node) {
            Ok(found) => {
                given += 1;
                // A name in the virtual root may go, though what it names is immutable.
                let found = if names_last { found } else { Answer::volatile(found.value) };
                sink(entry, &found)
            }
            Err(e) => {
                failed = Some(e);
                false
            }
        })?;
        // What came before a broken entry is given; the next call starts at that entry.
        match failed {
            Some(e) if given == 0 => Err(e),
            Some(_) | None => Ok(()),
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::WrongType`], [`Error::Tree`].
    pub fn readlink(&self, node: NodeId) -> Result<Vec<u8>, Error> {
        match self.place(node)? {
            Place::Virtual(_) => Err(Error::WrongType(node)),
            Place::Tree(tree) => tree.readlink(node),
        }
    }

    /// The value of the extended attribute `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoData`], [`Error::Stale`], [`Error::Tree`].
    pub fn getxattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, Error> {
        match self.place(node)? {
            Place::Virtual(_) => Err(Error::NoData(node)),
            Place::Tree(tree) => tree.getxattr(node, name),
        }
    }

    /// The names of all extended attributes, each ended by a zero byte.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::Tree`].
    pub fn listxattr(&self, node: NodeId) -> Result<Vec<u8>, Error> {
        match self.place(node)? {
            Place::Virtual(_) => Ok(Vec::new()),
            Place::Tree(tree) => tree.listxattr(node),
        }
    }

    /// Whether a file can be opened with the `flags` of open(2).
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::IsADirectory`], [`Error::Stale`], [`Error::Tree`].
    pub fn open(&self, node: NodeId, flags: i32) -> Result<(), Error> {
        let attr = self.getattr(node)?.value;
        if attr.file_type == crate::archive::FileType::Directory {
            return Err(Error::IsADirectory(node));
        }
        if flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0 {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }

    /// Whether a directory can be opened.
    ///
    /// # Errors
    ///
    /// [`Error::NotADirectory`], [`Error::Stale`], [`Error::Tree`].
    pub fn open_dir(&self, node: NodeId) -> Result<(), Error> {
        let attr = self.getattr(node)?.value;
        if attr.file_type != crate::archive::FileType::Directory {
            return Err(Error::NotADirectory(node));
        }
        Ok(())
    }

    /// Whether access(2) with `mask` succeeds as far as it is not a matter of permission bits,
    /// which the kernel checks.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] for writing to what is no device or pipe; [`Error::Stale`],
    /// [`Error::Tree`].
    pub fn access(&self, node: NodeId, mask: i32) -> Result<(), Error> {
        use crate::archive::FileType;
        let attr = self.getattr(node)?.value;
        match attr.file_type {
            FileType::Regular | FileType::Directory | FileType::Symlink
                if mask & libc::W_OK != 0 =>
            {
                Err(Error::ReadOnly)
            }
            FileType::Regular
            | FileType::Directory
            | FileType::Symlink
            | FileType::CharDevice
            | FileType::BlockDevice
            | FileType::Fifo => Ok(()),
        }
    }

    /// What `statfs` tells of the tree that the node is in; of all trees, for the virtual root.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`].
    pub fn statfs(&self, node: NodeId) -> Result<Statfs, Error> {
        const BLOCK: u32 = 4096;
        let (bytes, files) = match self.place(node)? {
            Place::Virtual(table) => VirtualRoot::new(&table).totals(),
            Place::Tree(tree) => tree.totals(),
        };
        Ok(Statfs {
            block_size: BLOCK,
            blocks: bytes.div_ceil(BLOCK.into()).max(1),
            files: files.max(1),
            name_max: 255,
        })
    }

    /// Fills `buf` from `offset` of a file if that needs no waiting.
    ///
    /// Less than the whole buffer is filled only at the end of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::IsADirectory`], [`Error::WrongType`], [`Error::Read`],
    /// [`Error::NoLayer`], [`Error::Tree`].
    pub fn read_cached(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<Cached, Error> {
        self.content(node)?.read_cached(node, offset, buf)
    }

    /// Fills `buf` from `offset` of a file, however long that takes, and says how many bytes there
    /// were: fewer than asked for only at the end of the file.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::read_cached`].
    pub fn read(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        self.content(node)?.read(node, offset, buf)
    }

    /// Lets it be known that `len` bytes of a file are about to be waited for at `offset`: the rest
    /// of a small one is fetched meanwhile. Never waits.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::read_cached`], without [`Error::Read`].
    pub fn expect(&self, node: NodeId, offset: u64, len: u64) -> Result<(), Error> {
        self.content(node)?.expect_rest(node, offset, len)
    }

    /// Whether any inode of what is shown has extended attributes.
    pub fn has_xattrs(&self) -> bool {
        self.slots.load().trees().any(|tree| tree.tree.summary().has_xattrs)
    }

    /// The next data (`SEEK_DATA`) or hole (`SEEK_HOLE`) of a file from `offset` on; its end is a
    /// hole.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchOffset`]; [`Error::WrongType`] for another `whence`; else as
    /// [`Filesystem::read_cached`].
    pub fn seek(&self, node: NodeId, offset: i64, whence: i32) -> Result<i64, Error> {
        self.content(node)?.seek(node, offset, whence)
    }

    fn content(&self, node: NodeId) -> Result<Arc<MountedTree>, Error> {
        match self.place(node)? {
            Place::Virtual(_) => Err(Error::IsADirectory(node)),
            Place::Tree(tree) => Ok(tree),
        }
    }

    fn place(&self, node: NodeId) -> Result<Place, Error> {
        let table = self.slots.load();
        let tree = table.tree(node.slot()).cloned();
        match tree {
            Some(tree) => Ok(Place::Tree(tree)),
            None if node.slot() == 0 => Ok(Place::Virtual(table)),
            None => Err(Error::Stale(node)),
        }
    }
}
