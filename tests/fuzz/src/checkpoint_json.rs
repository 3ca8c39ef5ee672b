//! Any bytes as the JSON documents of a checkpoint archive and as a checkpoint's index.

use stratafs::checkpoint::{ConfigDump, Members, parse_deleted};
use stratafs::content::Descriptor;
use stratafs::digest::Digest;
use stratafs::image::{Index, media_type};

/// Decodes `data` as each of them.
pub fn run(data: &[u8]) {
    if let Ok(paths) = parse_deleted(data) {
        for path in paths {
            assert!(!path.is_root());
            assert!(path.components().all(|name| name != b".." && name != b"."));
        }
    }
    if let Ok(config) = ConfigDump::parse(data) {
        assert!(config.image_name().is_none_or(|name| !name.is_empty()));
    }
    let descriptor =
        Descriptor::new(media_type::OCI_INDEX, Digest::sha256(data), data.len() as u64);
    if let Ok(index) = Index::parse(&descriptor, data.to_vec())
        && let Ok(members) = Members::of(&index)
    {
        let found = [&members.image, &members.changes, &members.spec, &members.memory];
        for member in found.into_iter().flatten() {
            assert!(index.manifests.contains(member));
        }
    }
}
