//! Readings of a layer that were found before, so that the next start asks nobody: a file
//! `index/<blob>.found` beside the indexes. Only what annotations do not tell is in it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compress::StartTrace;
use crate::digest::Digest;
use crate::image::{self, Image};
use crate::io::AtomicFile;
use crate::layer::Origin;

use super::super::Trust;
use super::beside::SOCI_INDEX_DIGEST;
use super::{Via, in_blob};

/// The most readings that are remembered of a layer; the oldest are forgotten.
const MAX_READINGS: usize = 16;

/// One reading: what it hangs on, and the document that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reading {
    format: Format,
    digest: Digest,
    /// The manifest of the index that it is in; `None` for what nothing but trust vouches for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    Estargz,
    ZstdChunked,
    Soci,
    LayerIndex,
}

impl Format {
    /// The format of `origin` and what it hangs on; `None` for a pass over the layer.
    pub(super) fn of(origin: &Origin) -> Option<(Self, &Digest)> {
        Some(match origin {
            Origin::Scan => return None,
            Origin::Estargz(digest) => (Format::Estargz, digest),
            Origin::ZstdChunked(digest) => (Format::ZstdChunked, digest),
            Origin::Soci(digest) => (Format::Soci, digest),
            Origin::LayerIndex(digest) => (Format::LayerIndex, digest),
        })
    }

    pub(super) fn origin(self, digest: Digest) -> Origin {
        match self {
            Format::Estargz => Origin::Estargz(digest),
            Format::ZstdChunked => Origin::ZstdChunked(digest),
            Format::Soci => Origin::Soci(digest),
            Format::LayerIndex => Origin::LayerIndex(digest),
        }
    }
}

impl Reading {
    fn origin(&self) -> Origin {
        self.format.origin(self.digest.clone())
    }
}

/// The readings that are known of the layers of one state root.
#[derive(Debug, Clone)]
pub(in crate::chain) struct Known {
    pub(super) dir: PathBuf,
}

impl Known {
    /// Those in the folder `dir` of indexes.
    pub(in crate::chain) fn in_folder(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn path(&self, blob: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.found", blob.algorithm().name(), blob.hex()))
    }

    /// The origins that may be used for `layer` of `image`, the best first, whether there are
    /// indexes of them or not. What annotations vouch for needs no memory.
    pub(in crate::chain) fn origins(
        &self,
        image: &Image,
        layer: &image::Layer,
        trust: &Trust,
    ) -> Vec<Origin> {
        let vouched = image.manifest.annotations.get(SOCI_INDEX_DIGEST);
        let may_be_used = |reading: &&Reading| match &reading.via {
            Some(via) => trust.covers(via) || vouched.is_some_and(|d| *d == via.to_string()),
            None => trust.is_any(),
        };
        let readings = self.load(&layer.descriptor.digest);
        let known = readings.iter().rev().filter(may_be_used).map(Reading::origin);
        let (named, others): (Vec<_>, Vec<_>) =
            known.partition(|origin| matches!(origin, Origin::LayerIndex(_)));
        [named, in_blob::vouched_origins(layer), others].concat()
    }

    /// Remembers a reading of the blob `blob`.
    pub(in crate::chain) fn remember(
        &self,
        blob: &Digest,
        origin: &Origin,
        via: &Via,
    ) -> io::Result<()> {
        let Some((format, digest)) = Format::of(origin) else { return Ok(()) };
        let via = match via {
            Via::Layer => return Ok(()),
            Via::Document(digest) => Some(digest.clone()),
            Via::Nothing => None,
        };
        let reading = Reading { format, digest: digest.clone(), via };
        let mut readings = self.load(blob);
        readings.retain(|known| *known != reading);
        readings.push(reading);
        let excess = readings.len().saturating_sub(MAX_READINGS);
        readings.drain(..excess);
        let mut file = AtomicFile::create(&self.path(blob))?;
        file.file().write_all(&serde_json::to_vec(&readings)?)?;
        file.commit()
    }

    /// Keeps what a start is known to read of the blob `blob`, unless a start was recorded here.
    pub(in crate::chain) fn keep_trace(&self, blob: &Digest, trace: &StartTrace) -> io::Result<()> {
        let path = self.path(blob).with_extension("trace");
        if path.exists() {
            return Ok(());
        }
        let mut file = AtomicFile::create(&path)?;
        file.file().write_all(&trace.encode())?;
        file.commit()
    }

    /// What is known of `blob`; nothing where the file is damaged.
    fn load(&self, blob: &Digest) -> Vec<Reading> {
        let bytes = fs::read(self.path(blob)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }
}
