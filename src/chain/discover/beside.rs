//! Indexes beside an image: SOCI's, and our own.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compress::{SpanDigest, StartTrace};
use crate::content::{Descriptor, Provider};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::image::{self, Image, Manifest};
use crate::layer::lazy::soci;
use crate::layer::{Bundle, LayerIndex, MAX_BUNDLE, Origin, WindowsApart};

use super::super::artifact::{ARTIFACT_TYPE, INDEXES, TRACES, WINDOWS};
use super::{Found, Reason, Refused, Via, found, range};

/// What an index of SOCI is called.
const SOCI: &str = "SOCI";
/// What our own is called.
const OURS: &str = "layer index";

/// The annotation of an image's manifest with the digest of its SOCI index.
pub const SOCI_INDEX_DIGEST: &str = "com.amazon.soci.index-digest";
/// The annotation of a zTOC's descriptor with the digest of its layer.
const SOCI_LAYER_DIGEST: &str = "com.amazon.soci.image-layer-digest";
/// What SOCI indexes have for a configuration: version 1 refers to its image, version 2 is named by
/// it.
const SOCI_TYPES: [&str; 2] =
    ["application/vnd.amazon.soci.index.v1+json", "application/vnd.amazon.soci.index.v2+json"];
/// The media type of a zTOC.
const ZTOC: &str = "application/octet-stream";
/// The longest zTOC that is fetched, in bytes: a layer of some 30 GiB at SOCI's usual spans.
const MAX_ZTOC: u64 = 256 << 20;
/// How many referrers are looked into.
const MAX_REFERRERS: usize = 16;

/// What is beside an image.
#[derive(Default)]
pub(super) struct Beside {
    /// The best first.
    documents: Vec<Document>,
    refused: Vec<Refused>,
}

/// The manifest of an index.
struct Document {
    digest: Digest,
    /// Whether the user named it, which goes before all else.
    is_named: bool,
    content: Content,
}

enum Content {
    /// The zTOC of each layer, by its blob.
    Soci(HashMap<Digest, Descriptor>),
    /// The indexes and the start-up traces of layers.
    Ours {
        indexes: Bundle,
        traces: Bundle,
        /// The blobs of windows.
        windows: Vec<Descriptor>,
    },
}

impl Beside {
    /// Fetches what is beside `image` and may be used; with `explain`, says what may not.
    pub(super) fn find(
        provider: &Arc<dyn Provider>,
        image: &Image,
        trust: &super::Trust,
        explain: bool,
    ) -> Self {
        let mut beside = Self::default();
        for digest in trust.digests() {
            beside.add(provider, digest, true);
        }
        let manifest = &image.manifest;
        let vouched = manifest.annotations.get(SOCI_INDEX_DIGEST).map(|text| text.parse());
        let vouched = match vouched {
            None => None,
            Some(Ok(digest)) => Some(digest),
            Some(Err(_)) => {
                let reason = crate::layer::lazy::LazyError::Annotation(SOCI_INDEX_DIGEST);
                beside.refused.push(Refused::new(SOCI, &reason.into()));
                None
            }
        };
        if trust.is_any() || explain {
            beside.add_referrers(provider, image, trust.is_any());
        }
        if let Some(digest) = vouched {
            beside.add(provider, &digest, false);
        }
        beside
    }

    /// What was refused as a whole.
    pub(super) fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.refused.iter()
    }

    /// A reading of `layer` by what the user named.
    pub(super) fn named(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
        refused: &mut Vec<Refused>,
    ) -> Option<Found> {
        self.read(provider, layer, true, refused)
    }

    /// A reading of `layer` by what else there is.
    pub(super) fn others(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
        refused: &mut Vec<Refused>,
    ) -> Option<Found> {
        self.read(provider, layer, false, refused)
    }

    fn read(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
        is_named: bool,
        refused: &mut Vec<Refused>,
    ) -> Option<Found> {
        for document in self.documents.iter().filter(|document| document.is_named == is_named) {
            match document.read(provider, layer) {
                Ok(None) => {}
                Ok(found) => return found,
                Err((format, reason)) => refused.push(Refused::new(format, &reason)),
            }
        }
        None
    }

    fn add_referrers(&mut self, provider: &Arc<dyn Provider>, image: &Image, trusted: bool) {
        let listed = match provider.referrers(&image.descriptor.digest, None) {
            Ok(listed) => listed,
            Err(e) => return self.refused.push(Refused::new("referrers", &e.into())),
        };
        for wanted in [ARTIFACT_TYPE, SOCI_TYPES[0]] {
            // What was pushed last is at the end.
            let of_type = |d: &&Descriptor| d.artifact_type.as_deref() == Some(wanted);
            for referrer in listed.iter().rev().filter(of_type).take(MAX_REFERRERS) {
                if trusted {
                    self.add(provider, &referrer.digest, false);
                } else {
                    let format = if wanted == ARTIFACT_TYPE { OURS } else { SOCI };
                    let reason = Reason::Untrusted(referrer.digest.clone());
                    self.refused.push(Refused::new(format, &reason));
                }
            }
        }
    }

    fn add(&mut self, provider: &Arc<dyn Provider>, digest: &Digest, is_named: bool) {
        if self.documents.iter().any(|document| document.digest == *digest) {
            return;
        }
        match Content::fetch(provider, digest) {
            Ok(content) => {
                self.documents.push(Document { digest: digest.clone(), is_named, content });
            }
            Err((format, reason)) => self.refused.push(Refused::new(format, &reason)),
        }
    }
}

/// The format that was refused, and why.
type Failed = (&'static str, Reason);

impl Content {
    fn fetch(provider: &Arc<dyn Provider>, digest: &Digest) -> Result<Self, Failed> {
        let unknown = |e: Reason| ("index", e);
        let (descriptor, data) = provider.find_document(digest).map_err(|e| unknown(e.into()))?;
        let manifest = Manifest::parse(&descriptor, data).map_err(|e| unknown(e.into()))?;
        let config = manifest.config.media_type.as_str();
        if SOCI_TYPES.contains(&config) {
            return Ok(Content::Soci(ztocs(&manifest)));
        }
        if manifest.artifact_type.as_deref() != Some(ARTIFACT_TYPE) {
            return Err(unknown(Reason::NotAnIndex(digest.clone())));
        }
        let bundle = |media_type| bundle(provider, &manifest, media_type);
        let (indexes, traces) = std::thread::scope(|scope| {
            let traces = scope.spawn(|| bundle(TRACES));
            (bundle(INDEXES), traces.join())
        });
        let indexes = indexes.and_then(|b| b.ok_or(Reason::Missing("layer indexes")));
        let indexes = indexes.map_err(|e| (OURS, e))?;
        // Traces only make a start faster.
        let traces = traces.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let windows = manifest.layers.into_iter().filter(|d| d.media_type == WINDOWS).collect();
        Ok(Content::Ours { indexes, traces, windows })
    }
}

/// The zTOCs of a SOCI index by the layers that they are of.
fn ztocs(manifest: &Manifest) -> HashMap<Digest, Descriptor> {
    let of_layer = |descriptor: &Descriptor| {
        let layer = descriptor.annotations.get(SOCI_LAYER_DIGEST)?.parse().ok()?;
        (descriptor.media_type == ZTOC).then(|| (layer, descriptor.clone()))
    };
    manifest.layers.iter().filter_map(of_layer).collect()
}

/// The bundle of that media type; `None` where the artifact has none.
fn bundle(
    provider: &Arc<dyn Provider>,
    manifest: &Manifest,
    media_type: &str,
) -> Result<Option<Bundle>, Reason> {
    let Some(descriptor) = manifest.layers.iter().find(|d| d.media_type == media_type) else {
        return Ok(None);
    };
    Ok(Some(Bundle::decode(&part(provider, descriptor, MAX_BUNDLE)?)?))
}

/// The content of `descriptor`, checked.
pub(super) fn part(
    provider: &Arc<dyn Provider>,
    descriptor: &Descriptor,
    limit: u64,
) -> Result<Vec<u8>, Reason> {
    let (digest, size) = (descriptor.digest.clone(), descriptor.size);
    if size > limit {
        return Err(Reason::TooLarge { digest, size, limit });
    }
    // By one request: what is small is there sooner than in pieces.
    let blob = provider.open(descriptor)?;
    let bytes = range(&*blob, 0, size)?;
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    let found = hasher.finish();
    if found != digest {
        return Err(Reason::Digest { expected: digest, found });
    }
    Ok(bytes)
}

impl Document {
    fn read(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
    ) -> Result<Option<Found>, Failed> {
        let blob = &layer.descriptor.digest;
        match &self.content {
            Content::Soci(ztocs) => match ztocs.get(blob) {
                Some(ztoc) => self.soci(provider, layer, ztoc).map(Some).map_err(|e| (SOCI, e)),
                None => Ok(None),
            },
            Content::Ours { indexes, traces, windows } => match indexes.part(blob) {
                Some(part) => {
                    let trace = traces.part(blob).and_then(|bytes| StartTrace::decode(bytes).ok());
                    self.ours(layer, part, windows, trace).map(Some).map_err(|e| (OURS, e))
                }
                None => Ok(None),
            },
        }
    }

    fn soci(
        &self,
        provider: &Arc<dyn Provider>,
        layer: &image::Layer,
        ztoc: &Descriptor,
    ) -> Result<Found, Reason> {
        let bytes = part(provider, ztoc, MAX_ZTOC)?;
        let lazy = soci::decode(&bytes, &ztoc.digest, layer.descriptor.size)?;
        let via = Via::Document(self.digest.clone());
        Ok(found(layer, lazy, Origin::Soci(ztoc.digest.clone()), via))
    }

    fn ours(
        &self,
        layer: &image::Layer,
        part: &[u8],
        windows: &[Descriptor],
        trace: Option<StartTrace>,
    ) -> Result<Found, Reason> {
        let mut index = LayerIndex::decode(part)?;
        check(&index, layer)?;
        let are_there = |apart: &WindowsApart| {
            let size = index.table.windows_size;
            windows.iter().any(|found| found.digest == apart.blob && found.size == size)
        };
        if !index.apart.as_ref().is_none_or(are_there) {
            return Err(Reason::Missing("windows of a layer"));
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(part);
        index.identity.origin = Origin::LayerIndex(hasher.finish());
        index.identity.media_type.clone_from(&layer.descriptor.media_type);
        Ok(Found { index, via: Via::Document(self.digest.clone()), trace })
    }
}

/// Whether `index` may be that of `layer`.
fn check(index: &LayerIndex, layer: &image::Layer) -> Result<(), Reason> {
    let identity = &index.identity;
    if identity.digest != layer.descriptor.digest || identity.origin != Origin::Scan {
        return Err(Reason::OtherLayer(identity.digest.clone()));
    }
    if identity.diff_id != layer.diff_id {
        let (expected, found) = (layer.diff_id.clone(), identity.diff_id.clone());
        return Err(Reason::DiffId { expected, found });
    }
    if index.table.blob_size != layer.descriptor.size {
        return Err(Reason::Size(index.table.blob_size));
    }
    // What is kept of a layer goes by the digests of its spans, which must say all of it.
    if index.table.span_digest != SpanDigest::Blake3 {
        return Err(Reason::Digests);
    }
    let mut extents = index.toc.inodes.iter().flat_map(|inode| &inode.extents);
    let is_inside =
        |offset: u64, len: u64| offset.checked_add(len).is_some_and(|end| end <= index.table.size);
    match extents.all(|extent| is_inside(extent.layer_offset, extent.len)) {
        true => Ok(()),
        false => Err(Reason::Extents),
    }
}
