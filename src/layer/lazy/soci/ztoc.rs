//! The zTOC: its files, and how the layer is cut into spans.

use crate::archive::{
    DataRun, Device, Entry, EntryKind, FileType, MAX_EXTENSION, MAX_PATH, Metadata, xattrs_of,
};
use crate::layer::{Toc, TocBuilder};

use super::super::toc_json::time;
use super::super::{EntryFault, LazyError, MAX_CHUNKS, MAX_MEMBERS, ZtocFault};
use super::flatbuffer::{Buffer, Table};

/// The compressions of a zTOC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Uncompressed,
}

/// A zTOC, its files apart.
pub(super) struct Ztoc<'a> {
    pub(super) compressed_size: u64,
    pub(super) uncompressed_size: u64,
    pub(super) compression: Compression,
    pub(super) span_digests: Vec<&'a [u8]>,
    pub(super) checkpoints: &'a [u8],
}

impl<'a> Ztoc<'a> {
    pub(super) fn read(buffer: &'a Buffer<'a>) -> Result<Self, ZtocFault> {
        let root = buffer.root()?;
        let info = root.table(5)?.ok_or(ZtocFault::Missing("compression info"))?;
        let compression = match info.i8(0)? {
            None | Some(1) => Compression::Gzip,
            Some(2) => Compression::Uncompressed,
            Some(other) => return Err(ZtocFault::Compression(other)),
        };
        let size = |slot| u64::try_from(root.i64(slot)?).map_err(|_| ZtocFault::Size);
        Ok(Self {
            compressed_size: size(2)?,
            uncompressed_size: size(3)?,
            compression,
            span_digests: digests(info.strings(2)?)?,
            checkpoints: info.bytes(3)?,
        })
    }
}

/// The digests of spans, no more than are read.
fn digests<'a>(
    all: impl Iterator<Item = Result<&'a [u8], ZtocFault>>,
) -> Result<Vec<&'a [u8]>, ZtocFault> {
    let digests: Vec<_> = all.take(MAX_CHUNKS + 1).collect::<Result<_, _>>()?;
    if digests.len() > MAX_CHUNKS { Err(ZtocFault::TooMany) } else { Ok(digests) }
}

/// The files of the zTOC in `buffer`, in a stream of `stream_size` bytes.
pub(super) fn files(buffer: &Buffer<'_>, stream_size: u64) -> Result<Toc, LazyError> {
    let toc = buffer.root()?.table(4)?.ok_or(ZtocFault::Missing("table of contents"))?;
    // Many may be one and the same: a file is taken apart only when its turn comes.
    let mut files = Vec::new();
    for file in toc.tables(0)? {
        if files.len() == MAX_MEMBERS {
            return Err(LazyError::TooMany { what: "files", limit: MAX_MEMBERS });
        }
        let file = file?;
        files.push((file.i64(2)?, file));
    }
    // Places in the archive tell the order.
    files.sort_by_key(|(offset, _)| *offset);
    let (mut builder, mut end) = (TocBuilder::new(), 0);
    for (_, file) in files {
        let member = member(&file)?;
        if let Some(run) = member.runs.first() {
            let run_end = run.stream_offset.checked_add(run.len);
            let fault = match run_end {
                Some(run_end) if run.stream_offset >= end && run_end <= stream_size => None,
                Some(run_end) if run_end <= stream_size => Some(EntryFault::Overlap),
                _ => Some(EntryFault::Outside),
            };
            if let Some(fault) = fault {
                let entry = String::from_utf8_lossy(&member.path).into_owned();
                return Err(LazyError::Entry { entry, fault });
            }
            end = run.stream_offset + run.len;
        }
        builder.add(member)?;
    }
    Ok(builder.finish())
}

fn member(file: &Table<'_>) -> Result<Entry, LazyError> {
    let path = file.bytes(0)?;
    described(file, path)?.map_err(|fault| {
        let entry = String::from_utf8_lossy(&path[..path.len().min(MAX_PATH)]).into_owned();
        LazyError::Entry { entry, fault }
    })
}

fn described(file: &Table<'_>, path: &[u8]) -> Result<Result<Entry, EntryFault>, ZtocFault> {
    let (mut records, mut len) = (Vec::new(), 0);
    for record in file.tables(13)? {
        let record = record?;
        let (key, value) = (record.bytes(0)?, record.bytes(1)?);
        // A record of an archive takes as much besides.
        len += (key.len() + value.len() + 5) as u64;
        if len > MAX_EXTENSION {
            return Ok(Err(EntryFault::Records));
        }
        records.push((key, value));
    }
    let (kind, link) = (file.bytes(1)?, file.bytes(4)?);
    let (offset, size, mode) = (file.i64(2)?, file.i64(3)?, file.i64(5)?);
    let (uid, gid, mtime) = (file.u32(6)?, file.u32(7)?, file.bytes(10)?);
    let (major, minor) = (file.i64(11)?, file.i64(12)?);
    let entry = || {
        let (kind, file_type) = kind_of(kind, link)?;
        // What the records say of holes is only a part of it.
        if records.iter().any(|(key, _)| key.starts_with(b"GNU.sparse.")) {
            return Err(EntryFault::Sparse);
        }
        let device = match file_type {
            FileType::CharDevice | FileType::BlockDevice => Device {
                major: u32::try_from(major).map_err(|_| EntryFault::Range("device"))?,
                minor: u32::try_from(minor).map_err(|_| EntryFault::Range("device"))?,
            },
            FileType::Regular | FileType::Directory | FileType::Symlink | FileType::Fifo => {
                Device::default()
            }
        };
        let mtime = std::str::from_utf8(mtime).map_err(|_| EntryFault::Time(String::new()))?;
        #[expect(clippy::cast_sign_loss, reason = "masked")]
        let mode = (mode & 0o7777) as u16;
        let metadata = Metadata {
            file_type,
            mode,
            uid,
            gid,
            mtime: time(mtime)?,
            device,
            xattrs: xattrs_of(&records)?,
        };
        let offset = u64::try_from(offset).map_err(|_| EntryFault::Range("offset"))?;
        let size = u64::try_from(size).map_err(|_| EntryFault::Range("size"))?;
        let size = if kind == EntryKind::Regular { size } else { 0 };
        let run = DataRun { file_offset: 0, len: size, stream_offset: offset };
        let runs = if size == 0 { Vec::new() } else { vec![run] };
        Ok(Entry { offset, path: path.to_vec(), kind, metadata, size, runs })
    };
    Ok(entry())
}

fn kind_of(kind: &[u8], link: &[u8]) -> Result<(EntryKind, FileType), EntryFault> {
    Ok(match kind {
        b"reg" => (EntryKind::Regular, FileType::Regular),
        b"dir" => (EntryKind::Directory, FileType::Directory),
        b"symlink" => (EntryKind::Symlink(link.to_vec()), FileType::Symlink),
        b"hardlink" => (EntryKind::HardLink(link.to_vec()), FileType::Regular),
        b"char" => (EntryKind::CharDevice, FileType::CharDevice),
        b"block" => (EntryKind::BlockDevice, FileType::BlockDevice),
        b"fifo" => (EntryKind::Fifo, FileType::Fifo),
        other => return Err(EntryFault::Type(String::from_utf8_lossy(other).into_owned())),
    })
}
