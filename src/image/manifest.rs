use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::content::{Descriptor, null_is_default};

use super::media_type::{Class, classify};
use super::{Error, MAX_LAYERS};

/// An image manifest, of OCI or docker (OCI image specification, `manifest.md`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The bytes that were parsed.
    #[serde(skip)]
    pub raw: Vec<u8>,
    /// The descriptor of the configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// The type of an artifact that is no container image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The manifest that this one is about.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Free-form notes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Parses the bytes of the manifest that `descriptor` names.
    ///
    /// # Errors
    ///
    /// [`Error::Schema1`], [`Error::Confused`], [`Error::Broken`]; [`Error::TooMany`] beyond
    /// [`MAX_LAYERS`].
    pub fn parse(descriptor: &Descriptor, raw: Vec<u8>) -> Result<Self, Error> {
        check_type(descriptor, &raw)?;
        let mut manifest: Self = parse_object("manifest", descriptor, &raw)?;
        if manifest.layers.len() > MAX_LAYERS {
            let (digest, limit) = (descriptor.digest.clone(), MAX_LAYERS);
            return Err(Error::TooMany { digest, what: "layers", limit });
        }
        manifest.raw = raw;
        Ok(manifest)
    }
}

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
