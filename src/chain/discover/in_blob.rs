//! Tables of contents inside of blobs: eStargz and zstd:chunked.

use std::ops::Range;
use std::sync::Arc;

use crate::content::Provider;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::image;
use crate::io::ReadAt;
use crate::layer::Origin;
use crate::layer::lazy::estargz::{self, Footer};
use crate::layer::lazy::zstd_chunked::{self, Position, Vouched};
use crate::layer::lazy::{Lazy, LazyError, MAX_TOC_JSON};

use super::{Reason, Via, external, range};

/// What a layer in eStargz is called.
const ESTARGZ: &str = "eStargz";
/// What a layer in zstd:chunked is called.
const ZSTD_CHUNKED: &str = "zstd:chunked";

/// The least bytes that are read of the end of a blob: a table of contents of a small layer is among
/// them.
const TAIL_MIN: u64 = 64 << 10;
/// The most bytes that are read of the end of a blob before it is known what is there.
const TAIL_MAX: u64 = 1 << 20;
/// A table of contents has about this share of a blob.
const TAIL_DIVISOR: u64 = 64;

/// A way to read a layer, what it hangs on, and why that is believed.
pub(super) type Reading = (Lazy, Origin, Via);
/// The format that was refused, and why.
type Failed = (&'static str, Reason);

/// The format that the annotations of `layer` promise.
pub(super) fn guess(layer: &image::Layer) -> Option<&'static str> {
    let has = |key: &str| layer.descriptor.annotations.contains_key(key);
    if has(zstd_chunked::MANIFEST_CHECKSUM) || has(zstd_chunked::STARGZ_MANIFEST_CHECKSUM) {
        return Some(ZSTD_CHUNKED);
    }
    has(estargz::TOC_DIGEST).then_some(ESTARGZ)
}

/// The origins that the annotations of `layer` vouch for, without a look at the blob.
pub(super) fn vouched_origins(layer: &image::Layer) -> Vec<Origin> {
    let annotations = &layer.descriptor.annotations;
    let digest = |key: &str| annotations.get(key).and_then(|text| text.parse::<Digest>().ok());
    let checksums = [zstd_chunked::MANIFEST_CHECKSUM, zstd_chunked::STARGZ_MANIFEST_CHECKSUM];
    let mut origins: Vec<_> =
        checksums.into_iter().filter_map(digest).map(Origin::ZstdChunked).collect();
    if let Some(toc) = digest(estargz::TOC_DIGEST) {
        origins.extend([Origin::Estargz(toc.clone()), Origin::ZstdChunked(toc)]);
    }
    origins
}

/// The reading that the table of contents in `blob` gives; `None` where it has none. One that nothing
/// vouches for is used only if `trusted`.
pub(super) fn read(
    provider: &Arc<dyn Provider>,
    blob: &dyn ReadAt,
    layer: &image::Layer,
    trusted: bool,
) -> Result<Option<Reading>, Failed> {
    let annotations = &layer.descriptor.annotations;
    let size = blob.size();
    let of_zstd = |e: Reason| (ZSTD_CHUNKED, e);
    let placed = Position::from_annotations(annotations, size);
    if let Some((position, checksum)) = placed.map_err(|e| of_zstd(e.into()))? {
        let vouched = Vouched::Compressed(&checksum);
        let lazy = zstd(blob, &position, vouched).map_err(of_zstd)?;
        return Ok(Some((lazy, Origin::ZstdChunked(checksum.clone()), Via::Layer)));
    }
    let promised = annotations.get(estargz::TOC_DIGEST);
    let tail = tail(blob).map_err(|e| (guess(layer).unwrap_or(ESTARGZ), e))?;
    let toc = promised.map(|text| text.parse()).transpose();
    let toc = toc.map_err(|_| (ESTARGZ, LazyError::Annotation(estargz::TOC_DIGEST).into()))?;
    let trust = Terms { promised: toc.as_ref(), trusted };
    match Footer::parse(&tail, size) {
        Err(e) => return Err((ESTARGZ, e.into())),
        Ok(Some(Footer::Toc { offset, end })) => {
            let reading = stargz(blob, &tail, offset..end, trust);
            return reading.map(Some).map_err(|e| (ESTARGZ, e));
        }
        Ok(Some(Footer::External)) => {
            let reading = external::read(provider, layer, trust);
            return reading.map(Some).map_err(|e| (ESTARGZ, e));
        }
        Ok(None) => {}
    }
    match Position::from_footer(&tail, size) {
        Err(e) => Err(of_zstd(e.into())),
        Ok(Some(position)) => chunked(blob, &position, trust).map(Some).map_err(of_zstd),
        Ok(None) if promised.is_some() => Err((ESTARGZ, LazyError::Footer.into())),
        Ok(None) => Ok(None),
    }
}

/// What makes a table of contents usable.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The digest of its JSON by the image.
    pub(super) promised: Option<&'a Digest>,
    /// Whether any is believed.
    trusted: bool,
}

impl Terms<'_> {
    /// Why something found by a footer alone is believed.
    pub(super) fn via(&self) -> Result<Via, LazyError> {
        match (self.promised, self.trusted) {
            (Some(_), _) => Ok(Via::Layer),
            (None, true) => Ok(Via::Nothing),
            (None, false) => Err(LazyError::NotVouched),
        }
    }
}

fn tail(blob: &dyn ReadAt) -> Result<Vec<u8>, Reason> {
    let len = (blob.size() / TAIL_DIVISOR).clamp(TAIL_MIN, TAIL_MAX).min(blob.size());
    range(blob, blob.size() - len, len)
}

fn stargz(
    blob: &dyn ReadAt,
    tail: &[u8],
    place: Range<u64>,
    terms: Terms<'_>,
) -> Result<Reading, Reason> {
    let Range { start: offset, end } = place;
    let via = terms.via()?;
    let len = end.saturating_sub(offset);
    if len > MAX_TOC_JSON {
        return Err(LazyError::TooLarge(len).into());
    }
    let start = blob.size() - tail.len() as u64;
    let read;
    let member = match offset.checked_sub(start).and_then(|at| usize::try_from(at).ok()) {
        Some(at) => &tail[at..tail.len() - usize::try_from(blob.size() - end).unwrap_or(0)],
        None => {
            let missing = range(blob, offset, start.min(end) - offset)?;
            let rest = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
            read = [&missing, &tail[..rest]].concat();
            &read
        }
    };
    let json = estargz::toc_json(member, terms.promised)?;
    let digest = terms.promised.cloned().unwrap_or_else(|| sha256(&json));
    let lazy = estargz::decode(&json, blob.size(), offset)?;
    Ok((lazy, Origin::Estargz(digest), via))
}

/// zstd:chunked whose table of contents was found by the footer.
fn chunked(blob: &dyn ReadAt, position: &Position, terms: Terms<'_>) -> Result<Reading, Reason> {
    let via = terms.via()?;
    if let Some(promised) = terms.promised {
        let lazy = zstd(blob, position, Vouched::Raw(promised))?;
        return Ok((lazy, Origin::ZstdChunked(promised.clone()), via));
    }
    let frame = frame(blob, position)?;
    let digest = sha256(&frame);
    let json = zstd_chunked::toc_json(&frame, position, Vouched::Compressed(&digest))?;
    let lazy = zstd_chunked::decode(&json, blob.size(), position.payload_end())?;
    Ok((lazy, Origin::ZstdChunked(digest), via))
}

fn zstd(blob: &dyn ReadAt, position: &Position, vouched: Vouched<'_>) -> Result<Lazy, Reason> {
    let json = zstd_chunked::toc_json(&frame(blob, position)?, position, vouched)?;
    Ok(zstd_chunked::decode(&json, blob.size(), position.payload_end())?)
}

fn frame(blob: &dyn ReadAt, position: &Position) -> Result<Vec<u8>, Reason> {
    if position.len > MAX_TOC_JSON {
        return Err(LazyError::TooLarge(position.len).into());
    }
    range(blob, position.offset, position.len)
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}
