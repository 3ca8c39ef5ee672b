//! Blobs as files under their digests, as OCI layouts and containerd have them:
//! `blobs/<algorithm>/<hex>`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::digest::{Digest, Hasher};
use crate::io::{FileReader, ReadAt};

use super::provider::{check_size, not_found};
use super::{Descriptor, Error, MAX_DOCUMENT};

/// The folder that holds `blobs`, and what its store is called in errors.
#[derive(Clone, Copy)]
pub(super) struct BlobFolder<'a> {
    pub(super) path: &'a Path,
    pub(super) store: &'a str,
}

/// What tells a document's type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl BlobFolder<'_> {
    /// Where a blob is, if it is there.
    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// See [`super::Provider::open`].
    pub(super) fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        match FileReader::open(&self.blob_path(&descriptor.digest)) {
            Ok(blob) => {
                check_size(self.store, descriptor, blob.size())?;
                Ok(Arc::new(blob))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(not_found(self.store, descriptor)),
            Err(e) => Err(Error::io(self.store)(e)),
        }
    }

    /// See [`super::Provider::find_document`].
    pub(super) fn find(&self, digest: &Digest) -> Result<(Descriptor, Vec<u8>), Error> {
        let path = self.blob_path(digest);
        let absent = || Error::NotFound { digest: digest.clone(), store: self.store.to_owned() };
        let blob = FileReader::open(&path).map_err(|e| {
            let is_absent = e.kind() == io::ErrorKind::NotFound;
            if is_absent { absent() } else { Error::io(path.display())(e) }
        })?;
        let size = blob.size();
        if size > MAX_DOCUMENT {
            return Err(Error::TooLarge { digest: digest.clone(), size, limit: MAX_DOCUMENT });
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        blob.read_exact_at(&mut data, 0).map_err(Error::io(path.display()))?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&data);
        let found = hasher.finish();
        if found != *digest {
            let (expected, store) = (digest.clone(), self.store.to_owned());
            return Err(Error::DigestMismatch { expected, found, store });
        }
        Ok((Descriptor::new(media_type(&data), digest.clone(), size), data))
    }
}

/// What a document is by its own words, or else by its shape.
fn media_type(data: &[u8]) -> String {
    let typed: Option<Typed> = serde_json::from_slice(data).ok();
    let default = match &typed {
        Some(typed) if typed.manifests.is_some() => "application/vnd.oci.image.index.v1+json",
        _ => "application/vnd.oci.image.manifest.v1+json",
    };
    let said = typed.and_then(|typed| typed.media_type);
    said.unwrap_or_else(|| default.to_owned())
}
