//! A folder in the OCI image layout (OCI image specification, `image-layout.md`).
//!
//! ```text
//! oci-layout            says what the folder is; its lock guards index.json
//! index.json            the roots: descriptors, named by annotation
//! blobs/<alg>/<hex>     content, immutable
//! ingest/               content on its way in; each file is locked by its writer
//! ```
//!
//! A blob appears by rename, whole, checked and durable, or not at all. `index.json` is replaced
//! by rename under the lock, so readers need none.

mod ingest;
mod referrers;
mod roots;

pub use roots::REF_NAME;
pub(crate) use roots::{parse_index, parse_marker};

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{Algorithm, Digest};
use crate::io::{FileReader, ReadAt};

use super::blob_folder::BlobFolder;
use super::{Descriptor, Error, Ingester, MAX_DOCUMENT, Provider, Writer};

/// A layout folder as a content store.
#[derive(Debug, Clone)]
pub struct Layout {
    path: PathBuf,
    name: String,
}

impl Layout {
    /// Opens the layout folder at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::BadStore`] for what is no layout folder of a known version; [`Error::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let layout = Self::at(path.into());
        let bad = |reason: String| Error::BadStore { store: layout.name.clone(), reason };
        let missing = match fs::metadata(&layout.path) {
            Ok(meta) if meta.is_dir() => "it has no file oci-layout",
            Ok(_) => "it is not a folder",
            Err(e) if e.kind() == io::ErrorKind::NotFound => "there is no such folder",
            Err(e) => return Err(Error::io(&layout.name)(e)),
        };
        let marker = layout.document("oci-layout")?;
        let marker = marker.ok_or_else(|| bad(format!("not an OCI image layout: {missing}")))?;
        parse_marker(&marker).map_err(bad)?;
        Ok(layout)
    }

    /// Opens the layout folder at `path`, and makes an empty one where there is none.
    ///
    /// # Errors
    ///
    /// As [`Layout::open`]; a folder that holds something else is refused.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let layout = Self::at(path.into());
        fs::create_dir_all(&layout.path).map_err(Error::io(&layout.name))?;
        if layout.path.join("oci-layout").exists() {
            return Self::open(layout.path);
        }
        let mut entries = fs::read_dir(&layout.path).map_err(Error::io(&layout.name))?;
        if entries.next().is_some() {
            let reason = "neither an OCI image layout nor an empty folder".to_owned();
            return Err(Error::BadStore { store: layout.name, reason });
        }
        let blobs = layout.path.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(Error::io(blobs.display()))?;
        roots::write_empty_index(&layout.path)?;
        roots::write_marker(&layout.path)?;
        Self::open(layout.path)
    }

    fn at(path: PathBuf) -> Self {
        let name = format!("oci:{}", path.display());
        Self { path, name }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptors in `index.json`, in its order; [`REF_NAME`] names them.
    ///
    /// # Errors
    ///
    /// [`Error::BadStore`] for an `index.json` that is missing or broken; [`Error::Io`].
    pub fn roots(&self) -> Result<Vec<Descriptor>, Error> {
        let bad = |reason: String| Error::BadStore { store: self.name.clone(), reason };
        let json = self.document("index.json")?;
        parse_index(&json.ok_or_else(|| bad("it has no index.json".to_owned()))?).map_err(bad)
    }

    /// Adds `descriptor` to `index.json`, under `name` if there is one. The name leaves whatever
    /// had it before.
    ///
    /// # Errors
    ///
    /// [`Error::BadStore`] for a broken `index.json`; [`Error::Locked`]; [`Error::Io`].
    pub fn set_root(&self, descriptor: &Descriptor, name: Option<&str>) -> Result<(), Error> {
        roots::set_root(self, descriptor, name)
    }

    /// A small file of the layout itself; `None` where there is none.
    fn document(&self, file: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(file);
        let reader = match FileReader::open(&path) {
            Ok(reader) => reader,
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(Error::io(&self.name)(e)),
        };
        if reader.size() > MAX_DOCUMENT {
            let reason = format!("{file} has more than {MAX_DOCUMENT} bytes");
            return Err(Error::BadStore { store: self.name.clone(), reason });
        }
        let mut data = vec![0; usize::try_from(reader.size()).unwrap_or(0)];
        reader.read_exact_at(&mut data, 0).map_err(Error::io(path.display()))?;
        Ok(Some(data))
    }

    fn blobs(&self) -> BlobFolder<'_> {
        BlobFolder { path: &self.path, store: &self.name }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().blob_path(digest)
    }
}

impl Provider for Layout {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        self.blobs().open(descriptor)
    }

    fn find_document(&self, digest: &Digest) -> Result<(Descriptor, Vec<u8>), Error> {
        self.blobs().find(digest)
    }

    fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        self.about(digest, artifact_type)
    }
}

impl Ingester for Layout {
    fn name(&self) -> &str {
        &self.name
    }

    fn contains(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let path = self.blob_path(&descriptor.digest);
        match fs::metadata(&path) {
            Ok(meta) => Ok(meta.is_file() && meta.len() == descriptor.size),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(path.display())(e)),
        }
    }

    fn create(&self, algorithm: Algorithm) -> Result<Box<dyn Writer>, Error> {
        Ok(Box::new(ingest::BlobWriter::create(self, algorithm)?))
    }

    fn resume(&self, descriptor: &Descriptor) -> Result<Box<dyn Writer>, Error> {
        Ok(Box::new(ingest::BlobWriter::resume(self, &descriptor.digest, descriptor.size)?))
    }
}

/// Makes what was renamed into the folder `path` durable.
fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io(path.display()))
}

/// Makes the folder `path`, unless it is there, and makes that durable.
fn ensure_dir(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_dir),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::io(path.display())(e)),
    }
}

#[cfg(test)]
mod tests;
