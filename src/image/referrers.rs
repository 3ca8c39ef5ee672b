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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::Fixture;
    use super::super::media_type as mt;
    use super::*;
    use std::sync::Arc;

    use crate::content::registry::{Anonymous, Config};

    #[test]
    fn what_has_an_image_as_its_subject_refers_to_it() {
        let f = Fixture::new();
        let [image, other] = ["a", "b"].map(|layer| f.image("linux/amd64", &[layer]));
        let about = |subject: &Descriptor, media_type: &str| {
            let config = f.put(mt::OCI_EMPTY, &json!({}));
            let document = if media_type == mt::OCI_INDEX {
                json!({"manifests": [], "subject": subject})
            } else {
                json!({"config": config, "layers": [], "subject": subject})
            };
            f.put(media_type, &document)
        };
        let [manifest, index] = [mt::OCI_MANIFEST, mt::OCI_INDEX].map(|t| about(&image, t));
        let of_other = about(&other, mt::OCI_MANIFEST);
        for root in [&image, &manifest, &of_other, &index, &f.blob("text/plain", "x")] {
            f.layout.set_root(root, None).unwrap();
        }
        f.layout.set_root(&manifest, Some("named")).unwrap();
        let client = Client::new(Config::new(std::env::temp_dir(), Arc::new(Anonymous)));
        let source: Source = format!("oci:{}", f.layout.path().display()).parse().unwrap();
        let found = |digest: &Digest| {
            let found = referrers(&source, &client, digest).unwrap();
            found.into_iter().map(|d| d.digest).collect::<Vec<_>>()
        };
        // Once each, though one of them has two names.
        assert_eq!(found(&image.digest), [manifest.digest.clone(), index.digest]);
        assert_eq!(found(&other.digest), [of_other.digest]);
        assert!(found(&manifest.digest).is_empty());
    }
}
