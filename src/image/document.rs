//! What the parsers of all documents have in common.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::content::Descriptor;

use super::Error;
use super::media_type::{Class, classify};

/// Parses a JSON object; an array, which serde takes for a list of fields, is none.
pub(super) fn parse_object<T: DeserializeOwned>(
    what: &'static str,
    descriptor: &Descriptor,
    raw: &[u8],
) -> Result<T, Error> {
    let broken = |reason: String| Error::Broken { what, digest: descriptor.digest.clone(), reason };
    match raw.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(raw).map_err(|e| broken(e.to_string())),
        _ => Err(broken("it is no JSON object".to_owned())),
    }
}

/// The fields that tell what kind of document one is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
}

/// Refuses a document that could be taken for another type than its descriptor says: two readers
/// might then see two images in one (OCI image specification, `manifest.md`, "mediaType").
pub(super) fn check_type(descriptor: &Descriptor, raw: &[u8]) -> Result<(), Error> {
    let digest = descriptor.digest.clone();
    let class = classify(&descriptor.media_type);
    if class == Class::Schema1 {
        return Err(Error::Schema1 { digest });
    }
    let what = if class == Class::Index { "image index" } else { "manifest" };
    let shape: Shape = parse_object(what, descriptor, raw)?;
    if shape.fs_layers.is_some() {
        return Err(Error::Schema1 { digest });
    }
    let confused = |reason: String| {
        Err(Error::Confused { digest, expected: descriptor.media_type.clone(), reason })
    };
    match shape.media_type.as_deref() {
        None | Some("") => {}
        Some(found) if found == descriptor.media_type => {}
        Some(found) => return confused(format!("says that it is {found}")),
    }
    let foreign = [
        ("manifests", shape.manifests.is_some() && class == Class::Manifest),
        ("config", shape.config.is_some() && class == Class::Index),
        ("layers", shape.layers.is_some() && class == Class::Index),
    ];
    match foreign.into_iter().find(|(_, there)| *there) {
        Some((field, _)) => confused(format!("has a field {field:?}")),
        None => Ok(()),
    }
}

/// Refuses a document that names more than `limit` of `what`.
pub(super) fn check_number(
    descriptor: &Descriptor,
    named: &[Descriptor],
    what: &'static str,
    limit: usize,
) -> Result<(), Error> {
    if named.len() > limit {
        return Err(Error::TooMany { digest: descriptor.digest.clone(), what, limit });
    }
    Ok(())
}
