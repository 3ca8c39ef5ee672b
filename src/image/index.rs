use std::collections::BTreeMap;

use serde::Deserialize;

use crate::content::{Descriptor, null_is_default};

use super::Error;
use super::document::{check_number, check_type, parse_object};

/// The most entries of an image index.
pub const MAX_ENTRIES: usize = 10_000;

/// An image index, or docker's manifest list (OCI image specification, `image-index.md`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// The bytes that were parsed.
    #[serde(skip)]
    pub raw: Vec<u8>,
    /// What is in it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
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

impl Index {
    /// Parses the bytes of the index that `descriptor` names.
    ///
    /// # Errors
    ///
    /// [`Error::Schema1`], [`Error::Confused`], [`Error::Broken`]; [`Error::TooMany`] beyond
    /// [`MAX_ENTRIES`].
    pub fn parse(descriptor: &Descriptor, raw: Vec<u8>) -> Result<Self, Error> {
        check_type(descriptor, &raw)?;
        let index: Self = parse_object("image index", descriptor, &raw)?;
        check_number(descriptor, &index.manifests, "entries", MAX_ENTRIES)?;
        Ok(Self { raw, ..index })
    }
}
