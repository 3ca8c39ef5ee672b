//! Manifests by digest alone, and the manifests about others: what registries have by their API and
//! a layout has among its roots (OCI image specification, `manifest.md`, "subject").

use serde::Deserialize;

use crate::digest::{Digest, Hasher};
use crate::io::{FileReader, ReadAt};

use super::super::{Descriptor, Error, MAX_DOCUMENT, Provider};
use super::Layout;

/// The most roots that are looked into for a subject.
const MAX_LOOKED_INTO: usize = 256;

/// What tells a manifest's type and what it is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl Layout {
    /// See [`Provider::find_document`].
    pub(super) fn find(&self, digest: &Digest) -> Result<(Descriptor, Vec<u8>), Error> {
        let path = self.blob_path(digest);
        let absent = || Error::NotFound { digest: digest.clone(), store: self.name.clone() };
        let blob = FileReader::open(&path).map_err(|e| {
            let is_absent = e.kind() == std::io::ErrorKind::NotFound;
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
            let (expected, store) = (digest.clone(), self.name.clone());
            return Err(Error::DigestMismatch { expected, found, store });
        }
        let fields: Option<Manifest> = serde_json::from_slice(&data).ok();
        let default = match &fields {
            Some(fields) if fields.manifests.is_some() => "application/vnd.oci.image.index.v1+json",
            _ => "application/vnd.oci.image.manifest.v1+json",
        };
        let media_type = fields.and_then(|fields| fields.media_type);
        let media_type = media_type.unwrap_or_else(|| default.to_owned());
        Ok((Descriptor::new(media_type, digest.clone(), size), data))
    }

    /// See [`Provider::referrers`].
    pub(super) fn about(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut found: Vec<Descriptor> = Vec::new();
        for root in self.roots()?.into_iter().take(MAX_LOOKED_INTO) {
            // A root that cannot be read is nobody's referrer.
            let Ok(data) = self.read(&root) else { continue };
            let Ok(manifest) = serde_json::from_slice::<Manifest>(&data) else { continue };
            let of_type =
                manifest.artifact_type.or_else(|| manifest.config.map(|config| config.media_type));
            let is_wanted = artifact_type.is_none_or(|wanted| of_type.as_deref() == Some(wanted));
            let is_about = manifest.subject.is_some_and(|subject| subject.digest == *digest);
            if is_wanted && is_about && found.iter().all(|other| other.digest != root.digest) {
                found.push(Descriptor { artifact_type: of_type, ..root });
            }
        }
        Ok(found)
    }
}
