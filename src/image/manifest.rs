use std::collections::BTreeMap;

use serde::Deserialize;

use crate::content::{Descriptor, null_is_default};

use super::document::{check_number, check_type, parse_object};
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
        let manifest: Self = parse_object("manifest", descriptor, &raw)?;
        check_number(descriptor, &manifest.layers, "layers", MAX_LAYERS)?;
        Ok(Self { raw, ..manifest })
    }

    /// What it leads to: its configuration, then its layers.
    pub fn children(&self) -> Vec<Descriptor> {
        std::iter::once(&self.config).chain(&self.layers).cloned().collect()
    }
}
