//! Writes layers as PAX archives (POSIX.1-2017 `pax`, "pax Interchange Format").
//!
//! What a ustar header cannot hold goes into PAX records: long paths and link targets, numbers
//! beyond octal fields, parts of a second, times before 1970, extended attributes under the
//! `SCHILY.xattr.` keys that GNU tar, Go and libarchive read. Paths are bytes and are never
//! converted. The same calls give the same bytes.

use std::io::{self, Write};
use std::ops::Range;

use tar_core::builder::EntryBuilder;
use tar_core::{EntryType, SparseEntry};

use crate::error::{Classify, Kind};

use super::{FileType, LayerPath, Metadata, Timestamp};

/// The size of a tar block in bytes.
const BLOCK: usize = 512;
/// What a size field of a header holds at most, in bytes.
const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;
/// The most bytes of PAX records that readers accept (Go's `maxSpecialFileSize`).
const MAX_RECORDS: usize = 1 << 20;

/// Why a member could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TarWriteError {
    /// The sink refused bytes.
    #[error("archive: {0}")]
    Io(#[from] io::Error),
    /// No archive can hold the name of an attribute.
    #[error("{path}: the name of extended attribute {name:?} cannot be written to an archive")]
    XattrName {
        /// The file.
        path: String,
        /// The attribute, lossily as text.
        name: String,
    },
    /// The attributes together are larger than readers accept.
    #[error("{path}: {size} bytes of extended attributes, archives hold up to {MAX_RECORDS}")]
    XattrsTooLarge {
        /// The file.
        path: String,
        /// How many bytes.
        size: usize,
    },
    /// A device number does not fit.
    #[error("{path}: device number {major}:{minor} cannot be written to an archive")]
    Device {
        /// The device node.
        path: String,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// More or less data was given than announced.
    #[error("archive: a member got {got} bytes of data, {announced} were announced")]
    DataLength {
        /// How many bytes the header says.
        announced: u64,
        /// How many there were.
        got: u64,
    },
}

impl Classify for TarWriteError {
    fn kind(&self) -> Kind {
        match self {
            TarWriteError::Io(e) => Kind::of_io(e),
            TarWriteError::XattrName { .. }
            | TarWriteError::XattrsTooLarge { .. }
            | TarWriteError::Device { .. } => Kind::InvalidArgument,
            TarWriteError::DataLength { .. } => Kind::Internal,
        }
    }
}

/// Writes the members of an archive, one after the other.
///
/// The data of a file follow its header through [`TarWriter::data`], as many bytes as announced.
#[derive(Debug)]
pub struct TarWriter<W> {
    inner: W,
    announced: u64,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    /// An archive at its start.
    pub fn new(inner: W) -> Self {
        Self { inner, announced: 0, written: 0 }
    }

    /// The header of a regular file with `size` bytes of data.
    ///
    /// # Errors
    ///
    /// See [`TarWriteError`].
    pub fn file(
        &mut self,
        path: &LayerPath,
        metadata: &Metadata,
        size: u64,
    ) -> Result<(), TarWriteError> {
        let mut header = header(path, EntryType::Regular, metadata)?;
        header.size(size).map_err(header_error)?;
        self.start(&mut header, size)
    }

    /// The header of a regular file of `size` bytes that has data only in the ranges `extents`,
    /// which are sorted, not overlapping, and inside of the file. Their data follow, joined.
    ///
    /// Returns whether it was written: a file with more data than a header can say is not.
    ///
    /// # Errors
    ///
    /// See [`TarWriteError`].
    pub fn sparse_file(
        &mut self,
        path: &LayerPath,
        metadata: &Metadata,
        size: u64,
        extents: &[Range<u64>],
    ) -> Result<bool, TarWriteError> {
        let stored: u64 = extents.iter().map(|e| e.end - e.start).sum();
        let mut map: Vec<SparseEntry> = extents
            .iter()
            .map(|e| SparseEntry { offset: e.start, length: e.end - e.start })
            .collect();
        // GNU tar ends a map with an empty extent where the file ends in a hole.
        if extents.last().is_none_or(|e| e.end < size) {
            map.push(SparseEntry { offset: size, length: 0 });
        }
        // A line of the map has at most 21 bytes; the whole is padded to a block.
        let largest_map = 42 * (map.len() as u64 + 1) + BLOCK as u64;
        if stored.saturating_add(largest_map) > MAX_OCTAL_SIZE {
            return Ok(false);
        }
        let mut header = header(path, EntryType::Regular, metadata)?;
        header.size(stored).map_err(header_error)?;
        header.sparse(&map, size);
        self.start(&mut header, stored)?;
        Ok(true)
    }

    /// A directory, device node or named pipe, as the metadata say.
    ///
    /// # Errors
    ///
    /// See [`TarWriteError`].
    pub fn node(&mut self, path: &LayerPath, metadata: &Metadata) -> Result<(), TarWriteError> {
        let entry_type = match metadata.file_type {
            FileType::Regular => EntryType::Regular,
            FileType::Directory => EntryType::Directory,
            FileType::Symlink => EntryType::Symlink,
            FileType::CharDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            FileType::Fifo => EntryType::Fifo,
        };
        let mut header = header(path, entry_type, metadata)?;
        if matches!(metadata.file_type, FileType::CharDevice | FileType::BlockDevice) {
            let device = metadata.device;
            header.device(device.major, device.minor).map_err(|_| TarWriteError::Device {
                path: path.to_string(),
                major: device.major,
                minor: device.minor,
            })?;
        }
        self.start(&mut header, 0)
    }

    /// A symbolic link to `target`.
    ///
    /// # Errors
    ///
    /// See [`TarWriteError`].
    pub fn symlink(
        &mut self,
        path: &LayerPath,
        metadata: &Metadata,
        target: &[u8],
    ) -> Result<(), TarWriteError> {
        let mut header = header(path, EntryType::Symlink, metadata)?;
        header.link_name(target);
        self.start(&mut header, 0)
    }

    /// One more name of the file that was written as `target`. Its metadata are repeated for
    /// readers that look at them, without the attributes.
    ///
    /// # Errors
    ///
    /// See [`TarWriteError`].
    pub fn hard_link(
        &mut self,
        path: &LayerPath,
        metadata: &Metadata,
        target: &LayerPath,
    ) -> Result<(), TarWriteError> {
        let plain = Metadata { xattrs: Vec::new(), ..metadata.clone() };
        let mut header = header(path, EntryType::Link, &plain)?;
        header.link_name(target.as_bytes());
        self.start(&mut header, 0)
    }

    /// Data of the file whose header was the last.
    ///
    /// # Errors
    ///
    /// [`TarWriteError::DataLength`] beyond what was announced; [`TarWriteError::Io`].
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), TarWriteError> {
        let got = self.written + bytes.len() as u64;
        if got > self.announced {
            return Err(TarWriteError::DataLength { announced: self.announced, got });
        }
        self.inner.write_all(bytes)?;
        self.written = got;
        Ok(())
    }

    /// Ends the archive and returns the sink.
    ///
    /// # Errors
    ///
    /// [`TarWriteError::DataLength`] where data are missing; [`TarWriteError::Io`].
    pub fn finish(mut self) -> Result<W, TarWriteError> {
        self.end_member()?;
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    fn start(&mut self, header: &mut EntryBuilder, size: u64) -> Result<(), TarWriteError> {
        self.end_member()?;
        self.inner.write_all(&header.finish_bytes())?;
        (self.announced, self.written) = (size, 0);
        Ok(())
    }

    fn end_member(&mut self) -> Result<(), TarWriteError> {
        let (announced, got) = (self.announced, self.written);
        if got != announced {
            return Err(TarWriteError::DataLength { announced, got });
        }
        let over = usize::try_from(got % BLOCK as u64).unwrap_or(0);
        self.inner.write_all(&[0; BLOCK][..(BLOCK - over) % BLOCK])?;
        (self.announced, self.written) = (0, 0);
        Ok(())
    }
}

/// A header with all but sizes, targets and device numbers.
fn header(
    path: &LayerPath,
    entry_type: EntryType,
    metadata: &Metadata,
) -> Result<EntryBuilder, TarWriteError> {
    let mut header = EntryBuilder::new_ustar();
    let mut name = path.as_bytes().to_vec();
    if path.is_root() {
        name.push(b'.');
    }
    if entry_type == EntryType::Directory {
        name.push(b'/');
    }
    header.path(name);
    header.entry_type(entry_type);
    header.mode(metadata.mode.into()).map_err(header_error)?;
    header.uid(metadata.uid.into()).map_err(header_error)?;
    header.gid(metadata.gid.into()).map_err(header_error)?;
    // Some readers take an empty number field for a broken one.
    header.size(0).map_err(header_error)?;
    header.device(0, 0).map_err(header_error)?;
    set_mtime(&mut header, metadata.mtime)?;
    set_xattrs(&mut header, path, metadata)?;
    Ok(header)
}

/// Whole seconds since 1970 go into the header, everything else into a record.
fn set_mtime(header: &mut EntryBuilder, time: Timestamp) -> Result<(), TarWriteError> {
    let whole = u64::try_from(time.secs).unwrap_or(0);
    header.mtime(if whole > MAX_OCTAL_SIZE { 0 } else { whole }).map_err(header_error)?;
    if time.nanos > 0 || time.secs < 0 || whole > MAX_OCTAL_SIZE {
        header.add_pax("mtime", decimal(time));
    }
    Ok(())
}

/// A time as PAX writes it: decimal, with a fraction towards the future of 1970 or away from it.
fn decimal(time: Timestamp) -> String {
    let total = i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    let sign = if total < 0 { "-" } else { "" };
    let (secs, nanos) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    let text = format!("{sign}{secs}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn set_xattrs(
    header: &mut EntryBuilder,
    path: &LayerPath,
    metadata: &Metadata,
) -> Result<(), TarWriteError> {
    let size = metadata.xattrs.iter().map(|x| x.name.len() + x.value.len() + 32).sum();
    if size > MAX_RECORDS - 4 * super::MAX_PATH {
        return Err(TarWriteError::XattrsTooLarge { path: path.to_string(), size });
    }
    for xattr in &metadata.xattrs {
        // The first `=` of a record ends its key.
        match std::str::from_utf8(&xattr.name) {
            Ok(name) if !name.contains('=') => {
                header.add_pax(&format!("SCHILY.xattr.{name}"), &xattr.value);
            }
            Ok(_) | Err(_) => {
                return Err(TarWriteError::XattrName {
                    path: path.to_string(),
                    name: String::from_utf8_lossy(&xattr.name).into_owned(),
                });
            }
        }
    }
    Ok(())
}

/// What the builder refuses is checked before; what is left is a field of fixed size.
fn header_error(e: tar_core::HeaderError) -> TarWriteError {
    TarWriteError::Io(io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::archive::{Device, Xattr};

    fn path(p: &str) -> LayerPath {
        LayerPath::parse(p.as_bytes()).unwrap()
    }

    fn metadata(file_type: FileType) -> Metadata {
        Metadata { file_type, mode: 0o640, ..Metadata::implied_directory() }
    }

    fn list(archive: &[u8]) -> String {
        let mut tar = Command::new("tar")
            .args(["--numeric-owner", "--full-time", "--utc", "--xattrs", "-tvvf", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(archive).unwrap();
        let out = tar.wait_with_output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn gnu_tar_reads_what_is_written() {
        let mut tar = TarWriter::new(Vec::new());
        let long = path(&"d/".repeat(120));
        let mut meta = metadata(FileType::Directory);
        tar.node(&LayerPath::root(), &meta).unwrap();
        tar.node(&long, &meta).unwrap();
        meta = metadata(FileType::Regular);
        meta.mtime = Timestamp { secs: -2, nanos: 0 };
        (meta.uid, meta.gid) = (u32::MAX - 1, 3_000_000);
        meta.xattrs = vec![Xattr { name: b"user.x".to_vec(), value: b"a\n=\0b".to_vec() }];
        tar.file(&path("f"), &meta, 3).unwrap();
        tar.data(b"ab").unwrap();
        tar.data(b"c").unwrap();
        tar.hard_link(&path("h"), &meta, &long).unwrap();
        meta = metadata(FileType::Symlink);
        tar.symlink(&path("s"), &meta, &b"t".repeat(150)).unwrap();
        meta.file_type = FileType::BlockDevice;
        meta.device = Device { major: 8, minor: 1_048_575 };
        tar.node(&path("b"), &meta).unwrap();
        meta = metadata(FileType::Regular);
        meta.mtime = Timestamp { secs: 1, nanos: 10 };
        assert!(tar.sparse_file(&path("z"), &meta, 1 << 40, &[0..0, 4096..4100]).unwrap());
        tar.data(b"data").unwrap();
        let archive = tar.finish().unwrap();

        let d = "d/".repeat(120);
        let t = "t".repeat(150);
        let link = d.trim_end_matches('/');
        let text = list(&archive);
        let expected = [
            "drw-r----- 0/0 0 1970-01-01 00:00:00 ./".to_owned(),
            format!("drw-r----- 0/0 0 1970-01-01 00:00:00 {d}"),
            "-rw-r-----* 4294967294/3000000 3 1969-12-31 23:59:58 f".to_owned(),
            format!("hrw-r----- 4294967294/3000000 0 1969-12-31 23:59:58 h link to {link}"),
            format!("lrw-r----- 0/0 0 1970-01-01 00:00:00 s -> {t}"),
            "brw-r----- 0/0 8,1048575 1970-01-01 00:00:00 b".to_owned(),
            "-rw-r----- 0/0 1099511627776 1970-01-01 00:00:01.00000001 z".to_owned(),
        ];
        let words = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected: Vec<_> = expected.iter().map(|l| words(l)).collect();
        assert_eq!(text.lines().map(words).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn times_are_exact_decimals() {
        for (secs, nanos, text) in [
            (0, 1, "0.000000001"),
            (-1, 0, "-1"),
            (-1, 999_999_999, "-0.000000001"),
            (-6, 500_000_000, "-5.5"),
            (100, 120_000_000, "100.12"),
            (i64::MAX, 0, "9223372036854775807"),
        ] {
            assert_eq!(decimal(Timestamp { secs, nanos }), text);
        }
    }

    #[test]
    fn data_must_be_as_long_as_announced() {
        let mut tar = TarWriter::new(Vec::new());
        tar.file(&path("f"), &metadata(FileType::Regular), 2).unwrap();
        assert!(matches!(tar.data(b"abc"), Err(TarWriteError::DataLength { got: 3, .. })));
        tar.data(b"a").unwrap();
        assert!(tar.node(&path("g"), &metadata(FileType::Fifo)).is_err());
        assert!(tar.finish().is_err());
    }

    #[test]
    fn attributes_that_no_archive_can_hold_are_refused() {
        let mut tar = TarWriter::new(Vec::new());
        let mut meta = metadata(FileType::Regular);
        for name in [&b"user.a=b"[..], b"user.\xff"] {
            meta.xattrs = vec![Xattr { name: name.to_vec(), value: Vec::new() }];
            let refused = tar.file(&path("f"), &meta, 0);
            assert!(matches!(refused, Err(TarWriteError::XattrName { .. })));
        }
        meta.xattrs = (0..20)
            .map(|i| Xattr { name: format!("user.{i}").into(), value: vec![0; 60_000] })
            .collect();
        let refused = tar.file(&path("f"), &meta, 0);
        assert!(matches!(refused, Err(TarWriteError::XattrsTooLarge { .. })));
    }
}
