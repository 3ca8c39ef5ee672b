//! The manifests about others: what registries have by their API and a layout has among its roots (OCI
//! image specification, `manifest.md`, "subject").

use serde::Deserialize;

use crate::digest::Digest;

use super::super::{Descriptor, Error, Provider};
use super::Layout;

/// The most roots that are looked into for a subject.
const MAX_LOOKED_INTO: usize = 256;

/// What tells what a manifest is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    subject: Option<Descriptor>,
}

impl Layout {
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
