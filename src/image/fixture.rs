//! Images made of documents alone, for the tests of this module.

use serde_json::{Value, json};

use crate::content::{Descriptor, Layout, Platform, ingest};
use crate::digest::Digest;

use super::media_type as mt;
use super::parse_platform;

pub(super) struct Fixture {
    pub(super) layout: Layout,
    dir: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { layout: Layout::create(dir.path().join("layout")).unwrap(), dir }
    }

    pub(super) fn put(&self, media_type: &str, document: &Value) -> Descriptor {
        ingest(&self.layout, media_type, document.to_string().as_bytes()).unwrap()
    }

    pub(super) fn blob(&self, media_type: &str, content: &str) -> Descriptor {
        ingest(&self.layout, media_type, content.as_bytes()).unwrap()
    }

    pub(super) fn remove(&self, digest: &Digest) {
        let blobs = self.dir.path().join("layout/blobs").join(digest.algorithm().name());
        std::fs::remove_file(blobs.join(digest.hex())).unwrap();
    }

    /// An image of plain layers with the given contents.
    pub(super) fn image(&self, platform: &str, layers: &[&str]) -> Descriptor {
        let p = parse_platform(platform).unwrap();
        let diff_ids: Vec<_> = layers.iter().map(|l| Digest::sha256(l.as_bytes())).collect();
        let config = json!({
            "architecture": p.architecture, "os": p.os, "variant": p.variant,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let layers: Vec<_> = layers.iter().map(|l| self.blob(mt::OCI_LAYER, l)).collect();
        self.manifest(&self.put(mt::OCI_CONFIG, &config), &layers)
    }

    pub(super) fn manifest(&self, config: &Descriptor, layers: &[Descriptor]) -> Descriptor {
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.put(mt::OCI_MANIFEST, &manifest)
    }

    pub(super) fn index(&self, entries: &[Descriptor]) -> Descriptor {
        self.put(mt::OCI_INDEX, &json!({"schemaVersion": 2, "manifests": entries}))
    }
}

/// `descriptor` as an index says it, with a platform.
pub(super) fn on(platform: &str, descriptor: &Descriptor) -> Descriptor {
    let platform = match platform {
        "unknown/unknown" => Platform {
            architecture: "unknown".into(),
            os: "unknown".into(),
            variant: None,
            os_version: None,
            os_features: Vec::new(),
        },
        known => parse_platform(known).unwrap(),
    };
    Descriptor { platform: Some(platform), ..descriptor.clone() }
}
