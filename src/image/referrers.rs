use crate::content::registry::Client;
use crate::content::{self, Descriptor, Layout, OciArchive, Provider};
use crate::digest::Digest;

use super::media_type::{Class, classify};
use super::{Error, Index, Manifest, Source};

/// The manifests and indexes that say that they are about `digest`, in the store of `source`: what
/// the registry lists, or those of a layout's roots whose subject it is.
///
/// # Errors
///
/// Those of opening and reading the store.
pub fn referrers(
    source: &Source,
    client: &Client,
    digest: &Digest,
) -> Result<Vec<Descriptor>, Error> {
    match source {
        Source::Registry(reference) => {
            let repository = client.repository(reference).map_err(content::Error::from)?;
            Ok(repository.referrers(digest, None).map_err(content::Error::from)?)
        }
        Source::Oci { path, .. } => {
            let layout = Layout::open(path)?;
            among(&layout, &layout.roots()?, digest)
        }
        Source::OciArchive { path, .. } => {
            let archive = OciArchive::open(path)?;
            among(&archive, archive.roots(), digest)
        }
        // The format has no room for any.
        Source::DockerArchive { .. } => Ok(Vec::new()),
    }
}

fn among(
    store: &dyn Provider,
    roots: &[Descriptor],
    digest: &Digest,
) -> Result<Vec<Descriptor>, Error> {
    let mut found: Vec<Descriptor> = Vec::new();
    for root in roots {
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else has a subject")]
        let subject = match classify(&root.media_type) {
            Class::Manifest => Manifest::parse(root, store.read(root)?)?.subject,
            Class::Index => Index::parse(root, store.read(root)?)?.subject,
            _ => None,
        };
        let is_new = found.iter().all(|f| f.digest != root.digest);
        if is_new && subject.is_some_and(|subject| subject.digest == *digest) {
            found.push(root.clone());
        }
    }
    Ok(found)
}
