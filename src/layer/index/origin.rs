use std::fmt;

use crate::digest::{Digest, Hasher};

/// What goes into the names of files that depend on how foreign tables of contents are decoded:
/// to be changed whenever the same table of contents would be given another address space.
const DECODER_VERSION: u8 = 1;

/// Where a layer index comes from, and with it what is known to be right about it.
///
/// Only a pass over the whole blob tells its diffID. What every other origin says of a layer is as
/// trustworthy as the digest in it; who uses such an index has to know why that digest is right.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A pass over the whole blob, which checked blob digest and diffID.
    Scan,
    /// The table of contents of an eStargz layer, by the digest of its JSON.
    Estargz(Digest),
    /// That of a zstd:chunked layer, by the digest that vouches for it: of the compressed or the
    /// raw JSON.
    ZstdChunked(Digest),
    /// The zTOC of that digest.
    Soci(Digest),
    /// A layer index that was made elsewhere, by the digest of its file.
    LayerIndex(Digest),
}

impl Origin {
    /// The digest that all of the index hangs on; `None` for a pass over the blob, of which the
    /// blob's own is that digest.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Origin::Scan => None,
            Origin::Estargz(digest)
            | Origin::ZstdChunked(digest)
            | Origin::Soci(digest)
            | Origin::LayerIndex(digest) => Some(digest),
        }
    }

    /// What tells files that were derived from this reading of `blob` from those of others: hex, to
    /// be part of a file name. `None` for a pass over the blob, whose files go by the blob alone.
    pub fn tag(&self, blob: &Digest) -> Option<String> {
        let digest = self.digest()?;
        let mut hasher = Hasher::new(crate::digest::Algorithm::Sha256);
        hasher.update(&[DECODER_VERSION, self.code()]);
        hasher.update(digest.to_string().as_bytes());
        hasher.update(b" ");
        hasher.update(blob.to_string().as_bytes());
        Some(hasher.finish().hex())
    }

    /// What the kind is called.
    pub fn name(&self) -> &'static str {
        match self {
            Origin::Scan => "own index",
            Origin::Estargz(_) => "eStargz",
            Origin::ZstdChunked(_) => "zstd:chunked",
            Origin::Soci(_) => "SOCI",
            Origin::LayerIndex(_) => "layer index",
        }
    }

    /// The number of the kind in an index file.
    pub(super) fn code(&self) -> u8 {
        match self {
            Origin::Scan => 0,
            Origin::Estargz(_) => 1,
            Origin::ZstdChunked(_) => 2,
            Origin::Soci(_) => 3,
            Origin::LayerIndex(_) => 4,
        }
    }

    /// The origin of that number and digest.
    pub(super) fn from_code(code: u8, digest: Option<Digest>) -> Option<Self> {
        Some(match (code, digest) {
            (0, None) => Origin::Scan,
            (1, Some(digest)) => Origin::Estargz(digest),
            (2, Some(digest)) => Origin::ZstdChunked(digest),
            (3, Some(digest)) => Origin::Soci(digest),
            (4, Some(digest)) => Origin::LayerIndex(digest),
            _ => return None,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_different_readings_never_share_a_name() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let origins = [
            Origin::Estargz(a.clone()),
            Origin::Estargz(b.clone()),
            Origin::ZstdChunked(a.clone()),
            Origin::Soci(a.clone()),
            Origin::LayerIndex(a.clone()),
        ];
        let tags: std::collections::HashSet<_> = origins
            .iter()
            .flat_map(|origin| [origin.tag(&a), origin.tag(&b)])
            .map(Option::unwrap)
            .collect();
        assert_eq!(tags.len(), 10);
        assert_eq!(Origin::Scan.tag(&a), None);
    }
}
