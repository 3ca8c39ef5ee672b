use serde::Deserialize;

use crate::content::null_is_default;

use super::Error;

/// What the engine of an archive says about the container: `config.dump` (checkpointctl's package
/// `metadata`, `ContainerConfig`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigDump {
    /// The container's ID.
    #[serde(default, deserialize_with = "null_is_default")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// The image, by its ID or name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs_image: String,
    /// The image, by a name with a digest, or by its ID.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs_image_ref: String,
    /// The image, by its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs_image_name: String,
    /// The OCI runtime.
    #[serde(default, deserialize_with = "null_is_default")]
    pub runtime: String,
    /// When it was checkpointed, RFC 3339.
    #[serde(default, rename = "checkpointedTime", deserialize_with = "null_is_default")]
    pub checkpointed: String,
}

impl ConfigDump {
    /// Parses the document.
    ///
    /// # Errors
    ///
    /// [`Error::Json`].
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let broken = |reason: String| Error::Json { name: "config.dump", reason };
        match json.trim_ascii_start().first() {
            Some(b'{') => serde_json::from_slice(json).map_err(|e| broken(e.to_string())),
            _ => Err(broken("it is no JSON object".to_owned())),
        }
    }

    /// The name of the image, as exact as the document says it: with a digest, else by tag.
    pub fn image_name(&self) -> Option<&str> {
        let names = [&self.rootfs_image_name, &self.rootfs_image_ref, &self.rootfs_image];
        // An ID is no name that anybody else could know.
        let is_name = |name: &&&String| {
            let id = name.strip_prefix("sha256:").unwrap_or(name);
            let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
            !id.is_empty() && !is_id
        };
        let pinned = names.iter().find(|name| name.contains("@sha256:") && is_name(name));
        pinned.or_else(|| names.iter().find(is_name)).map(|name| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_named_as_exactly_as_can_be() {
        let id = "4".repeat(64);
        let parse = |json: String| ConfigDump::parse(json.as_bytes()).unwrap();
        let podman = parse(format!(
            r#"{{"id":"x","rootfsImage":"{id}","rootfsImageRef":"{id}",
                "rootfsImageName":"localhost/app:1","restored":false}}"#
        ));
        assert_eq!(podman.image_name(), Some("localhost/app:1"));
        let pinned = format!("docker.io/library/app@sha256:{id}");
        let kubelet = parse(format!(
            r#"{{"rootfsImageName":"docker.io/library/app:1","rootfsImageRef":"{pinned}"}}"#
        ));
        assert_eq!(kubelet.image_name(), Some(pinned.as_str()));
        assert_eq!(parse(format!(r#"{{"rootfsImage":"sha256:{id}"}}"#)).image_name(), None);
        assert_eq!(parse(r#"{"rootfsImageName":null}"#.into()).image_name(), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "{", "null", r#"{"id":1}"#] {
            assert!(matches!(ConfigDump::parse(bad.as_bytes()), Err(Error::Json { .. })), "{bad}");
        }
    }
}
