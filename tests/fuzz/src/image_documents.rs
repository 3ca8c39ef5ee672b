//! Any bytes as the documents of an image: a manifest, an index and a configuration.

use stratafs::content::Descriptor;
use stratafs::digest::Digest;
use stratafs::image::{Config, Index, MAX_ENTRIES, MAX_LAYERS, Manifest, child_labels, media_type};

/// Decodes `data` as each of them.
pub fn run(data: &[u8]) {
    let descriptor =
        |media_type: &str| Descriptor::new(media_type, Digest::sha256(data), data.len() as u64);
    for media_type in [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST] {
        if let Ok(manifest) = Manifest::parse(&descriptor(media_type), data.to_vec()) {
            assert!(manifest.layers.len() <= MAX_LAYERS);
            let children = manifest.children();
            assert_eq!(children.len(), manifest.layers.len() + 1);
            // None takes the label of another.
            assert_eq!(child_labels(&children).len(), children.len());
        }
    }
    for media_type in [media_type::OCI_INDEX, media_type::DOCKER_INDEX] {
        if let Ok(index) = Index::parse(&descriptor(media_type), data.to_vec()) {
            assert!(index.manifests.len() <= MAX_ENTRIES);
            // One document is never both.
            let manifest = descriptor(media_type::OCI_MANIFEST);
            let both = Manifest::parse(&manifest, data.to_vec()).is_ok();
            assert!(!both || index.manifests.is_empty());
        }
    }
    if let Ok(config) = Config::parse(&descriptor(media_type::OCI_CONFIG), data.to_vec()) {
        let layers = config.rootfs.diff_ids.len();
        assert!((0..layers).filter_map(|layer| config.history_of(layer)).count() <= layers);
        let _ = config.platform();
    }
}
