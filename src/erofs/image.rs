use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::io::AtomicFile;
use crate::sys::NewBdi;
use crate::sys::mount::{Attributes, Context, DetachedMount, MAX_STRING};
use crate::tree::Tree;

use super::error::Error;
use super::format::{BLOCK, is_sealed};
use super::origin::Origin;
use super::write::write;

/// The image of a tree in a file.
#[derive(Debug, Clone)]
pub struct Image {
    path: PathBuf,
    origin: Origin,
}

/// How the kernel reads the data of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPath {
    /// Through the page cache of the blob too.
    Cached,
    /// Past the page cache of the blob (`directio`), so that data is cached once; for a blob whose
    /// reads are requests to a process, and so as few and large as they can be.
    Direct,
}

impl DataPath {
    /// How far the kernel reads ahead, in bytes, in place of its own 128 KiB. Where each piece is a
    /// request to a process it is as large as one can be (`fs.fuse.max_pages_limit`). From a file
    /// it is what makes pages of some size and yet stays in the processor's cache between the copy
    /// from the file's pages and the one to the reader; without it a cold read of a large file
    /// takes half as long again.
    fn read_ahead(self) -> u32 {
        match self {
            DataPath::Cached => 512 << 10,
            DataPath::Direct => 1 << 20,
        }
    }
}

/// How far it reads ahead while a program starts whose content comes from far away, in bytes: the least
/// that spares most requests, as each span that is touched has to be fetched whole.
const FAR_READ_AHEAD: u32 = 32 << 10;

impl Image {
    /// The whole and undamaged image of `tree` in the file `path`, written where it is not there.
    ///
    /// # Errors
    ///
    /// As [`Image::create`].
    pub fn ready(tree: &Tree, path: &Path) -> Result<Self, Error> {
        let found = Self::open(tree, path).and_then(|image| image.verify().map(|()| image));
        match found {
            Err(Error::Stale { .. }) => Self::create(tree, path),
            Err(Error::Io { ref source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(tree, path)
            }
            found => found,
        }
    }

    /// Writes the image of `tree` as the file `path`, atomically.
    ///
    /// # Errors
    ///
    /// As [`write`], with [`Error::Io`] for what concerns the file.
    pub fn create(tree: &Tree, path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.to_owned(), source };
        let mut file = AtomicFile::create(path).map_err(failed)?;
        match write(tree, file.file()) {
            Ok(_) => file.commit().map_err(failed)?,
            Err(Error::Output(source)) => return Err(failed(source)),
            Err(e) => return Err(e),
        }
        Self::open(tree, path)
    }

    /// The image of `tree` that is in the file `path`. Reads its first block only.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Stale`] for a file that must be written anew: one of another tree
    /// or version, cut, or with a damaged first block.
    pub fn open(tree: &Tree, path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let mut block = Vec::new();
        let read = File::open(&path).and_then(|file| {
            (&file).take(BLOCK).read_to_end(&mut block)?;
            Ok(file.metadata()?.len())
        });
        let len = match read {
            Ok(len) => len,
            Err(source) => return Err(Error::Io { path, source }),
        };
        let origin = if is_sealed(&block) { Origin::read(&block) } else { None };
        let what = match origin {
            None => "its first block is none of ours or damaged",
            Some(origin) if !origin.is_of_same_tree(&Origin::of(tree, 0, 0)) => {
                "it was made of another tree or by another version"
            }
            Some(origin) if origin.len() != len => "it is cut",
            Some(origin) => return Ok(Self { path, origin }),
        };
        Err(Error::Stale { path, what })
    }

    /// Where the image is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole image and checks it against its checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] where it is damaged, [`Error::Io`].
    pub fn verify(&self) -> Result<(), Error> {
        let checksum = File::open(&self.path).and_then(|file| checksum(&file));
        match checksum {
            Ok(checksum) if checksum == self.origin.checksum() => Ok(()),
            Ok(_) => {
                let what = "it does not match its checksum";
                Err(Error::Stale { path: self.path.clone(), what })
            }
            Err(source) => Err(Error::Io { path: self.path.clone(), source }),
        }
    }

    /// Mounts the image read-only over the virtual blob that is the file `blob`.
    ///
    /// The image must be on a filesystem of a disk: Linux takes none on tmpfs, on a stacked
    /// filesystem or on FUSE with passthrough. The mount is still to be attached.
    ///
    /// # Errors
    ///
    /// [`Error::Mount`]: `ENODEV` or `ENOTBLK` from a kernel that cannot mount EROFS from a file
    /// (before Linux 6.12), `EPERM` without CAP_SYS_ADMIN in the first user namespace.
    pub fn mount(&self, blob: &Path, data: DataPath) -> Result<DetachedMount, Error> {
        let (mount, bdi) = self.mount_only(blob, data)?;
        self.set_read_ahead(bdi.as_ref(), data.read_ahead());
        Ok(mount)
    }

    /// As [`Image::mount`] with [`DataPath::Direct`], for a start whose content comes from far away:
    /// what the kernel reads ahead is waited for as well, so that it reads little ahead for as long as
    /// `start`.
    ///
    /// # Errors
    ///
    /// As [`Image::mount`].
    pub fn mount_far(&self, blob: &Path, start: Duration) -> Result<DetachedMount, Error> {
        let (mount, bdi) = self.mount_only(blob, DataPath::Direct)?;
        self.set_read_ahead(bdi.as_ref(), FAR_READ_AHEAD);
        let image = self.clone();
        let later = std::thread::Builder::new().name("read-ahead".into()).spawn(move || {
            std::thread::sleep(start);
            image.set_read_ahead(bdi.as_ref(), DataPath::Direct.read_ahead());
        });
        if let Err(error) = later {
            tracing::debug!(path = %self.path.display(), %error, "read-ahead stays small");
        }
        Ok(mount)
    }

    fn mount_only(
        &self,
        blob: &Path,
        data: DataPath,
    ) -> Result<(DetachedMount, Option<NewBdi>), Error> {
        let failed = |source| Error::Mount { path: self.path.clone(), source };
        let (mount, bdi) = NewBdi::of("erofs-", || mount_files(&self.path, blob, data));
        Ok((mount.map_err(failed)?, bdi))
    }

    fn set_read_ahead(&self, bdi: Option<&NewBdi>, bytes: u32) {
        let set = bdi.map(|bdi| bdi.set_read_ahead(bytes));
        if !matches!(set, Some(Ok(()))) {
            tracing::debug!(path = %self.path.display(), ?set, "read-ahead stays as it is");
        }
    }
}

fn mount_files(
    image: &Path,
    blob: &Path,
    data: DataPath,
) -> Result<DetachedMount, crate::sys::mount::Error> {
    let context = Context::open("erofs")?;
    let (image, blob) = (Short::of(image), Short::of(blob));
    context.string("source", &image.path)?;
    context.flag("ro")?;
    context.string("device", &blob.path)?;
    if data == DataPath::Direct {
        context.flag("directio")?;
    }
    context.create(Attributes::MOUNT_ATTR_RDONLY)
}

/// A path that fits into a mount parameter: itself, or that of a descriptor while it lives.
struct Short {
    path: PathBuf,
    _descriptor: Option<File>,
}

impl Short {
    fn of(path: &Path) -> Self {
        let is_long = path.as_os_str().len() > MAX_STRING;
        // Where it cannot be opened, the kernel says why.
        let descriptor = if is_long { File::open(path).ok() } else { None };
        let path = match &descriptor {
            Some(file) => PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            None => path.to_owned(),
        };
        Self { path, _descriptor: descriptor }
    }
}

/// The checksum of all blocks but the first.
fn checksum(file: &File) -> io::Result<u32> {
    let mut buffer = vec![0; 1 << 20];
    let (mut at, mut checksum) = (BLOCK, 0);
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(checksum),
            Ok(n) => {
                checksum = crc32c::crc32c_append(checksum, &buffer[..n]);
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
