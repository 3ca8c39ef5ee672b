//! What the labels of a snapshot say about the image that its layer is of.

use super::Error;
use crate::content::registry::Reference;
use crate::digest::Digest;
use crate::image::Layer;
use crate::snapshot::{Labels, MAX_LABEL};

/// containerd's own set, of its CRI plugin and transfer service, of SOCI and nerdctl.
const CRI_REFERENCE: &str = "containerd.io/snapshot/cri.image-ref";
const CRI_MANIFEST: &str = "containerd.io/snapshot/cri.manifest-digest";
const CRI_LAYER: &str = "containerd.io/snapshot/cri.layer-digest";
/// This layer and those above it, as many as fit.
const CRI_LAYERS: &str = "containerd.io/snapshot/cri.image-layers";

/// stargz-snapshotter's set.
const STARGZ_REFERENCE: &str = "containerd.io/snapshot/remote/stargz.reference";
const STARGZ_LAYER: &str = "containerd.io/snapshot/remote/stargz.digest";

/// SOCI's, with the digest of the index that its client was told to use.
const SOCI_INDEX: &str = "containerd.io/snapshot/remote/soci.index.digest";

/// A layer's place in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The image: by its digest, where labels tell it.
    pub(super) reference: Reference,
    /// The blob of the layer, where labels tell it.
    pub(super) layer: Option<Digest>,
    /// The SOCI index by which the image is to be read, where labels tell one.
    pub(super) soci_index: Option<Digest>,
}

impl Origin {
    /// What `labels` tell; `None` where they name no image.
    ///
    /// # Errors
    ///
    /// [`Error::Reference`], [`Error::Label`].
    pub(super) fn of(labels: &Labels) -> Result<Option<Self>, Error> {
        let (reference, layer) = match (labels.get(CRI_REFERENCE), labels.get(STARGZ_REFERENCE)) {
            (Some(reference), _) => (reference, CRI_LAYER),
            (None, Some(reference)) => (reference, STARGZ_LAYER),
            (None, None) => return Ok(None),
        };
        let mut reference: Reference = reference.parse()?;
        if let Some(manifest) = digest(labels, CRI_MANIFEST)? {
            reference = reference.with_digest(manifest);
        }
        let soci_index = digest(labels, SOCI_INDEX)?;
        Ok(Some(Self { reference, layer: digest(labels, layer)?, soci_index }))
    }
}

/// The labels that name a layer, the first of `layers`, and those above it: containerd's own set.
pub(super) fn of_layer(reference: &Reference, manifest: &Digest, layers: &[Layer]) -> Labels {
    let mut above = String::new();
    for layer in layers {
        let digest = layer.descriptor.digest.to_string();
        if CRI_LAYERS.len() + above.len() + digest.len() >= MAX_LABEL {
            break;
        }
        if !above.is_empty() {
            above.push(',');
        }
        above.push_str(&digest);
    }
    let layer = layers.first().map(|layer| layer.descriptor.digest.to_string());
    let set = [
        (CRI_REFERENCE, reference.to_string()),
        (CRI_MANIFEST, manifest.to_string()),
        (CRI_LAYER, layer.unwrap_or_default()),
        (CRI_LAYERS, above),
    ];
    set.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()
}

fn digest(labels: &Labels, label: &'static str) -> Result<Option<Digest>, Error> {
    let parse = |text: &String| {
        text.parse().map_err(|source| Error::Label { label, text: text.clone(), source })
    };
    labels.get(label).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn both_sets_of_labels_are_understood() {
        let (layer, manifest) = (Digest::sha256(b"layer"), Digest::sha256(b"manifest"));
        let cri = labels(&[
            (CRI_REFERENCE, "registry.test/app:v1"),
            (CRI_MANIFEST, &manifest.to_string()),
            (CRI_LAYER, &layer.to_string()),
        ]);
        let origin = Origin::of(&cri).unwrap().unwrap();
        assert_eq!(origin.reference.to_string(), format!("registry.test/app@{manifest}"));
        assert_eq!(origin.layer, Some(layer.clone()));
        let stargz = labels(&[
            (STARGZ_REFERENCE, "registry.test/app:v1"),
            (STARGZ_LAYER, &layer.to_string()),
        ]);
        let origin = Origin::of(&stargz).unwrap().unwrap();
        assert_eq!(origin.reference.to_string(), "registry.test/app:v1");
        assert_eq!((origin.layer, origin.soci_index), (Some(layer), None));
        let soci =
            labels(&[(CRI_REFERENCE, "registry.test/app:v1"), (SOCI_INDEX, &manifest.to_string())]);
        assert_eq!(Origin::of(&soci).unwrap().unwrap().soci_index, Some(manifest));
        assert_eq!(Origin::of(&labels(&[("a", "b")])).unwrap(), None);
    }

    #[test]
    fn labels_that_are_no_names_are_refused() {
        for (label, text) in [
            (CRI_REFERENCE, "../../etc/passwd"),
            (CRI_REFERENCE, "registry.test/app:v1/../x"),
            (CRI_MANIFEST, "sha256:../../x"),
            (CRI_LAYER, "x"),
            (SOCI_INDEX, "latest"),
        ] {
            let mut labels = labels(&[(CRI_REFERENCE, "registry.test/app:v1")]);
            labels.insert(label.to_owned(), text.to_owned());
            assert!(Origin::of(&labels).is_err(), "{label}={text}");
        }
    }
}
