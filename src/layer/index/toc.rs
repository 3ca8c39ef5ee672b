//! Decodes the section "toc".

use crate::archive::{
    Device, FileType, LayerPath, MAX_PATH, Metadata, PathError, Timestamp, Xattr, check_xattr,
};
use crate::layer::{
    Extent, Inode, MAX_EXTENTS, MAX_NAMES, MAX_PATH_BYTES, MAX_XATTR_BYTES, Name, Target, Toc,
    xattr_cost,
};

use super::FormatError;
use super::layout::{COLUMNS, Column, MAX_COLUMNS, MAX_RATIO, foreseen_place};
use super::wire::Input;

/// The TOC in the section `bytes`.
///
/// What is counted is bounded twice: by the bytes that count it, and by the bounds of a layer.
pub(super) fn decode_toc(bytes: &[u8]) -> Result<Toc, FormatError> {
    let (len, frame) = bytes.split_first_chunk().ok_or(FormatError::Truncated)?;
    let len = u64::from_le_bytes(*len);
    if len > MAX_COLUMNS || len > (frame.len() as u64) * MAX_RATIO + (1 << 20) {
        return Err(FormatError::TooLarge(len));
    }
    let len = usize::try_from(len).map_err(|_| FormatError::TooLarge(len))?;
    let raw = zstd::bulk::decompress(frame, len).map_err(|_| FormatError::Zstd)?;
    if raw.len() != len {
        return Err(FormatError::Zstd);
    }
    let mut input = Input(&raw);
    let mut count = || {
        let count = input.narrow::<usize>("count")?;
        if count > MAX_NAMES.min(len) { Err(FormatError::Range("count")) } else { Ok(count) }
    };
    let counts = [count()?, count()?, count()?, count()?];
    let mut lengths = [0; COLUMNS];
    for len in &mut lengths {
        *len = input.narrow::<usize>("length of a column")?;
    }
    let mut columns = [Input::default(); COLUMNS];
    for (column, len) in columns.iter_mut().zip(lengths) {
        *column = Input(input.take(len)?);
    }
    input.end()?;
    Reader { columns, path_bytes: 0, xattr_bytes: 0, extents: 0 }.read(counts)
}

/// Reads columns and keeps count of what they unfold to.
struct Reader<'a> {
    columns: [Input<'a>; COLUMNS],
    path_bytes: usize,
    xattr_bytes: usize,
    extents: usize,
}

impl<'a> Reader<'a> {
    fn read(mut self, counts: [usize; 4]) -> Result<Toc, FormatError> {
        let [inodes, names, whiteouts, opaques] = counts;
        let toc = Toc {
            inodes: self.inodes(inodes)?,
            names: self.names(names, inodes)?,
            whiteouts: self.paths(whiteouts)?,
            opaques: self.paths(opaques)?,
        };
        self.columns.iter().try_for_each(Input::end)?;
        Ok(toc)
    }

    fn column(&mut self, column: Column) -> &mut Input<'a> {
        &mut self.columns[column as usize]
    }

    fn inodes(&mut self, count: usize) -> Result<Vec<Inode>, FormatError> {
        let lists = self.xattr_lists()?;
        let mut inodes = Vec::with_capacity(count);
        let (mut secs, mut place) = (0, foreseen_place(0));
        for _ in 0..count {
            inodes.push(self.inode(&lists, &mut secs, &mut place)?);
        }
        Ok(inodes)
    }

    fn inode(
        &mut self,
        lists: &[Vec<Xattr>],
        secs: &mut u64,
        place: &mut u64,
    ) -> Result<Inode, FormatError> {
        let metadata = self.metadata(lists, secs)?;
        let mut inode = Inode { metadata, size: 0, extents: Vec::new(), link_target: Vec::new() };
        match inode.metadata.file_type {
            FileType::Regular => {
                inode.size = self.column(Column::Sizes).number()?;
                inode.extents = self.extents(inode.size, place)?;
            }
            FileType::CharDevice | FileType::BlockDevice => {
                let column = self.column(Column::Devices);
                let (major, minor) = (column.narrow("device")?, column.narrow("device")?);
                inode.metadata.device = Device { major, minor };
            }
            FileType::Symlink => {
                inode.link_target = self.column(Column::Links).bytes()?.to_vec();
                if inode.link_target.is_empty() || inode.link_target.len() >= MAX_PATH {
                    return Err(FormatError::Invalid("link target"));
                }
            }
            FileType::Directory | FileType::Fifo => {}
        }
        Ok(inode)
    }

    fn metadata(&mut self, lists: &[Vec<Xattr>], secs: &mut u64) -> Result<Metadata, FormatError> {
        let file_type = file_type(self.column(Column::Types).byte()?)?;
        let mode: u16 = self.column(Column::Modes).narrow("mode")?;
        *secs = self.column(Column::Times).difference(*secs)?;
        let nanos: u32 = self.column(Column::Times).narrow("nanoseconds")?;
        if mode > 0o7777 || nanos > 999_999_999 {
            return Err(FormatError::Invalid("mode or time"));
        }
        let xattrs = match self.column(Column::Xattrs).narrow::<usize>("xattrs")? {
            0 => Vec::new(),
            n => lists.get(n - 1).ok_or(FormatError::Range("xattrs"))?.clone(),
        };
        self.charge_xattrs(&xattrs)?;
        Ok(Metadata {
            file_type,
            mode,
            uid: self.column(Column::Owners).narrow("uid")?,
            gid: self.column(Column::Owners).narrow("gid")?,
            mtime: Timestamp { secs: secs.cast_signed(), nanos },
            device: Device::default(),
            xattrs,
        })
    }

    fn extents(&mut self, size: u64, place: &mut u64) -> Result<Vec<Extent>, FormatError> {
        let column = self.column(Column::Extents);
        let mut next = |column: &mut Input<'_>, file_offset, len: u64| {
            let layer_offset = column.difference(*place)?;
            let end = layer_offset.checked_add(len).ok_or(FormatError::Range("extent"))?;
            *place = foreseen_place(end);
            Ok::<_, FormatError>(Extent { file_offset, len, layer_offset })
        };
        let count = match column.narrow::<usize>("extents")? {
            0 => return Ok(Vec::new()),
            1 if size == 0 => return Err(FormatError::Invalid("extent")),
            1 => return Ok(vec![next(column, 0, size)?]),
            n => n - 1,
        };
        // An extent takes three bytes at least.
        if count > column.0.len() / 3 {
            return Err(FormatError::Truncated);
        }
        let (mut extents, mut end) = (Vec::with_capacity(count), 0_u64);
        for _ in 0..count {
            let (gap, len) = (column.number()?, column.number()?);
            let file_offset = end.checked_add(gap).ok_or(FormatError::Range("extent"))?;
            end = file_offset.checked_add(len).ok_or(FormatError::Range("extent"))?;
            if len == 0 || end > size {
                return Err(FormatError::Invalid("extent"));
            }
            extents.push(next(column, file_offset, len)?);
        }
        self.extents += count;
        if self.extents > MAX_EXTENTS { Err(FormatError::Range("extents")) } else { Ok(extents) }
    }

    fn xattr_lists(&mut self) -> Result<Vec<Vec<Xattr>>, FormatError> {
        let count: usize = self.column(Column::XattrLists).narrow("xattrs")?;
        let mut lists = Vec::new();
        for _ in 0..count {
            let list = xattr_list(self.column(Column::XattrLists))?;
            self.charge_xattrs(&list)?;
            lists.push(list);
        }
        Ok(lists)
    }

    fn charge_xattrs(&mut self, xattrs: &[Xattr]) -> Result<(), FormatError> {
        self.xattr_bytes += xattrs.iter().map(xattr_cost).sum::<usize>();
        if self.xattr_bytes > 2 * MAX_XATTR_BYTES {
            return Err(FormatError::Range("bytes of xattrs"));
        }
        Ok(())
    }

    fn names(&mut self, count: usize, inodes: usize) -> Result<Vec<Name>, FormatError> {
        let paths = self.paths(count)?;
        let mut next = 0;
        let mut names = Vec::with_capacity(count);
        for path in paths {
            let target = match self.column(Column::Targets).number()? {
                0 => {
                    let lower = self.column(Column::Lowers).bytes()?;
                    Target::Lower(self.path(lower)?)
                }
                coded => {
                    let inode = unzigzag_from(next, coded - 1).filter(|&i| i < inodes as u64);
                    let inode = inode.ok_or(FormatError::Range("inode"))?;
                    next = inode + 1;
                    Target::Inode(u32::try_from(inode).map_err(|_| FormatError::Range("inode"))?)
                }
            };
            names.push(Name { path, target });
        }
        Ok(names)
    }

    /// The next `count` paths, which must be sorted.
    fn paths(&mut self, count: usize) -> Result<Vec<LayerPath>, FormatError> {
        let mut paths: Vec<LayerPath> = Vec::new();
        let mut bytes = Vec::new();
        for _ in 0..count {
            let column = self.column(Column::Paths);
            let common: usize = column.narrow("path")?;
            if common > bytes.len() {
                return Err(FormatError::Invalid("path"));
            }
            bytes.truncate(common);
            bytes.extend_from_slice(column.bytes()?);
            let path = self.path(&bytes)?;
            if paths.last().is_some_and(|last| *last >= path) {
                return Err(FormatError::Invalid("order of paths"));
            }
            paths.push(path);
        }
        Ok(paths)
    }

    /// The path that `bytes` are, which must be a clean one.
    fn path(&mut self, bytes: &[u8]) -> Result<LayerPath, FormatError> {
        if bytes.len() > MAX_PATH {
            return Err(PathError::TooLong(bytes.len()).into());
        }
        self.path_bytes += bytes.len();
        if self.path_bytes > MAX_PATH_BYTES {
            return Err(FormatError::Range("bytes of paths"));
        }
        let path = LayerPath::parse(bytes)?;
        if path.as_bytes() == bytes { Ok(path) } else { Err(FormatError::Invalid("path")) }
    }
}

fn xattr_list(column: &mut Input<'_>) -> Result<Vec<Xattr>, FormatError> {
    let mut list: Vec<Xattr> = Vec::new();
    for _ in 0..column.narrow::<u32>("xattrs")? {
        let xattr = Xattr { name: column.bytes()?.to_vec(), value: column.bytes()?.to_vec() };
        let sorted = list.last().is_none_or(|last| last.name < xattr.name);
        if !sorted || !check_xattr(&xattr) {
            return Err(FormatError::Invalid("xattr"));
        }
        list.push(xattr);
    }
    if list.is_empty() { Err(FormatError::Invalid("xattr")) } else { Ok(list) }
}

fn unzigzag_from(next: u64, coded: u64) -> Option<u64> {
    let difference = (coded >> 1) ^ (coded & 1).wrapping_neg();
    next.checked_add_signed(difference.cast_signed())
}

fn file_type(code: u8) -> Result<FileType, FormatError> {
    Ok(match code {
        0 => FileType::Regular,
        1 => FileType::Directory,
        2 => FileType::Symlink,
        3 => FileType::CharDevice,
        4 => FileType::BlockDevice,
        5 => FileType::Fifo,
        _ => return Err(FormatError::Invalid("file type")),
    })
}
