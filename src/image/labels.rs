use std::collections::BTreeMap;

use crate::content::Descriptor;

use super::media_type::{self as mt, Class, classify};

/// The labels that keep `children` in containerd's content store for as long as their parent is
/// there (containerd's `images.ChildGCLabels`, `images.SetChildrenMappedLabels`).
pub fn child_labels(children: &[Descriptor]) -> BTreeMap<String, String> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let label = |child: &Descriptor| {
        let kind = match classify(&child.media_type) {
            // containerd counts these two among the configs.
            Class::Checkpoint
                if [mt::CRIU, mt::CHECKPOINT_CONFIG].contains(&&*child.media_type) =>
            {
                "config"
            }
            Class::Config => "config",
            Class::Manifest | Class::Index => "m.",
            Class::Layer => "l.",
            Class::Attestation | Class::Checkpoint | Class::Schema1 | Class::Unknown => "",
        };
        let place = places.entry(kind).or_default();
        // Only the first config has no number.
        let number =
            if kind == "config" && *place == 0 { String::new() } else { place.to_string() };
        *place += 1;
        (format!("containerd.io/gc.ref.content.{kind}{number}"), child.digest.to_string())
    };
    children.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::image::media_type as mt;

    #[test]
    fn each_kind_is_counted_by_itself() {
        let types = [
            mt::OCI_CONFIG,
            mt::OCI_LAYER_GZIP,
            mt::DOCKER_LAYER_GZIP,
            mt::OCI_MANIFEST,
            mt::CRIU,
            mt::OCI_INDEX,
            mt::CHECKPOINT_RUNTIME_OPTIONS,
            "application/x",
        ];
        let children: Vec<_> =
            types.map(|t| Descriptor::new(t, Digest::sha256(t.as_bytes()), 1)).into();
        let labels = child_labels(&children);
        let expected = ["config", "l.0", "l.1", "m.0", "config1", "m.1", "0", "1"];
        for (name, child) in expected.iter().zip(&children) {
            let label = format!("containerd.io/gc.ref.content.{name}");
            assert_eq!(labels.get(&label), Some(&child.digest.to_string()), "{label}");
        }
        assert_eq!(labels.len(), children.len());
    }
}
