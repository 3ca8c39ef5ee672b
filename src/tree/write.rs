//! From a merge to the bytes of a tree file: one pass that measures, one that writes.

use std::convert::Infallible;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::archive::{FileType, Metadata};
use crate::io::AtomicFile;
use crate::layer::Inode;

use super::data::{DATA_BLOCK, DataChunks, DataRun, Runs};
use super::error::Error;
use super::layout::{ALIGN, BLOCK_LEN, HEADER_LEN, Header};
use super::merged::{Merged, MergedInode};
use super::record::{
    Content, EXTENT_LEN, INODE_LEN, InodeRecord, LAYER_LEN, Layer, NAME_LEN, NameRecord,
    encode_extent,
};
use super::xattrs::XattrPool;

/// The most bytes that all names and link targets take together, and the most extents: 2^32 - 1.
const MAX_PLACE: u64 = u32::MAX as u64;

/// Writes the tree of `merged`, whose layers are `layers`, as the file `path`, atomically.
///
/// # Errors
///
/// [`Error::LayerCount`], [`Error::TooMany`] past a bound of the format, [`Error::Io`].
pub(super) fn write(merged: &Merged<'_>, layers: &[Layer], path: &Path) -> Result<(), Error> {
    let mut plan = Plan::of(merged, layers)?;
    let written = AtomicFile::create(path).and_then(|mut file| {
        plan.write(file.file())?;
        file.commit()
    });
    written.map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// The bytes of the tree file of `merged`.
pub(super) fn encode(merged: &Merged<'_>, layers: &[Layer]) -> Result<Vec<u8>, Error> {
    let mut out = io::Cursor::new(Vec::new());
    let written = Plan::of(merged, layers)?.write(&mut out);
    written.map_err(|source| Error::Io { path: "(memory)".into(), source })?;
    Ok(out.into_inner())
}

/// A measured tree.
struct Plan<'a> {
    merged: &'a Merged<'a>,
    layers: &'a [Layer],
    xattrs: XattrPool<'a>,
    header: Header,
    /// Where in the strings the first link target is.
    targets_at: u32,
}

impl<'a> Plan<'a> {
    fn of(merged: &'a Merged<'a>, layers: &'a [Layer]) -> Result<Self, Error> {
        if layers.len() != merged.layers.len() {
            let (given, merged) = (layers.len(), merged.layers.len());
            return Err(Error::LayerCount { given, merged });
        }
        let mut xattrs = XattrPool::new(merged.hides_overlay_xattrs);
        let (mut targets, mut extents, mut bytes, mut directories) = (0, 0, 0_u64, 0);
        for merged_inode in &merged.inodes {
            let Some(inode) = merged.source(merged_inode) else {
                directories += 1;
                continue;
            };
            directories += u32::from(inode.metadata.file_type == FileType::Directory);
            targets += target_of(inode).len() as u64;
            bytes = bytes.saturating_add(size_of(inode));
            if let Data::Many(many) = Data::of(inode) {
                extents += many.len() as u64;
            }
            xattrs.add(inode)?;
        }
        let names: u64 = merged.names.iter().map(|name| u64::from(name.len)).sum();
        bounded("bytes of names and link targets", names + targets)?;
        bounded("extents", extents)?;
        let lengths = [
            (layers.len() * LAYER_LEN) as u64,
            (merged.inodes.len() * INODE_LEN) as u64,
            (merged.names.len() * NAME_LEN) as u64,
            names + targets,
            extents * EXTENT_LEN as u64,
            xattrs.bytes().len() as u64,
        ];
        let too_long = Error::TooMany { what: "bytes of a tree file", bound: u64::MAX };
        let mut header = Header::of_lengths(lengths).ok_or(too_long)?;
        (header.directories, header.bytes) = (directories, bytes);
        Ok(Self { merged, layers, xattrs, header, targets_at: place(names) })
    }

    fn write<W: Write + Seek>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(&[0; HEADER_LEN])?;
        let mut body = BlockWriter::new(out);
        self.layers.iter().try_for_each(|layer| body.write_all(&layer.encode()))?;
        body.align()?;
        self.write_inodes(&mut body)?;
        body.align()?;
        self.write_names(&mut body)?;
        body.align()?;
        for name in &self.merged.names {
            body.write_all(self.merged.name(name))?;
        }
        for inode in self.merged.inodes.iter().filter_map(|inode| self.merged.source(inode)) {
            body.write_all(target_of(inode))?;
        }
        body.align()?;
        for inode in self.merged.inodes.iter().filter_map(|inode| self.merged.source(inode)) {
            if let Data::Many(extents) = Data::of(inode) {
                extents.iter().try_for_each(|extent| body.write_all(&encode_extent(extent)))?;
            }
        }
        body.align()?;
        body.write_all(self.xattrs.bytes())?;
        body.align()?;
        let checksums = body.finish()?;
        self.header.checksums_crc = crc32c::crc32c(&checksums);
        out.write_all(&checksums)?;
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&self.header.encode())
    }

    fn write_inodes(&mut self, body: &mut impl Write) -> io::Result<()> {
        let implied = Metadata::implied_directory();
        let (mut target_at, mut extent_at, mut data_at) = (self.targets_at, 0_u32, 0_u64);
        for merged_inode in &self.merged.inodes {
            let source = self.merged.source(merged_inode);
            let metadata = source.map_or(&implied, |inode| &inode.metadata);
            let content = content_of(merged_inode, source, target_at, extent_at);
            let mut record = InodeRecord::of(metadata, content);
            record.nlink = merged_inode.nlink;
            record.layer = merged_inode.layer;
            record.data_start = data_at;
            if let Some(inode) = source {
                let target = target_of(inode).len() as u64;
                record.size = size_of(inode) + target;
                record.xattrs = self.xattrs.place(inode);
                target_at += place(target);
                data_at = data_at.saturating_add(data_len(inode));
            }
            if let Content::Extents { count, .. } = content {
                extent_at += count;
            }
            body.write_all(&record.encode())?;
        }
        self.header.data_len = data_at;
        Ok(())
    }

    fn write_names(&self, body: &mut impl Write) -> io::Result<()> {
        let mut offset = 0;
        for name in &self.merged.names {
            let inode = self.merged.inodes[name.ino as usize - 1];
            let source = self.merged.source(&inode);
            let record = NameRecord {
                offset,
                ino: name.ino,
                layer: name.layer,
                len: name.len,
                file_type: source.map_or(FileType::Directory, |inode| inode.metadata.file_type),
            };
            body.write_all(&record.encode())?;
            offset += u32::from(name.len);
        }
        Ok(())
    }
}

/// Where the data of a regular file is.
enum Data<'a> {
    Nothing,
    Whole(u64),
    Many(&'a [crate::layer::Extent]),
}

impl<'a> Data<'a> {
    fn of(inode: &'a Inode) -> Self {
        if inode.metadata.file_type != FileType::Regular {
            return Data::Nothing;
        }
        match inode.extents.as_slice() {
            [] => Data::Nothing,
            [one] if one.file_offset == 0 && one.len == inode.size => Data::Whole(one.layer_offset),
            many => Data::Many(many),
        }
    }
}

fn content_of(
    merged: &MergedInode,
    source: Option<&Inode>,
    target_at: u32,
    extent_at: u32,
) -> Content {
    let folder =
        Content::Folder { first: merged.first, count: merged.count, parent: merged.parent };
    let Some(inode) = source else { return folder };
    match inode.metadata.file_type {
        FileType::Directory => folder,
        FileType::Regular => match Data::of(inode) {
            Data::Nothing => Content::Hole,
            Data::Whole(layer_offset) => Content::Whole { layer_offset },
            Data::Many(extents) => {
                Content::Extents { first: extent_at, count: place(extents.len() as u64) }
            }
        },
        FileType::Symlink => Content::Link { offset: target_at },
        FileType::CharDevice | FileType::BlockDevice => Content::Device(inode.metadata.device),
        FileType::Fifo => Content::Fifo,
    }
}

fn target_of(inode: &Inode) -> &[u8] {
    let is_link = inode.metadata.file_type == FileType::Symlink;
    if is_link { &inode.link_target } else { &[] }
}

fn size_of(inode: &Inode) -> u64 {
    if inode.metadata.file_type == FileType::Regular { inode.size } else { 0 }
}

/// How many bytes of the virtual blob `inode` takes; `u64::MAX` if it were more.
fn data_len(inode: &Inode) -> u64 {
    let chunks = |has_holes| DataChunks::of(inode.size, has_holes);
    let blocks = match Data::of(inode) {
        Data::Nothing => 0,
        Data::Whole(_) => chunks(false).blocks,
        Data::Many(extents) => {
            let spans = extents.iter().map(|e| Ok((e.file_offset, e.file_offset + e.len)));
            let run_len = |run: Result<DataRun, Infallible>| run.map_or(0, |run| run.blocks);
            Runs::new(chunks(true), spans).map(run_len).sum()
        }
    };
    blocks.saturating_mul(DATA_BLOCK)
}

fn bounded(what: &'static str, count: u64) -> Result<(), Error> {
    if count > MAX_PLACE {
        return Err(Error::TooMany { what, bound: MAX_PLACE });
    }
    Ok(())
}

/// A place that [`bounded`] has let through.
fn place(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Writes the body and notes the checksum of every block.
struct BlockWriter<'w, W> {
    out: &'w mut W,
    block: Vec<u8>,
    written: u64,
    checksums: Vec<u8>,
}

impl<'w, W: Write> BlockWriter<'w, W> {
    fn new(out: &'w mut W) -> Self {
        let block = Vec::with_capacity(BLOCK_LEN);
        Self { out, block, written: 0, checksums: Vec::new() }
    }

    fn align(&mut self) -> io::Result<()> {
        while !self.written.is_multiple_of(ALIGN) {
            self.write_all(&[0])?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.checksums.extend_from_slice(&crc32c::crc32c(&self.block).to_le_bytes());
        self.out.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        Ok(self.checksums)
    }
}

impl<W: Write> Write for BlockWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(BLOCK_LEN - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        self.written += n as u64;
        if self.block.len() == BLOCK_LEN {
            self.end_block()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
