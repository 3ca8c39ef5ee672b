//! What a remote store has said, for when it says nothing: documents by their digests, and what
//! names have meant.
//!
//! # Layout
//!
//! ```text
//! DIR/<algorithm>-<hex>     a manifest, image index or configuration
//! DIR/<hex>.name            what a name was found to be: JSON, under the SHA-256 of the name
//! ```
//!
//! A document is checked against its digest whenever it is read; one that is damaged counts as
//! absent. A name is only as fresh as it was when it was looked up.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::io::{AtomicFile, ReadAt};

use super::{Descriptor, Error, MAX_DOCUMENT, Provider};

/// The documents and names that are remembered in one folder.
#[derive(Debug, Clone)]
pub struct Documents {
    dir: PathBuf,
}

/// What a name was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// The name.
    pub name: String,
    /// What it named.
    pub root: Descriptor,
    /// When it was found to be that, in seconds since 1970.
    pub at: u64,
}

impl Recalled {
    /// How long ago that was.
    pub fn age(&self) -> Duration {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(self.at);
        SystemTime::now().duration_since(then).unwrap_or_default()
    }
}

impl Documents {
    /// What is remembered in `dir`, which is made when something is.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    fn name_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{}.name", Digest::sha256(name.as_bytes()).hex()))
    }

    /// The document that `descriptor` names, checked.
    pub fn read(&self, descriptor: &Descriptor) -> Option<Vec<u8>> {
        let path = self.path(&descriptor.digest);
        let len = fs::metadata(&path).ok()?.len();
        if len != descriptor.size || len > MAX_DOCUMENT {
            return None;
        }
        let data = fs::read(&path).ok()?;
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        hasher.update(&data);
        if hasher.finish() == descriptor.digest {
            return Some(data);
        }
        tracing::warn!(path = %path.display(), "a remembered document is damaged");
        None
    }

    /// Remembers the document with that digest.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn keep(&self, digest: &Digest, data: &[u8]) -> io::Result<()> {
        self.write(&self.path(digest), data)
    }

    /// What `name` was when it was last looked up.
    pub fn recall(&self, name: &str) -> Option<Recalled> {
        let bytes = fs::read(self.name_path(name)).ok()?;
        serde_json::from_slice::<Recalled>(&bytes).ok().filter(|found| found.name == name)
    }

    /// Remembers what `name` is now.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub fn remember(&self, name: &str, root: &Descriptor) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let found = Recalled { name: name.to_owned(), root: root.clone(), at: now.as_secs() };
        self.write(&self.name_path(name), &serde_json::to_vec(&found)?)
    }

    fn write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut file = AtomicFile::create(path)?;
        file.file().write_all(data)?;
        file.commit()
    }
}

/// A remote store whose documents are remembered.
pub struct Remembered {
    documents: Documents,
    far: Arc<dyn Provider>,
}

impl Remembered {
    /// `far`, with what `documents` hold asked first.
    pub fn new(documents: Documents, far: Arc<dyn Provider>) -> Self {
        Self { documents, far }
    }
}

impl Provider for Remembered {
    fn name(&self) -> &str {
        self.far.name()
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        self.far.open(descriptor)
    }

    fn open_sequential(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        self.far.open_sequential(descriptor)
    }

    fn is_remote(&self) -> bool {
        self.far.is_remote()
    }

    fn find_document(&self, digest: &Digest) -> Result<(Descriptor, Vec<u8>), Error> {
        self.far.find_document(digest)
    }

    fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        self.far.referrers(digest, artifact_type)
    }

    fn expect_referrers(&self, digest: &Digest) {
        self.far.expect_referrers(digest);
    }

    fn find_by_suffix(&self, suffix: &str) -> Result<Option<(Descriptor, Vec<u8>)>, Error> {
        self.far.find_by_suffix(suffix)
    }

    fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if let Some(data) = self.documents.read(descriptor) {
            return Ok(data);
        }
        let data = self.far.read(descriptor)?;
        if let Err(error) = self.documents.keep(&descriptor.digest, &data) {
            // A full disk is no reason to fail.
            tracing::warn!(digest = %descriptor.digest, %error, "a document is not remembered");
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Layout, ingest};

    #[test]
    fn what_was_read_once_needs_no_store() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path().join("layout")).unwrap();
        let descriptor = ingest(&layout, "application/json", b"{}").unwrap();
        let documents = Documents::new(&dir.path().join("documents"));
        let store = Remembered::new(documents.clone(), Arc::new(layout));
        assert_eq!(store.read(&descriptor).unwrap(), b"{}");
        fs::remove_dir_all(dir.path().join("layout")).unwrap();
        assert_eq!(store.read(&descriptor).unwrap(), b"{}");
        // A damaged one is not taken.
        fs::write(documents.path(&descriptor.digest), "[]").unwrap();
        store.read(&descriptor).unwrap_err();
    }

    #[test]
    fn names_are_what_they_were_last() {
        let dir = tempfile::tempdir().unwrap();
        let documents = Documents::new(&dir.path().join("documents"));
        assert_eq!(documents.recall("a"), None);
        for content in ["1", "2"] {
            let digest = Digest::sha256(content.as_bytes());
            let root = Descriptor::new("application/json", digest, 1);
            documents.remember("a", &root).unwrap();
            let found = documents.recall("a").unwrap();
            assert_eq!(found.root, root);
            assert!(found.age() < Duration::from_secs(60));
        }
        assert_eq!(documents.recall("b"), None);
        fs::write(documents.name_path("a"), "{").unwrap();
        assert_eq!(documents.recall("a"), None);
    }
}
