//! Content on its way into a layout folder.
//!
//! Each file in `ingest/` is locked by its writer. `new-*` is content without a known digest: an
//! unlocked one belongs to a dead process and is removed. `<alg>-<hex>` is content with a known
//! digest: it stays when its writer stops, for the next one to go on with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest, Hasher};

use super::super::{Error, Writer};
use super::{Layout, ensure_dir, sync_dir};

/// How often making a file is tried while others remove the folder that it goes into.
const TRIES: usize = 16;

/// A blob that is being written.
pub(super) struct BlobWriter {
    layout: Layout,
    file: File,
    path: PathBuf,
    hasher: Hasher,
    written: u64,
    /// Whether the file stays when this is dropped.
    keep: bool,
}

impl BlobWriter {
    pub(super) fn create(layout: &Layout, algorithm: Algorithm) -> Result<Self, Error> {
        let folder = layout.path.join("ingest");
        remove_dead(&folder);
        for _ in 0..TRIES {
            ensure_dir(&folder)?;
            let made =
                tempfile::Builder::new().prefix("new-").disable_cleanup(true).tempfile_in(&folder);
            let (file, path) = match made {
                Ok(temp) => temp.keep().map_err(|e| Error::io(folder.display())(e.error))?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(folder.display())(e)),
            };
            let hasher = Hasher::new(algorithm);
            let writer =
                Self { layout: layout.clone(), file, path, hasher, written: 0, keep: false };
            // Between its making and its lock another process may have taken it for dead.
            if writer.own()? {
                return Ok(writer);
            }
        }
        Err(lost(&folder))
    }

    pub(super) fn resume(layout: &Layout, digest: &Digest, size: u64) -> Result<Self, Error> {
        let folder = layout.path.join("ingest");
        let path = folder.join(format!("{}-{}", digest.algorithm().name(), digest.hex()));
        for _ in 0..TRIES {
            ensure_dir(&folder)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(path.display())(e)),
            };
            let mut writer = Self {
                layout: layout.clone(),
                file,
                path: path.clone(),
                hasher: Hasher::new(digest.algorithm()),
                written: 0,
                keep: true,
            };
            if !writer.own()? {
                // Someone else is at it: write a copy of our own rather than wait.
                return Self::create(layout, digest.algorithm());
            }
            writer.take_up(size).map_err(Error::io(path.display()))?;
            return Ok(writer);
        }
        Err(lost(&folder))
    }

    /// Locks the file; false where another has it, or it is no longer what its name leads to.
    fn own(&self) -> Result<bool, Error> {
        if self.file.try_lock().is_err() {
            return Ok(false);
        }
        let meta = self.file.metadata().map_err(Error::io(self.path.display()))?;
        match fs::symlink_metadata(&self.path) {
            Ok(named) => Ok(named.ino() == meta.ino() && named.dev() == meta.dev()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(self.path.display())(e)),
        }
    }

    /// Hashes what an earlier writer left; more than `size` bytes are of no use and dropped.
    fn take_up(&mut self, size: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > size {
            self.file.set_len(0)?;
        }
        let mut buf = vec![0; 1 << 16];
        loop {
            match self.file.read(&mut buf)? {
                0 => return Ok(()),
                n => {
                    self.hasher.update(&buf[..n]);
                    self.written += n as u64;
                }
            }
        }
    }

    fn persist(&self, digest: &Digest) -> io::Result<PathBuf> {
        self.file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        self.file.sync_all()?;
        let path = self.layout.blob_path(digest);
        fs::rename(&self.path, &path)?;
        Ok(path)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer for BlobWriter {
    fn written(&self) -> u64 {
        self.written
    }

    fn commit(mut self: Box<Self>, size: u64, digest: &Digest) -> Result<(), Error> {
        // Whatever happens now, there is nothing left to go on with.
        self.keep = false;
        let store = || self.layout.name.clone();
        if self.written != size {
            return Err(Error::SizeMismatch {
                digest: digest.clone(),
                store: store(),
                expected: size,
                found: self.written,
            });
        }
        let found = self.hasher.clone().finish();
        if found != *digest {
            return Err(Error::DigestMismatch { expected: digest.clone(), found, store: store() });
        }
        let folder = self.layout.path.join("blobs");
        ensure_dir(&folder)?;
        let folder = folder.join(digest.algorithm().name());
        ensure_dir(&folder)?;
        self.persist(digest).map_err(Error::io(format_args!("{digest} in {}", store())))?;
        // What has the old name from here on is another writer's.
        self.keep = true;
        sync_dir(&folder)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.keep {
            // What is left where this fails is swept by the next writer.
            let _ = fs::remove_file(&self.path);
        }
        if let Some(folder) = self.path.parent() {
            // Fails, as it should, while anything is in there.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Removes files of writers that died. Failures are left for the next writer.
fn remove_dead(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(b"new-") {
            continue;
        }
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(entry.path());
        let Ok(file) = open else { continue };
        // The lock is held until the name is gone, so that nobody can take the file over between.
        if file.try_lock().is_ok() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn lost(folder: &Path) -> Error {
    let reason = "other processes keep removing it";
    Error::io(folder.display())(io::Error::new(io::ErrorKind::ResourceBusy, reason))
}
