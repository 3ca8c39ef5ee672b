use serde_json::{Map, Value, json};

use crate::content::Descriptor;
use crate::digest::DiffId;

use super::media_type as mt;
use super::{Error, Image, host_platform};

/// A layer to put on top of an image.
#[derive(Debug, Clone)]
pub struct Added {
    /// Its blob.
    pub descriptor: Descriptor,
    /// The digest of the blob uncompressed.
    pub diff_id: DiffId,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What made it, for the history.
    pub created_by: String,
}

/// The configuration of `base` with one more layer on top, as bytes; of an image that is only that
/// layer where there is no base.
///
/// Everything that the base's configuration says is kept, what is not known here as well.
///
/// # Errors
///
/// [`Error::Broken`] where the base's configuration is no object, or its layers no list.
pub fn append_config(base: Option<&Image>, added: &Added) -> Result<Vec<u8>, Error> {
    let mut config = match base {
        Some(image) => parse(image)?,
        None => empty_config(),
    };
    let history = json!({"created": added.created, "created_by": added.created_by});
    list(base, &mut config, "history")?.push(history);
    config.insert("created".into(), json!(added.created));
    let rootfs = config.remove("rootfs").as_ref().and_then(Value::as_object).cloned();
    let mut rootfs = rootfs.unwrap_or_default();
    list(base, &mut rootfs, "diff_ids")?.push(json!(added.diff_id.to_string()));
    rootfs.insert("type".into(), json!("layers"));
    config.insert("rootfs".into(), Value::Object(rootfs));
    Ok(Value::Object(config).to_string().into_bytes())
}

/// The OCI manifest of the image whose configuration is `config`: the layers of `base` and the
/// added one, as bytes.
pub fn append_manifest(base: Option<&Image>, config: &Descriptor, added: &Added) -> Vec<u8> {
    let below = base.iter().flat_map(|image| &image.layers).map(|layer| {
        let mut descriptor = layer.descriptor.clone();
        descriptor.media_type = oci_layer_type(&descriptor.media_type).to_owned();
        descriptor
    });
    let layers: Vec<Descriptor> = below.chain([added.descriptor.clone()]).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": mt::OCI_MANIFEST,
        "config": config,
        "layers": layers,
    });
    manifest.to_string().into_bytes()
}

fn parse(image: &Image) -> Result<Map<String, Value>, Error> {
    match serde_json::from_slice(&image.config.raw) {
        Ok(Value::Object(config)) => Ok(config),
        Ok(_) => Err(broken(Some(image), "it is no object".to_owned())),
        Err(e) => Err(broken(Some(image), e.to_string())),
    }
}

fn empty_config() -> Map<String, Value> {
    let platform = host_platform();
    let mut config = Map::new();
    config.insert("architecture".into(), json!(platform.architecture));
    config.insert("os".into(), json!(platform.os));
    if let Some(variant) = platform.variant {
        config.insert("variant".into(), json!(variant));
    }
    config.insert("config".into(), json!({}));
    config
}

/// The list `name` of `object`, made where there is none.
fn list<'a>(
    base: Option<&Image>,
    object: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Vec<Value>, Error> {
    let value = object.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| broken(base, format!("{name} is no list")))
}

fn broken(base: Option<&Image>, reason: String) -> Error {
    let digest = match base {
        Some(image) => image.manifest.config.digest.clone(),
        None => crate::digest::Digest::sha256(b"{}"),
    };
    Error::Broken { what: "config", digest, reason }
}

/// The OCI media type of a layer that docker's names.
fn oci_layer_type(media_type: &str) -> &str {
    match media_type {
        mt::DOCKER_LAYER => mt::OCI_LAYER,
        mt::DOCKER_LAYER_GZIP => mt::OCI_LAYER_GZIP,
        mt::DOCKER_LAYER_ZSTD => mt::OCI_LAYER_ZSTD,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::image::{Config, Manifest};

    fn added() -> Added {
        Added {
            descriptor: Descriptor::new(mt::OCI_LAYER_GZIP, Digest::sha256(b"blob"), 4),
            diff_id: DiffId::new(Digest::sha256(b"diff")),
            created: "2026-01-02T03:04:05Z".into(),
            created_by: "test".into(),
        }
    }

    fn config_of(raw: &[u8]) -> Config {
        let descriptor = Descriptor::new(mt::OCI_CONFIG, Digest::sha256(raw), raw.len() as u64);
        Config::parse(&descriptor, raw.to_vec()).unwrap()
    }

    fn base(raw_config: &str) -> Image {
        let raw = raw_config.as_bytes();
        let config = Descriptor::new(mt::DOCKER_CONFIG, Digest::sha256(raw), raw.len() as u64);
        let layer = Descriptor::new(mt::DOCKER_LAYER_GZIP, Digest::sha256(b"base"), 4);
        let manifest = json!({"schemaVersion": 2, "mediaType": mt::DOCKER_MANIFEST,
            "config": config, "layers": [layer]})
        .to_string()
        .into_bytes();
        let at =
            Descriptor::new(mt::DOCKER_MANIFEST, Digest::sha256(&manifest), manifest.len() as u64);
        let diff_id = DiffId::new(Digest::sha256(b"base diff"));
        let layers = vec![crate::image::Layer {
            descriptor: layer,
            chain_id: crate::digest::ChainId::new(diff_id.digest().clone()),
            diff_id,
        }];
        let manifest = Manifest::parse(&at, manifest).unwrap();
        Image { descriptor: at, manifest, config: config_of(raw), layers }
    }

    #[test]
    fn a_layer_is_added_to_layers_history_and_diff_ids() {
        let diff = DiffId::new(Digest::sha256(b"base diff"));
        let base = base(&format!(
            r#"{{"architecture":"amd64","os":"linux","x.unknown":[1],"config":{{"Cmd":["sh"]}},
               "rootfs":{{"type":"layers","diff_ids":["{diff}"]}},"history":null}}"#
        ));
        let raw = append_config(Some(&base), &added()).unwrap();
        let config = config_of(&raw);
        assert_eq!(config.rootfs.diff_ids, [diff, added().diff_id]);
        assert_eq!(config.history[0].created_by.as_deref(), Some("test"));
        assert_eq!(config.config.cmd, ["sh"]);
        assert!(String::from_utf8(raw.clone()).unwrap().contains("x.unknown"));
        let descriptor = Descriptor::new(mt::OCI_CONFIG, Digest::sha256(&raw), raw.len() as u64);
        let manifest = append_manifest(Some(&base), &descriptor, &added());
        let at =
            Descriptor::new(mt::OCI_MANIFEST, Digest::sha256(&manifest), manifest.len() as u64);
        let manifest = Manifest::parse(&at, manifest).unwrap();
        let types: Vec<&str> = manifest.layers.iter().map(|l| l.media_type.as_str()).collect();
        assert_eq!(types, [mt::OCI_LAYER_GZIP, mt::OCI_LAYER_GZIP]);
    }

    #[test]
    fn without_a_base_the_layer_is_the_image() {
        let raw = append_config(None, &added()).unwrap();
        let config = config_of(&raw);
        assert_eq!(config.rootfs.diff_ids, [added().diff_id]);
        assert_eq!(config.platform().os, "linux");
    }
}
