use std::collections::HashMap;

use crate::archive::{FileType, LayerPath, Xattr};
use crate::digest::{Algorithm, Digest};
use crate::layer::{Extent, Inode, LayerIndex, Name, Target, Toc};

use super::layout::{
    COLUMNS, Column, HEADER_LEN, MAGIC, MAX_APART, MAX_COLUMNS, MAX_SPANS, MAX_TOC, MAX_WINDOWS,
    SECTIONS, VERSION, ZSTD_LEVEL, foreseen_place,
};
use super::wire::{put, put_bytes, put_difference, zigzag};
use super::{FormatError, Identity, WindowsApart};

/// `index` as the bytes of a file.
pub(super) fn encode(index: &LayerIndex) -> Result<Vec<u8>, FormatError> {
    let spans = index.table.encode();
    if spans.len() as u64 > MAX_SPANS {
        return Err(FormatError::TooLarge(spans.len() as u64));
    }
    if index.windows.len() as u64 > MAX_WINDOWS {
        return Err(FormatError::TooLarge(index.windows.len() as u64));
    }
    let apart = index.apart.as_ref().map(apart).unwrap_or_default();
    if apart.len() as u64 > MAX_APART {
        return Err(FormatError::TooLarge(apart.len() as u64));
    }
    let (identity, toc) = (identity(&index.identity), toc(&index.toc)?);
    let sections = [&identity, &spans, &index.windows, &apart, &toc];
    let mut file = Vec::with_capacity(HEADER_LEN + sections.iter().map(|s| s.len()).sum::<usize>());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    for section in sections {
        file.extend_from_slice(&crc32c::crc32c(section).to_le_bytes());
        file.extend_from_slice(&(section.len() as u64).to_le_bytes());
    }
    let checksum = crc32c::crc32c(&file);
    file.extend_from_slice(&checksum.to_le_bytes());
    debug_assert_eq!((file.len(), sections.len()), (HEADER_LEN, SECTIONS));
    for section in sections {
        file.extend_from_slice(section);
    }
    Ok(file)
}

fn identity(identity: &Identity) -> Vec<u8> {
    let mut out = vec![identity.origin.code()];
    if let Some(digest) = identity.origin.digest() {
        put_digest(&mut out, digest);
    }
    put_digest(&mut out, &identity.digest);
    put_digest(&mut out, identity.diff_id.digest());
    put_bytes(&mut out, identity.media_type.as_bytes());
    out
}

fn apart(apart: &WindowsApart) -> Vec<u8> {
    let mut out = Vec::with_capacity(80 + 32 * apart.groups.len());
    put_digest(&mut out, &apart.blob);
    out.extend(apart.groups.as_flattened());
    out
}

fn put_digest(out: &mut Vec<u8>, digest: &Digest) {
    out.push(match digest.algorithm() {
        Algorithm::Sha256 => 0,
        Algorithm::Sha512 => 1,
    });
    out.extend_from_slice(digest.as_bytes());
}

fn toc(toc: &Toc) -> Result<Vec<u8>, FormatError> {
    let columns = Columns::of(toc);
    let mut raw = Vec::new();
    for count in [toc.inodes.len(), toc.names.len(), toc.whiteouts.len(), toc.opaques.len()] {
        put(&mut raw, count as u64);
    }
    for column in &columns.0 {
        put(&mut raw, column.len() as u64);
    }
    for column in &columns.0 {
        raw.extend_from_slice(column);
    }
    let raw_len = raw.len() as u64;
    let frame = zstd::bulk::compress(&raw, ZSTD_LEVEL).map_err(|_| FormatError::Zstd)?;
    if raw_len > MAX_COLUMNS || frame.len() as u64 > MAX_TOC - 8 {
        return Err(FormatError::TooLarge(raw_len));
    }
    Ok([&raw_len.to_le_bytes()[..], &frame].concat())
}

/// The columns of a TOC.
struct Columns([Vec<u8>; COLUMNS]);

impl Columns {
    fn of(toc: &Toc) -> Self {
        let mut columns = Self([const { Vec::new() }; COLUMNS]);
        let mut state = InodeState::default();
        for inode in &toc.inodes {
            columns.put_inode(inode, &mut state);
        }
        columns.put_xattr_lists(&state);
        columns.put_names(&toc.names);
        columns.put_paths(&mut toc.names.iter().map(|name| &name.path));
        columns.put_paths(&mut toc.whiteouts.iter());
        columns.put_paths(&mut toc.opaques.iter());
        columns
    }

    fn column(&mut self, column: Column) -> &mut Vec<u8> {
        &mut self.0[column as usize]
    }

    fn put_inode<'a>(&mut self, inode: &'a Inode, state: &mut InodeState<'a>) {
        let meta = &inode.metadata;
        self.column(Column::Types).push(type_code(meta.file_type));
        put(self.column(Column::Modes), u64::from(meta.mode));
        put(self.column(Column::Owners), u64::from(meta.uid));
        put(self.column(Column::Owners), u64::from(meta.gid));
        let secs = meta.mtime.secs.cast_unsigned();
        put_difference(self.column(Column::Times), secs, state.secs);
        state.secs = secs;
        put(self.column(Column::Times), u64::from(meta.mtime.nanos));
        let list = state.xattr_list(&meta.xattrs);
        put(self.column(Column::Xattrs), list);
        match meta.file_type {
            FileType::Regular => {
                put(self.column(Column::Sizes), inode.size);
                self.put_extents(inode, &mut state.place);
            }
            FileType::CharDevice | FileType::BlockDevice => {
                put(self.column(Column::Devices), u64::from(meta.device.major));
                put(self.column(Column::Devices), u64::from(meta.device.minor));
            }
            FileType::Symlink => put_bytes(self.column(Column::Links), &inode.link_target),
            FileType::Directory | FileType::Fifo => {}
        }
    }

    fn put_extents(&mut self, inode: &Inode, place: &mut u64) {
        let column = self.column(Column::Extents);
        let mut put_place = |column: &mut Vec<u8>, extent: &Extent| {
            put_difference(column, extent.layer_offset, *place);
            *place = foreseen_place(extent.layer_offset.wrapping_add(extent.len));
        };
        match inode.extents.as_slice() {
            [] => put(column, 0),
            [whole] if whole.file_offset == 0 && whole.len == inode.size => {
                put(column, 1);
                put_place(column, whole);
            }
            extents => {
                put(column, extents.len() as u64 + 1);
                let mut end = 0;
                for extent in extents {
                    put(column, extent.file_offset - end);
                    put(column, extent.len);
                    put_place(column, extent);
                    end = extent.file_offset + extent.len;
                }
            }
        }
    }

    fn put_xattr_lists(&mut self, state: &InodeState<'_>) {
        let column = self.column(Column::XattrLists);
        put(column, state.lists.len() as u64);
        for list in &state.lists {
            put(column, list.len() as u64);
            for xattr in *list {
                put_bytes(column, &xattr.name);
                put_bytes(column, &xattr.value);
            }
        }
    }

    fn put_names(&mut self, names: &[Name]) {
        let mut next = 0_i64;
        for name in names {
            match &name.target {
                Target::Inode(inode) => {
                    let inode = i64::from(*inode);
                    put(self.column(Column::Targets), zigzag(inode - next) + 1);
                    next = inode + 1;
                }
                Target::Lower(path) => {
                    put(self.column(Column::Targets), 0);
                    put_bytes(self.column(Column::Lowers), path.as_bytes());
                }
            }
        }
    }

    fn put_paths(&mut self, paths: &mut dyn Iterator<Item = &LayerPath>) {
        let column = self.column(Column::Paths);
        let mut before: &[u8] = b"";
        for path in paths {
            let path = path.as_bytes();
            let common = before.iter().zip(path).take_while(|(a, b)| a == b).count();
            put(column, common as u64);
            put_bytes(column, &path[common..]);
            before = path;
        }
    }
}

/// What the columns of an inode depend on besides it.
struct InodeState<'a> {
    secs: u64,
    place: u64,
    numbers: HashMap<&'a [Xattr], u64>,
    lists: Vec<&'a [Xattr]>,
}

impl Default for InodeState<'_> {
    fn default() -> Self {
        Self { secs: 0, place: foreseen_place(0), numbers: HashMap::new(), lists: Vec::new() }
    }
}

impl<'a> InodeState<'a> {
    /// The number of the list `xattrs`.
    fn xattr_list(&mut self, xattrs: &'a [Xattr]) -> u64 {
        if xattrs.is_empty() {
            return 0;
        }
        let lists = &mut self.lists;
        *self.numbers.entry(xattrs).or_insert_with(|| {
            lists.push(xattrs);
            lists.len() as u64
        })
    }
}

fn type_code(file_type: FileType) -> u8 {
    match file_type {
        FileType::Regular => 0,
        FileType::Directory => 1,
        FileType::Symlink => 2,
        FileType::CharDevice => 3,
        FileType::BlockDevice => 4,
        FileType::Fifo => 5,
    }
}
