use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::archive::{Entry, EntryKind, Event, LayerPath, TarError, TarParser};
use crate::compress::Decoder;

use super::Error;

/// The most members of an archive.
pub const MAX_ARCHIVE_MEMBERS: usize = 1 << 17;
/// The largest archive that is unpacked, in uncompressed bytes.
pub const MAX_ARCHIVE: u64 = 1 << 40;
/// How much is decoded at once, in bytes.
const CHUNK: usize = 256 << 10;

/// Which members of an archive are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All of them.
    All,
    /// All but the pages of memory, which only a restore needs.
    Described,
}

impl Keep {
    fn wants(self, path: &LayerPath) -> bool {
        let name = path.file_name().unwrap_or_default();
        self == Keep::All || !(name.starts_with(b"pages-") && name.ends_with(b".img"))
    }
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveMember {
    /// Its path in the archive.
    pub path: LayerPath,
    /// Its size in bytes.
    pub size: u64,
}

/// Unpacks the tar `stream`, called `name` in errors and compressed in whatever way its first bytes
/// tell, into the empty folder `into`. There may be nothing in it but files and folders, each file
/// once; they are made for this process alone, whatever owner and mode the archive says.
///
/// # Errors
///
/// [`Error::Member`] for links, devices, and paths that climb out; [`Error::TooMuch`] beyond
/// [`MAX_ARCHIVE_MEMBERS`] and [`MAX_ARCHIVE`]; [`Error::Archive`], [`Error::Stream`],
/// [`Error::Io`]. A part may have been unpacked then.
pub fn unpack_archive(
    stream: impl Read,
    name: &str,
    into: &Path,
    keep: Keep,
) -> Result<Vec<ArchiveMember>, Error> {
    let mut unpacker = Unpacker::new(name, into, keep);
    read_tar(stream, name, MAX_ARCHIVE, &mut |event| unpacker.handle(event))?;
    unpacker.close()?;
    Ok(unpacker.members)
}

/// Decodes the tar `stream` to its very end and gives its events to `f`.
pub(super) fn read_tar(
    stream: impl Read,
    name: &str,
    max_size: u64,
    f: &mut dyn FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let broken = |source| Error::Stream { name: name.to_owned(), source };
    let mut decoder = Decoder::new(stream).map_err(broken)?;
    let mut parser = TarParser::new();
    let mut buf = vec![0; CHUNK];
    let mut size = 0_u64;
    // The parser's own errors have no name of the archive.
    let mut events = |event: Event<'_>| f(event).map_err(Failed::Handler);
    let named = |failed| match failed {
        Failed::Handler(e) => e,
        Failed::Tar(source) => Error::Archive { name: name.to_owned(), source },
    };
    loop {
        let n = match decoder.read(&mut buf) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(e)),
        };
        size += n as u64;
        if size > max_size {
            return Err(Error::TooMuch { what: name.to_owned(), limit: max_size, unit: "bytes" });
        }
        parser.push(&buf[..n], &mut events).map_err(named)?;
    }
    parser.finish(&mut events).map_err(named)
}

/// What stops the parser.
enum Failed {
    Handler(Error),
    Tar(TarError),
}

impl From<TarError> for Failed {
    fn from(e: TarError) -> Self {
        Failed::Tar(e)
    }
}

/// An archive on its way to a folder.
struct Unpacker<'a> {
    name: &'a str,
    into: &'a Path,
    keep: Keep,
    members: Vec<ArchiveMember>,
    seen: HashSet<LayerPath>,
    /// The file whose data are coming.
    file: Option<OpenFile>,
}

struct OpenFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// How far it is written.
    at: u64,
}

impl<'a> Unpacker<'a> {
    fn new(name: &'a str, into: &'a Path, keep: Keep) -> Self {
        Self { name, into, keep, members: Vec::new(), seen: HashSet::new(), file: None }
    }

    fn handle(&mut self, event: Event<'_>) -> Result<(), Error> {
        match event {
            Event::Entry(entry) => {
                self.close()?;
                self.entry(&entry)
            }
            Event::Data { file_offset, bytes } => self.data(file_offset, bytes),
            Event::End => self.close(),
        }
    }

    fn bad(&self, entry: &Entry, problem: impl Into<String>) -> Error {
        Error::Member {
            archive: self.name.to_owned(),
            member: String::from_utf8_lossy(&entry.path).into_owned(),
            problem: problem.into(),
        }
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let path = LayerPath::parse(&entry.path)
            .map_err(|_| self.bad(entry, "does not stay inside of the archive"))?;
        match entry.kind {
            EntryKind::Regular => {}
            EntryKind::Directory => return Ok(()),
            EntryKind::Symlink(_) => return Err(self.bad(entry, "is a symbolic link")),
            EntryKind::HardLink(_) => return Err(self.bad(entry, "is a hard link")),
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                return Err(self.bad(entry, "is a device"));
            }
            EntryKind::Fifo => return Err(self.bad(entry, "is a named pipe")),
        }
        if path.is_root() {
            return Err(self.bad(entry, "has no name"));
        }
        if self.members.len() == MAX_ARCHIVE_MEMBERS {
            let (what, limit) = (self.name.to_owned(), MAX_ARCHIVE_MEMBERS as u64);
            return Err(Error::TooMuch { what, limit, unit: "members" });
        }
        if !self.seen.insert(path.clone()) {
            return Err(self.bad(entry, "is there twice"));
        }
        if self.keep.wants(&path) {
            self.file = Some(self.create(entry, &path)?);
        }
        self.members.push(ArchiveMember { path, size: entry.size });
        Ok(())
    }

    fn create(&self, entry: &Entry, path: &LayerPath) -> Result<OpenFile, Error> {
        // Nothing but files and folders of our own is below `into`, so no link is in the way.
        let path = self.into.join(OsStr::from_bytes(path.as_bytes()));
        let folder = path.parent().unwrap_or(self.into);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let made = made.and_then(|()| {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)
        });
        match made {
            Ok(file) => Ok(OpenFile { path, file, size: entry.size, at: 0 }),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
                ) =>
            {
                Err(self.bad(entry, "is a file and a folder at once"))
            }
            Err(e) => Err(Error::io(path)(e)),
        }
    }

    fn data(&mut self, file_offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let Some(open) = &mut self.file else { return Ok(()) };
        let failed = |e| Error::Io { path: open.path.clone(), source: e };
        if file_offset != open.at {
            use std::io::Seek as _;
            open.file.seek(io::SeekFrom::Start(file_offset)).map_err(failed)?;
        }
        open.file.write_all(bytes).map_err(failed)?;
        open.at = file_offset + bytes.len() as u64;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(open) = self.file.take() else { return Ok(()) };
        // A file may end in a hole.
        open.file.set_len(open.size).map_err(Error::io(&open.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::EntryType;

    fn archive(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in members {
            let mut header = tar::Header::new_gnu();
            // Written as it is: the crate refuses paths that climb.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            let is_file = kind.is_file();
            header.set_size(if is_file { content.len() as u64 } else { 0 });
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name(content).unwrap();
            }
            header.set_mode(0o644);
            header.set_cksum();
            let data = if is_file { content.as_bytes() } else { b"" };
            builder.append(&header, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpack(bytes: &[u8]) -> (tempfile::TempDir, Result<Vec<ArchiveMember>, Error>) {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = unpack_archive(bytes, "test.tar", dir.path(), Keep::All);
        (dir, unpacked)
    }

    #[test]
    fn files_are_unpacked_whatever_the_compression() {
        let tar = archive(&[
            ("./", EntryType::Directory, ""),
            ("./config.dump", EntryType::Regular, "{}"),
            ("checkpoint/pages-1.img", EntryType::Regular, "pages"),
        ]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let zstd = zstd::encode_all(&*tar, 1).unwrap();
        for bytes in [tar.clone(), gzip.finish().unwrap(), zstd] {
            let (dir, members) = unpack(&bytes);
            assert_eq!(members.unwrap().len(), 2);
            assert_eq!(fs::read(dir.path().join("config.dump")).unwrap(), b"{}");
            assert_eq!(fs::read(dir.path().join("checkpoint/pages-1.img")).unwrap(), b"pages");
        }
        let dir = tempfile::tempdir().unwrap();
        let members = unpack_archive(&*tar, "t", dir.path(), Keep::Described).unwrap();
        assert_eq!(members[1].size, 5);
        assert!(!dir.path().join("checkpoint").exists());
    }

    #[test]
    fn anything_but_files_and_folders_is_refused_by_name() {
        for (path, kind, target, problem) in [
            ("a", EntryType::Symlink, "/etc/passwd", "is a symbolic link"),
            ("a", EntryType::Link, "config.dump", "is a hard link"),
            ("dev", EntryType::Char, "", "is a device"),
            ("dev", EntryType::Block, "", "is a device"),
            ("pipe", EntryType::Fifo, "", "is a named pipe"),
            ("../x", EntryType::Regular, "x", "does not stay inside"),
            ("a/../../x", EntryType::Regular, "x", "does not stay inside"),
            ("./", EntryType::Regular, "x", "has no name"),
            ("config.dump", EntryType::Regular, "x", "is there twice"),
            ("config.dump/x", EntryType::Regular, "x", "a file and a folder"),
        ] {
            let tar = archive(&[("config.dump", EntryType::Regular, "{}"), (path, kind, target)]);
            let (dir, unpacked) = unpack(&tar);
            let error = unpacked.unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("test.tar"), "{path}: {error}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn damaged_archives_are_errors_that_name_them() {
        let tar = archive(&[("config.dump", EntryType::Regular, &"x".repeat(5000))]);
        let short = unpack(&tar[..3000]).1.unwrap_err();
        assert!(matches!(short, Error::Archive { .. }), "{short:?}");
        let zstd = zstd::encode_all(&*tar, 1).unwrap();
        let short = unpack(&zstd[..zstd.len() / 2]).1.unwrap_err();
        assert!(matches!(short, Error::Stream { .. }), "{short:?}");
    }
}
