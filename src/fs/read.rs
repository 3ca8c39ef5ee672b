//! Reading a file: which bytes of which layer, and holes.

use std::sync::Arc;

use crate::archive::FileType;
use crate::io::ReadAt;

use super::tree_calls::failed as tree_error;
use super::{Error, MountedTree, NodeId};

/// A file of up to so many bytes is fetched whole when a part of it is wanted: it may lie in two
/// spans, and who reads its first page reads the others.
const SMALL_FILE: u64 = 256 << 10;

/// What a read that must not wait gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// This many bytes are in the buffer.
    Ready(usize),
    /// Some are to be waited for; from this source.
    Missing(Source),
}

/// What a read waits for: reads of one layer have one source, whatever tree it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(usize);

impl Source {
    fn of(layer: &Arc<dyn ReadAt>) -> Self {
        Self(Arc::as_ptr(layer).cast::<()>().addr())
    }

    /// A source with a number of its own.
    #[cfg(test)]
    pub(crate) const fn numbered(number: usize) -> Self {
        Self(number)
    }
}

/// A part of a read.
pub(super) enum Part<'a> {
    /// Bytes that no layer has.
    Hole(&'a mut [u8]),
    /// Bytes of a layer.
    Data { buf: &'a mut [u8], layer: usize, offset: u64 },
}

impl MountedTree {
    pub(super) fn read_cached(
        &self,
        node: NodeId,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Cached, Error> {
        let mut missing = None;
        let n = self.parts(node, offset, buf, &mut |part| {
            let (buf, place, offset) = match part {
                Part::Hole(buf) => {
                    buf.fill(0);
                    return Ok(true);
                }
                Part::Data { buf, layer, offset } => (buf, layer, offset),
            };
            let layer = self.layer(node, place)?;
            let len = buf.len();
            let read = layer.try_read_at(buf, offset);
            match read.map_err(|source| self.failed(node, place, offset, len, source))? {
                Some(n) if n == len => Ok(true),
                Some(n) => Err(self.failed(node, place, offset, len, short(n, layer.size()))),
                None => {
                    missing = Some(Source::of(layer));
                    Ok(false)
                }
            }
        })?;
        Ok(missing.map_or(Cached::Ready(n), Cached::Missing))
    }

    pub(super) fn read(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        self.parts(node, offset, buf, &mut |part| {
            match part {
                Part::Hole(buf) => buf.fill(0),
                Part::Data { buf, layer: place, offset } => {
                    let len = buf.len();
                    let read = self.layer(node, place)?.read_exact_at(buf, offset);
                    read.map_err(|source| self.failed(node, place, offset, len, source))?;
                }
            }
            Ok(true)
        })
    }

    /// Lets the layers know that the rest of a small file will be read, where `len` bytes of it at
    /// `offset` are waited for.
    pub(super) fn expect_rest(&self, node: NodeId, offset: u64, len: u64) -> Result<(), Error> {
        let (ino, offset) = if node.is_blob() {
            match self.tree.segment(offset).map_err(|e| tree_error(node, e))? {
                Some(segment) => (segment.ino, segment.file_offset),
                None => return Ok(()),
            }
        } else {
            (node.ino(), offset)
        };
        let size = self.tree.node(ino).map_err(|e| tree_error(node, e))?.size;
        let end = offset.saturating_add(len);
        if size > SMALL_FILE || (offset == 0 && end >= size) {
            return Ok(());
        }
        for extent in self.tree.extents(ino, 0).map_err(|e| tree_error(node, e))? {
            let extent = extent.map_err(|e| tree_error(node, e))?;
            let layer = self.layer(node, extent.layer.into())?;
            for (from, to) in [(0, offset), (end, size)] {
                let (from, to) = (from.max(extent.file_offset), to.min(extent.end()));
                if from < to {
                    let skip = from - extent.file_offset;
                    layer.expect(extent.layer_offset.saturating_add(skip), to - from);
                }
            }
        }
        Ok(())
    }

    /// Cuts the read of `buf` at `offset` into parts and gives them to `each`, until it says
    /// `false`. Returns how many bytes of `buf` are in the file.
    fn parts(
        &self,
        node: NodeId,
        offset: u64,
        buf: &mut [u8],
        each: &mut dyn FnMut(Part<'_>) -> Result<bool, Error>,
    ) -> Result<usize, Error> {
        if node.is_blob() {
            return self.blob_parts(node, offset, buf, each);
        }
        let wanted = clip(self.file_size(node)?.saturating_sub(offset), buf.len());
        self.file_parts(node, offset, &mut buf[..wanted], each)?;
        Ok(wanted)
    }

    /// Cuts the read of `buf`, which ends within the file, at `offset` into parts and gives them
    /// to `each`. Says whether `each` took all of them.
    pub(super) fn file_parts(
        &self,
        node: NodeId,
        offset: u64,
        buf: &mut [u8],
        each: &mut dyn FnMut(Part<'_>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        if offset == 0
            && let Some(starts) = &self.starts
        {
            starts(node.ino());
        }
        let mut rest = buf;
        let mut at = offset;
        let extents = self.tree.extents(node.ino(), offset);
        for extent in extents.map_err(|e| tree_error(node, e))? {
            if rest.is_empty() {
                break;
            }
            let extent = extent.map_err(|e| tree_error(node, e))?;
            let hole = clip(extent.file_offset.saturating_sub(at), rest.len());
            let (gap, tail) = rest.split_at_mut(hole);
            at += hole as u64;
            if !gap.is_empty() && !each(Part::Hole(gap))? {
                return Ok(false);
            }
            // An extent that starts before the read: skip what lies before.
            let skip = at.saturating_sub(extent.file_offset);
            let data = clip(extent.len.saturating_sub(skip), tail.len());
            let (buf, tail) = tail.split_at_mut(data);
            let offset = extent.layer_offset.saturating_add(skip);
            let part = Part::Data { buf, layer: extent.layer.into(), offset };
            at += data as u64;
            if data > 0 && !each(part)? {
                return Ok(false);
            }
            rest = tail;
        }
        if rest.is_empty() { Ok(true) } else { each(Part::Hole(rest)) }
    }

    pub(super) fn seek(&self, node: NodeId, offset: i64, whence: i32) -> Result<i64, Error> {
        let size = self.file_size(node)?;
        let nothing = |offset| Error::NoSuchOffset { node, offset };
        let from = u64::try_from(offset).map_err(|_| nothing(0))?;
        if from >= size {
            return Err(nothing(from));
        }
        if node.is_blob() {
            // Its gaps are small; where they are tells nobody anything.
            let found = if whence == libc::SEEK_HOLE { size } else { from };
            return i64::try_from(found).map_err(|_| nothing(from));
        }
        let mut at = from;
        let mut data = None;
        let extents = self.tree.extents(node.ino(), from);
        for extent in extents.map_err(|e| tree_error(node, e))? {
            let extent = extent.map_err(|e| tree_error(node, e))?;
            data = data.or(Some(extent.file_offset.max(from)));
            if whence == libc::SEEK_DATA || extent.file_offset > at {
                break;
            }
            at = at.max(extent.file_offset.saturating_add(extent.len));
        }
        let found = match whence {
            libc::SEEK_DATA => data.filter(|at| *at < size).ok_or_else(|| nothing(from))?,
            libc::SEEK_HOLE => at.min(size),
            _ => return Err(Error::WrongType(node)),
        };
        i64::try_from(found).map_err(|_| nothing(from))
    }

    fn file_size(&self, node: NodeId) -> Result<u64, Error> {
        if node.is_blob() {
            return Ok(self.blob_size());
        }
        let found = self.tree.node(node.ino()).map_err(|e| tree_error(node, e))?;
        match found.file_type {
            FileType::Regular => Ok(found.size),
            FileType::Directory => Err(Error::IsADirectory(node)),
            FileType::Symlink | FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => {
                Err(Error::WrongType(node))
            }
        }
    }

    fn layer(&self, node: NodeId, layer: usize) -> Result<&Arc<dyn ReadAt>, Error> {
        let layers = self.layers.len();
        self.layers.get(layer).ok_or(Error::NoLayer { node, layer, layers })
    }

    /// The error of a read of `len` bytes at `offset` of a layer, which is named by its diffID: its
    /// place says nothing in a log.
    fn failed(
        &self,
        node: NodeId,
        layer: usize,
        offset: u64,
        len: usize,
        source: std::io::Error,
    ) -> Error {
        let named = self.tree.layers();
        let Some(named) = named.get(layer) else {
            return Error::NoLayer { node, layer, layers: named.len() };
        };
        Error::Read { node, diff_id: named.diff_id.clone(), offset, len, source }
    }
}

/// `n`, or `max` where it is more.
pub(super) fn clip(n: u64, max: usize) -> usize {
    usize::try_from(n).map_or(max, |n| n.min(max))
}

fn short(n: usize, size: u64) -> std::io::Error {
    let text = format!("only {n} bytes are there, the layer ends at {size}");
    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text)
}
