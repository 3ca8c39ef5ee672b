use super::header::Header;
use super::pax::Pax;
use super::sparse::{self, PaxMap, Run};
use super::{Device, Entry, EntryKind, FileType, Metadata, SparseFault, TarFault, Timestamp};

/// What extension headers have said of the member to come.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    pub(super) pax: Option<Pax>,
}

/// Where the rest of a draft's sparse map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MoreMap {
    /// There is none.
    No,
    /// In old GNU extension blocks, which the stored size does not count.
    GnuBlocks,
    /// In front of the data, counted by the stored size.
    InData,
}

/// A member whose header block is read, its sparse map perhaps not.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) entry: Entry,
    /// How many bytes of the member follow in the stream.
    pub(super) stored: u64,
    /// The map as far as it is read; `None` for a file that is not sparse.
    pub(super) map: Option<Vec<Run>>,
    pub(super) more: MoreMap,
}

impl Draft {
    /// The member that `header` and the extension headers before it announce.
    ///
    /// As in Go's `archive/tar`, a PAX record overrides the header block, a GNU long name both,
    /// and `GNU.sparse.name` all.
    pub(super) fn new(header: &Header<'_>, pending: Pending, at: u64) -> Result<Self, TarFault> {
        let mut pax = pending.pax.unwrap_or_default();
        let mut path = pending.long_name.or(pax.path.take()).unwrap_or_else(|| header.path());
        let link = pending
            .long_link
            .or(pax.link_path.take())
            .unwrap_or_else(|| header.link_name().to_vec());
        let kind = kind(header.type_flag(), &path, link)?;
        let (size, map, more) = content(header, &mut pax, &kind)?;
        if let Some(name) = pax.sparse.name.take().filter(|_| map.is_some()) {
            path = name;
        }
        let metadata = metadata(header, pax, &kind)?;
        let entry =
            Entry { offset: at, path, kind, metadata, size: size.logical, runs: Vec::new() };
        Ok(Self { entry, stored: size.stored, map, more })
    }

    /// The finished member, whose data start at `data_offset` of the stream.
    pub(super) fn finish(self, data_offset: u64) -> Result<Entry, TarFault> {
        let mut entry = self.entry;
        let whole = [(0, self.stored.cast_signed())];
        let map = self.map.as_deref().unwrap_or(&whole);
        entry.runs = sparse::data_runs(map, entry.size, self.stored, data_offset)
            .map_err(TarFault::Sparse)?;
        Ok(entry)
    }
}

fn kind(flag: u8, path: &[u8], link: Vec<u8>) -> Result<EntryKind, TarFault> {
    Ok(match flag {
        // Before ustar, a trailing slash was all that told a directory.
        0 if path.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' | b'7' | b'S' => EntryKind::Regular,
        b'1' => EntryKind::HardLink(link),
        b'2' => EntryKind::Symlink(link),
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        unknown => return Err(TarFault::UnknownType(unknown)),
    })
}

/// The size of a file, and of what the stream holds of it.
struct Size {
    logical: u64,
    stored: u64,
}

type Content = (Size, Option<Vec<Run>>, MoreMap);

fn content(header: &Header<'_>, pax: &mut Pax, kind: &EntryKind) -> Result<Content, TarFault> {
    let stored = pax.size.map_or_else(|| header.size(), Ok)?;
    if header.type_flag() == b'S' {
        if !header.is_gnu() {
            return Err(TarFault::Sparse(SparseFault::Version));
        }
        let mut runs = Vec::new();
        let (table, extended) = header.gnu_sparse();
        sparse::add_gnu_descriptors(table, &mut runs).map_err(TarFault::Sparse)?;
        let more = if extended { MoreMap::GnuBlocks } else { MoreMap::No };
        let size = Size { logical: size(header.gnu_real_size()?)?, stored: size(stored)? };
        return Ok((size, Some(runs), more));
    }
    let map = pax.sparse.map().map_err(TarFault::Sparse)?;
    if *kind != EntryKind::Regular {
        // Whatever its size field says, such a member has no data.
        return match map {
            None => Ok((Size { logical: 0, stored: 0 }, None, MoreMap::No)),
            Some(_) => Err(TarFault::Sparse(SparseFault::NotRegular)),
        };
    }
    let logical = pax.sparse.logical_size().filter(|_| map.is_some()).unwrap_or(stored);
    let size = Size { logical: size(logical)?, stored: size(stored)? };
    Ok(match map {
        None => (size, None, MoreMap::No),
        Some(PaxMap::Records(runs)) => (size, Some(runs), MoreMap::No),
        Some(PaxMap::InData) => (size, Some(Vec::new()), MoreMap::InData),
    })
}

fn size(value: i64) -> Result<u64, TarFault> {
    u64::try_from(value).map_err(|_| TarFault::OutOfRange { field: "size", value })
}

fn unsigned32(field: &'static str, value: i64) -> Result<u32, TarFault> {
    u32::try_from(value).map_err(|_| TarFault::OutOfRange { field, value })
}

fn metadata(header: &Header<'_>, pax: Pax, kind: &EntryKind) -> Result<Metadata, TarFault> {
    let file_type = match kind {
        EntryKind::Regular | EntryKind::HardLink(_) => FileType::Regular,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink(_) => FileType::Symlink,
        EntryKind::CharDevice => FileType::CharDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::Fifo => FileType::Fifo,
    };
    let mut device = Device::default();
    if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        let (major, minor) = header.device()?;
        device.major = unsigned32("device major number", major)?;
        device.minor = unsigned32("device minor number", minor)?;
    }
    let mtime = match pax.mtime {
        Some(mtime) => mtime,
        None => Timestamp { secs: header.mtime()?, nanos: 0 },
    };
    let mode = (header.mode()? & 0o7777) as u16;
    Ok(Metadata {
        file_type,
        mode,
        uid: unsigned32("uid", pax.uid.map_or_else(|| header.uid(), Ok)?)?,
        gid: unsigned32("gid", pax.gid.map_or_else(|| header.gid(), Ok)?)?,
        mtime,
        device,
        xattrs: pax.xattrs,
    })
}
