//! eStargz whose tables of contents are in an image of their own, under the tag of the image and a
//! suffix: a layer each, which names by an annotation the blob that it is about.
//!
//! Source: stargz-snapshotter, `docs/estargz.md`, "External TOC".

use std::sync::Arc;

use crate::content::{Descriptor, Provider};
use crate::image::{self, Manifest};
use crate::layer::Origin;
use crate::layer::lazy::{MAX_TOC_JSON, estargz};

use super::Reason;
use super::beside::part;
use super::in_blob::{Reading, Terms, sha256};

/// What follows the image's tag.
const SUFFIX: &str = "-esgztoc";
/// The annotation of a table of contents with the digest of the blob that it is about.
const LAYER_DIGEST: &str = "containerd.io/snapshot/stargz/layer.digest";

/// The reading of `layer` by the table of contents in the other image.
pub(super) fn read(
    provider: &Arc<dyn Provider>,
    layer: &image::Layer,
    terms: Terms<'_>,
) -> Result<Reading, Reason> {
    let via = terms.via()?;
    let toc = find(provider, layer)?;
    let member = part(provider, &toc, MAX_TOC_JSON)?;
    let json = estargz::toc_json(&member, terms.promised)?;
    let digest = terms.promised.cloned().unwrap_or_else(|| sha256(&json));
    let size = layer.descriptor.size;
    let lazy = estargz::decode(&json, size, size.saturating_sub(estargz::EXTERNAL_FOOTER_SIZE))?;
    Ok((lazy, Origin::Estargz(digest), via))
}

/// The blob that holds the table of contents of `layer`.
fn find(provider: &Arc<dyn Provider>, layer: &image::Layer) -> Result<Descriptor, Reason> {
    let (descriptor, data) = provider.find_by_suffix(SUFFIX)?.ok_or(Reason::External)?;
    let manifest = Manifest::parse(&descriptor, data)?;
    let blob = layer.descriptor.digest.to_string();
    let is_about = |toc: &&Descriptor| toc.annotations.get(LAYER_DIGEST) == Some(&blob);
    manifest.layers.iter().find(is_about).cloned().ok_or(Reason::External)
}
