use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;
use crate::io::ReadAt;

use super::blob_folder::BlobFolder;
use super::{Descriptor, Error, Provider};

/// Where in containerd's root its content store is.
const PLUGIN: &str = "io.containerd.content.v1.content";

/// The folder in which containerd keeps content (containerd, `docs/ops.md`), read only.
///
/// What containerd's garbage collector removes is gone here too, apart from what is open. Content
/// that is still being written is not in `blobs` and so never seen.
#[derive(Debug, Clone)]
pub struct ContainerdStore {
    path: PathBuf,
    name: String,
}

impl ContainerdStore {
    /// The store in `path`: the folder itself, or containerd's root, `/var/lib/containerd` most
    /// often.
    ///
    /// # Errors
    ///
    /// [`Error::BadStore`] where neither has a folder `blobs`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let given = path.into();
        let name = format!("containerd:{}", given.display());
        let has_blobs = |path: &Path| path.join("blobs").is_dir();
        let path = [given.join(PLUGIN), given].into_iter().find(|path| has_blobs(path));
        match path {
            Some(path) => Ok(Self { path, name }),
            None => {
                let reason = "it is no content store of containerd".to_owned();
                Err(Error::BadStore { store: name, reason })
            }
        }
    }

    fn blobs(&self) -> BlobFolder<'_> {
        BlobFolder { path: &self.path, store: &self.name }
    }
}

impl Provider for ContainerdStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        self.blobs().open(descriptor)
    }

    fn find_document(&self, digest: &Digest) -> Result<(Descriptor, Vec<u8>), Error> {
        self.blobs().find(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::conformance::{self, Known};

    #[test]
    fn a_folder_of_containerd_keeps_every_promise_of_a_provider() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(ContainerdStore::open(dir.path()), Err(Error::BadStore { .. })));
        let store = dir.path().join(PLUGIN);
        let known = [Known::new("x"), Known::new("{\"a\": 1}"), Known::new(vec![7; 300_000])];
        std::fs::create_dir_all(store.join("blobs/sha256")).unwrap();
        for known in &known {
            let path = store.join("blobs/sha256").join(known.descriptor.digest.hex());
            std::fs::write(path, &known.content).unwrap();
        }
        for path in [dir.path(), &store] {
            let store = ContainerdStore::open(path).unwrap();
            conformance::check(&store, &known).unwrap();
            let (found, data) = store.find_document(&known[1].descriptor.digest).unwrap();
            assert_eq!((found.size, data), (8, b"{\"a\": 1}".to_vec()));
        }
    }
}
