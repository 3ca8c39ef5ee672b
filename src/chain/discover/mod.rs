//! How a layer without an index of our own can be read lazily all the same.
//!
//! # Order
//!
//! 1. what the user named by its digest: a layer index or a SOCI index;
//! 2. the table of contents in the blob: eStargz, zstd:chunked, by the annotations of the layer's
//!    descriptor and then by the blob's footer, which may say that it is in another image;
//! 3. a SOCI index that the image's manifest names (its version 2);
//! 4. only where the user trusts whatever is there: our layer index and SOCI's version 1, found as
//!    referrers of the manifest;
//! 5. then tables of contents in blobs that no annotation vouches for: each blob is asked for its end.
//!
//! Where none of these can be used, the whole blob is passed over once.
//!
//! # Trust
//!
//! What is believed of a layer must hang on a digest that is known to be right: of the manifest by
//! its annotations, or one that the user gave. From there each format vouches for what it says:
//!
//! | format | names, modes, owners | content |
//! |---|---|---|
//! | eStargz, zstd:chunked | the digest of the table of contents | its SHA-256 of each chunk |
//! | SOCI | the digest of the zTOC | its SHA-256 of each compressed span |
//! | layer index | the digest of the artifact | its BLAKE3 of each span |
//!
//! None of them proves that the layer has the diffID of the image's configuration: nobody has read
//! all of it. Whoever made the manifest vouches for both, and says so by two digests that only a
//! pass over the layer could compare. Therefore no file that is derived from such a reading goes by
//! diffID or chain ID alone: its name also has what the reading hangs on. An image whose
//! configuration lies about a layer shows that lie itself, and no other image does.
//!
//! A table of contents that is wrong in any way is refused as a whole, with the reason; what was
//! fetched for it is of no further use.

mod beside;
mod error;
mod external;
mod in_blob;
mod known;
mod refusals;

pub use beside::SOCI_INDEX_DIGEST;
pub use error::Refused;
pub(super) use known::Known;

use std::sync::{Arc, OnceLock};

use crate::compress::StartTrace;
use crate::content::Provider;
use crate::digest::Digest;
use crate::image::{self, Image};
use crate::io::ReadAt;
use crate::layer::lazy::Lazy;
use crate::layer::{Identity, LayerIndex, Origin};

use super::Trust;
use beside::Beside;
pub(super) use error::Reason;

/// Whether `layer` has a table of contents that the image vouches for, by what its descriptor says.
pub(super) fn brings_its_own(layer: &image::Layer) -> bool {
    !in_blob::vouched_origins(layer).is_empty()
}

/// Why a reading is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Via {
    /// The layer's descriptor has the digest among its annotations.
    Layer,
    /// The manifest of that digest says it.
    Document(Digest),
    /// Nothing but the user's word.
    Nothing,
}

/// A layer that can be read lazily.
pub(super) struct Found {
    pub(super) index: LayerIndex,
    pub(super) via: Via,
    /// What a start of the image is known to read.
    pub(super) trace: Option<StartTrace>,
}

/// The search for readings of the layers of one image. What is beside the image is fetched once.
pub(super) struct Discovery<'a> {
    provider: &'a Arc<dyn Provider>,
    image: &'a Image,
    trust: &'a Trust,
    /// Whether to look for what cannot be used too, to say why.
    explain: bool,
    beside: OnceLock<Beside>,
}

impl<'a> Discovery<'a> {
    pub(super) fn new(
        provider: &'a Arc<dyn Provider>,
        image: &'a Image,
        trust: &'a Trust,
        explain: bool,
    ) -> Self {
        Self { provider, image, trust, explain, beside: OnceLock::new() }
    }

    /// A way to read `layer`, and what was refused on the way.
    pub(super) fn layer(&self, layer: &image::Layer) -> (Option<Found>, Vec<Refused>) {
        let mut refused = Vec::new();
        let beside = self
            .beside
            .get_or_init(|| Beside::find(self.provider, self.image, self.trust, self.explain));
        refused.extend(beside.refused().cloned());
        let format = in_blob::guess(layer);
        let is_promised = format.is_some();
        // Without a promise, each blob would have to be asked: that is left for the end.
        let may_ask = !is_promised && (self.trust.is_any() || self.explain);
        let found = beside
            .named(self.provider, layer, &mut refused)
            .or_else(|| is_promised.then(|| self.in_blob(layer, format, &mut refused))?)
            .or_else(|| beside.others(self.provider, layer, &mut refused))
            .or_else(|| may_ask.then(|| self.in_blob(layer, format, &mut refused))?);
        (found, refused)
    }

    fn in_blob(
        &self,
        layer: &image::Layer,
        format: Option<&'static str>,
        refused: &mut Vec<Refused>,
    ) -> Option<Found> {
        let blob = match self.provider.open(&layer.descriptor) {
            Ok(blob) => blob,
            Err(e) => {
                // Without a format it is for whoever reads all of the blob to complain.
                refused.extend(format.map(|format| Refused::new(format, &Reason::from(e))));
                return None;
            }
        };
        match in_blob::read(self.provider, &*blob, layer, self.trust.is_any()) {
            Ok(None) => None,
            Ok(Some((lazy, origin, via))) => Some(found(layer, lazy, origin, via)),
            Err((format, reason)) => {
                refused.push(Refused::new(format, &reason));
                None
            }
        }
    }
}

/// What `lazy` says of `layer`, as an index.
fn found(layer: &image::Layer, lazy: Lazy, origin: Origin, via: Via) -> Found {
    let trace = lazy.prefetch.map(|end| StartTrace::before(&lazy.table, end));
    let identity = Identity {
        digest: layer.descriptor.digest.clone(),
        diff_id: layer.diff_id.clone(),
        media_type: layer.descriptor.media_type.clone(),
        origin,
    };
    let Lazy { toc, table, windows, .. } = lazy;
    let index = LayerIndex { identity, toc, table, windows, apart: None };
    Found { index, via, trace }
}

/// The `len` bytes of `blob` from `offset`, which must lie inside.
fn range(blob: &dyn ReadAt, offset: u64, len: u64) -> Result<Vec<u8>, Reason> {
    let is_inside = offset.checked_add(len).is_some_and(|end| end <= blob.size());
    let len = usize::try_from(len).ok().filter(|_| is_inside).ok_or(Reason::Outside)?;
    let mut bytes = vec![0; len];
    blob.read_exact_at(&mut bytes, offset).map_err(Reason::Read)?;
    Ok(bytes)
}
