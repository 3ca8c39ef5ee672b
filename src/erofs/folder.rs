//! Directories: blocks of entries, each complete in itself, names sorted over the whole directory
//! with `.` and `..` among them.

use std::io::{self, Write};
use std::iter::Peekable;

use crate::archive::FileType;
use crate::tree::{Child, Children, Tree};

use super::error::Error;
use super::format::{BLOCK, BLOCK_LEN, DIRENT_LEN, dirent};

/// A name of a directory.
#[derive(Debug, Clone, Copy)]
struct Entry<'t> {
    name: &'t [u8],
    ino: u32,
    file_type: FileType,
}

impl Entry<'_> {
    fn len(&self) -> usize {
        DIRENT_LEN + self.name.len()
    }
}

/// A place between two entries: that of a child, and how many of `.` and `..` come before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    position: u32,
    dots: u8,
}

/// The entries of a directory from a mark on.
struct Entries<'t> {
    children: Peekable<Children<'t>>,
    mark: Mark,
    inodes: u32,
    dots: [(&'static [u8], u32); 2],
}

impl<'t> Entries<'t> {
    fn new(tree: &'t Tree, ino: u32, mark: Mark) -> Result<Self, Error> {
        let children = tree.children(ino, u64::from(mark.position))?.peekable();
        let (parent, inodes) = (tree.parent(ino)?, tree.summary().inodes);
        if !(1..=inodes).contains(&parent) {
            return Err(crate::tree::Error::NoSuchInode(parent).into());
        }
        Ok(Self { children, mark, inodes, dots: [(b".", ino), (b"..", parent)] })
    }

    fn read(&mut self) -> Result<Option<Entry<'t>>, Error> {
        let dot = self.dots.get(usize::from(self.mark.dots));
        let dot_is_next = match (dot, self.children.peek()) {
            (Some((dot, _)), Some(Ok(child))) => *dot < child.name,
            (Some(_), None) => true,
            (Some(_), Some(Err(_))) | (None, _) => false,
        };
        if let Some((name, ino)) = dot.filter(|_| dot_is_next) {
            self.mark.dots += 1;
            return Ok(Some(Entry { name, ino: *ino, file_type: FileType::Directory }));
        }
        let Some(child) = self.children.next() else { return Ok(None) };
        let Child { name, ino, file_type, .. } = child?;
        if !(1..=self.inodes).contains(&ino) {
            return Err(crate::tree::Error::NoSuchInode(ino).into());
        }
        self.mark.position += 1;
        Ok(Some(Entry { name, ino, file_type }))
    }
}

/// How a directory is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Folder {
    /// The blocks before the last one.
    pub(super) full_blocks: u32,
    /// How much of the last block is used, in bytes; never 0.
    pub(super) tail_len: u16,
    /// Where the last block starts.
    tail: Mark,
}

impl Folder {
    /// Lays out the directory `ino`.
    pub(super) fn of(tree: &Tree, ino: u32) -> Result<Self, Error> {
        let mut entries = Entries::new(tree, ino, Mark::default())?;
        let (mut full_blocks, mut used, mut tail) = (0, 0, Mark::default());
        loop {
            let before = entries.mark;
            let Some(entry) = entries.read()? else { break };
            if used + entry.len() > BLOCK_LEN {
                (full_blocks, used, tail) = (full_blocks + 1, 0, before);
            }
            used += entry.len();
        }
        Ok(Self { full_blocks, tail_len: u16::try_from(used).unwrap_or(u16::MAX), tail })
    }

    /// `i_size`.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.full_blocks) * BLOCK + u64::from(self.tail_len)
    }

    /// Writes all blocks but the last one.
    pub(super) fn write_full(
        &self,
        tree: &Tree,
        ino: u32,
        nids: &[u32],
        out: &mut impl Write,
    ) -> Result<(), Error> {
        if self.full_blocks == 0 {
            return Ok(());
        }
        let mut entries = Entries::new(tree, ino, Mark::default())?;
        let mut block = DirBlock::default();
        while entries.mark != self.tail {
            let Some(entry) = entries.read()? else { break };
            if block.used + entry.len() > BLOCK_LEN {
                block.end(nids, BLOCK_LEN, out)?;
            }
            block.push(entry);
        }
        Ok(block.end(nids, BLOCK_LEN, out)?)
    }

    /// Writes the last block, without what is after its last name.
    pub(super) fn write_tail(
        &self,
        tree: &Tree,
        ino: u32,
        nids: &[u32],
        out: &mut impl Write,
    ) -> Result<(), Error> {
        let mut entries = Entries::new(tree, ino, self.tail)?;
        let mut block = DirBlock::default();
        while let Some(entry) = entries.read()? {
            block.push(entry);
        }
        Ok(block.end(nids, usize::from(self.tail_len), out)?)
    }
}

/// A block being filled.
#[derive(Default)]
struct DirBlock<'t> {
    entries: Vec<Entry<'t>>,
    used: usize,
}

impl<'t> DirBlock<'t> {
    fn push(&mut self, entry: Entry<'t>) {
        self.used += entry.len();
        self.entries.push(entry);
    }

    /// Writes the block as `len` bytes and empties it.
    fn end(&mut self, nids: &[u32], len: usize, out: &mut impl Write) -> io::Result<()> {
        let mut name_at = self.entries.len() * DIRENT_LEN;
        let mut bytes = Vec::with_capacity(len);
        for entry in &self.entries {
            let nid = nids[entry.ino as usize - 1];
            let at = u16::try_from(name_at).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&dirent(u64::from(nid), at, entry.file_type));
            name_at += entry.name.len();
        }
        self.entries.drain(..).for_each(|entry| bytes.extend_from_slice(entry.name));
        bytes.resize(len, 0);
        self.used = 0;
        out.write_all(&bytes)
    }
}
