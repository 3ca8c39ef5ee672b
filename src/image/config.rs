use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::content::{Descriptor, Platform, null_is_default};
use crate::digest::DiffId;

use super::document::parse_object;
use super::{Error, normalize};

/// The configuration of an image (OCI image specification, `config.md`).
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Config {
    /// The bytes that were parsed.
    #[serde(skip)]
    pub raw: Vec<u8>,
    /// When it was built, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// Who built it.
    #[serde(default)]
    pub author: Option<String>,
    /// The processor it is for, in Go's words.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// The operating system it is for.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// The version of the processor.
    #[serde(default)]
    pub variant: Option<String>,
    /// What to run.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: Process,
    /// The layers, uncompressed.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default, deserialize_with = "null_is_default")]
    pub history: Vec<History>,
}

/// What an image runs, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Process {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty is root.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// Environment, `NAME=VALUE`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The fixed start of the command.
    #[serde(default, deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The rest of the command, which a user's replaces.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// The folder it starts in; empty is `/`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Free-form notes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that ends it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Ports that it listens on, `port/protocol`.
    #[serde(default, deserialize_with = "keys")]
    pub exposed_ports: Vec<String>,
    /// Folders that hold data of its own.
    #[serde(default, deserialize_with = "keys")]
    pub volumes: Vec<String>,
}

/// The uncompressed layers of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RootFs {
    /// The digest of each layer uncompressed, bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

/// How one layer came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// By which command.
    #[serde(default)]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(default)]
    pub author: Option<String>,
    /// A note.
    #[serde(default)]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(default, deserialize_with = "null_is_default")]
    pub empty_layer: bool,
}

impl Config {
    /// Parses the bytes of the configuration that `descriptor` names.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`].
    pub fn parse(descriptor: &Descriptor, raw: Vec<u8>) -> Result<Self, Error> {
        let mut config: Self = parse_object("image config", descriptor, &raw)?;
        config.raw = raw;
        Ok(config)
    }

    /// The platform it is for, normalised.
    pub fn platform(&self) -> Platform {
        normalize(&Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
            os_version: None,
            os_features: Vec::new(),
        })
    }

    /// The step of the history that made layer `ordinal`, 0 at the bottom; `None` where the
    /// history does not say.
    pub fn history_of(&self, ordinal: usize) -> Option<&History> {
        self.history.iter().filter(|step| !step.empty_layer).nth(ordinal)
    }
}

/// The keys of an object whose values mean nothing; null is empty.
fn keys<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let map = Option::<BTreeMap<String, IgnoredAny>>::deserialize(d)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}
