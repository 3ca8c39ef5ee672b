//! Writes what was planned.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use crate::archive::{FileType, LayerPath, Metadata, TarWriter, Timestamp, WHITEOUT_PREFIX};
use crate::diff::Error;
use crate::sys;

use super::links::Item;
use super::upper::Upper;
use super::{CompareOptions, Inode};

/// How much of a file is read at once, in bytes.
const BUFFER: usize = 256 << 10;
/// From how many bytes of holes on a file is written as a sparse one: below, plain zeros, which
/// compress to nothing, are what more readers take.
const MIN_HOLES: u64 = 16 << 20;

/// Writes the entries of a layer.
pub(super) struct Emitter<'a, W: Write> {
    upper: &'a Upper,
    out: TarWriter<W>,
    options: &'a CompareOptions,
    /// The folders that were written.
    folders: HashSet<LayerPath>,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Emitter<'a, W> {
    pub(super) fn new(upper: &'a Upper, out: TarWriter<W>, options: &'a CompareOptions) -> Self {
        Self { upper, out, options, folders: HashSet::new(), buffer: vec![0; BUFFER] }
    }

    /// Writes `item`, after the folders above it.
    pub(super) fn item(&mut self, item: &Item) -> Result<(), Error> {
        match item {
            Item::Whiteout(path) => {
                self.parents(path)?;
                self.whiteout(path)
            }
            Item::Node(path, inode) => {
                self.parents(path)?;
                self.node(path, inode)
            }
            Item::Link { path, inode, target } => {
                self.parents(path)?;
                let metadata = self.bound(&inode.metadata);
                Ok(self.out.hard_link(path, &metadata, target)?)
            }
        }
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        self.out.finish()?;
        Ok(())
    }

    /// Writes the folders above `path` that were not yet, the root apart.
    fn parents(&mut self, path: &LayerPath) -> Result<(), Error> {
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(folder) = above.filter(|f| !f.is_root() && !self.folders.contains(f)) {
            above = folder.parent();
            missing.push(folder);
        }
        for folder in missing.into_iter().rev() {
            if let Some(inode) = self.upper.parent(&folder)? {
                self.node(&folder, &inode)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, path: &LayerPath, inode: &Inode) -> Result<(), Error> {
        let metadata = self.bound(&inode.metadata);
        match metadata.file_type {
            FileType::Regular => return self.file(path, inode, &metadata),
            FileType::Symlink => self.out.symlink(path, &metadata, &inode.link_target)?,
            FileType::Directory => {
                self.folders.insert(path.clone());
                self.out.node(path, &metadata)?;
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => {
                self.out.node(path, &metadata)?;
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &LayerPath) -> Result<(), Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let marker = parent.join(&[WHITEOUT_PREFIX, name].concat())?;
        let metadata =
            Metadata { file_type: FileType::Regular, mode: 0, ..Metadata::implied_directory() };
        Ok(self.out.file(&marker, &metadata, 0)?)
    }

    fn file(&mut self, path: &LayerPath, inode: &Inode, metadata: &Metadata) -> Result<(), Error> {
        let changed = || Error::Changed { path: path.to_string() };
        let file = self.upper.open_file(path)?;
        let status = sys::status_of(&file).map_err(Error::io("stat", path))?;
        if status.id() != inode.id || !status.is_file() || status.size != inode.size {
            return Err(changed());
        }
        if status.size.saturating_sub(status.allocated) >= MIN_HOLES {
            let extents = sys::data_extents(file.as_fd(), status.size)
                .map_err(Error::io("find data of", path))?;
            if self.out.sparse_file(path, metadata, status.size, &extents)? {
                for extent in extents {
                    self.data(&file, extent.start, extent.end - extent.start, path)?;
                }
                return Ok(());
            }
        }
        self.out.file(path, metadata, status.size)?;
        self.data(&file, 0, status.size, path)
    }

    /// Writes `len` bytes of `file` from `offset` on.
    fn data(
        &mut self,
        mut file: &File,
        offset: u64,
        len: u64,
        path: &LayerPath,
    ) -> Result<(), Error> {
        file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
        let mut left = len;
        while left > 0 {
            let want = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            match file.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(Error::Changed { path: path.to_string() }),
                Ok(n) => {
                    self.out.data(&self.buffer[..n])?;
                    left -= n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", path)(e)),
            }
        }
        Ok(())
    }

    /// The metadata with a time that is not too late.
    fn bound(&self, metadata: &Metadata) -> Metadata {
        let mut metadata = metadata.clone();
        if let Some(secs) = self.options.source_date_epoch {
            metadata.mtime = metadata.mtime.min(Timestamp { secs, nanos: 0 });
        }
        metadata
    }
}
