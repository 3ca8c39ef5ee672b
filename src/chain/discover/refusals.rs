//! Formats that turned out to be wrong when content was read: a file `index/<blob>.refused` beside
//! the indexes, so that no start tries them again, and `inspect` says why.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::io::AtomicFile;
use crate::layer::Origin;

use super::Refused;
use super::known::{Format, Known};

/// The most formats that are remembered of a layer; the oldest are forgotten.
const MAX_REFUSALS: usize = 16;
/// The most bytes of a reason that are kept.
const MAX_REASON: usize = 1024;

/// A format, what it hangs on, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Refusal {
    format: Format,
    digest: Digest,
    reason: String,
}

impl Known {
    /// Remembers that what `origin` says of the blob `blob` is wrong.
    pub(in crate::chain) fn refuse(
        &self,
        blob: &Digest,
        origin: &Origin,
        reason: &str,
    ) -> io::Result<()> {
        let Some((format, digest)) = Format::of(origin) else { return Ok(()) };
        let reason = reason.chars().take(MAX_REASON).collect();
        let mut refusals = self.refusals(blob);
        refusals.retain(|known| (known.format, &known.digest) != (format, digest));
        refusals.push(Refusal { format, digest: digest.clone(), reason });
        let excess = refusals.len().saturating_sub(MAX_REFUSALS);
        refusals.drain(..excess);
        let mut file = AtomicFile::create(&self.refusals_path(blob))?;
        file.file().write_all(&serde_json::to_vec(&refusals)?)?;
        file.commit()
    }

    /// Whether what `origin` says of the blob `blob` was wrong before.
    pub(in crate::chain) fn is_refused(&self, blob: &Digest, origin: &Origin) -> bool {
        let Some(wanted) = Format::of(origin) else { return false };
        self.refusals(blob).iter().any(|known| (known.format, &known.digest) == wanted)
    }

    /// What was wrong of the blob `blob`.
    pub(in crate::chain) fn refused(&self, blob: &Digest) -> Vec<Refused> {
        let said = |refusal: Refusal| {
            let origin = refusal.format.origin(refusal.digest);
            Refused::found_out(origin.name(), refusal.reason)
        };
        self.refusals(blob).into_iter().map(said).collect()
    }

    /// Nothing where the file is damaged: what is wrong will turn out again.
    fn refusals(&self, blob: &Digest) -> Vec<Refusal> {
        let bytes = fs::read(self.refusals_path(blob)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn refusals_path(&self, blob: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.refused", blob.algorithm().name(), blob.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrong_of_a_blob_is_remembered_by_what_it_hangs_on() {
        let dir = tempfile::tempdir().unwrap();
        let known = Known::in_folder(dir.path());
        let (blob, toc) = (Digest::sha256(b"blob"), Digest::sha256(b"toc"));
        let origin = Origin::Estargz(toc.clone());
        assert!(!known.is_refused(&blob, &origin));
        known.refuse(&blob, &origin, "a").unwrap();
        known.refuse(&blob, &origin, &"b".repeat(5000)).unwrap();
        assert!(known.is_refused(&blob, &origin));
        assert!(!known.is_refused(&toc, &origin));
        assert!(!known.is_refused(&blob, &Origin::Estargz(blob.clone())));
        assert!(!known.is_refused(&blob, &Origin::ZstdChunked(toc)));
        assert_eq!(known.refused(&blob), [Refused::found_out("eStargz", "b".repeat(1024))]);
        for n in 0..20 {
            known.refuse(&blob, &Origin::Soci(Digest::sha256(&[n])), "c").unwrap();
        }
        assert_eq!(known.refused(&blob).len(), MAX_REFUSALS);
        assert!(!known.is_refused(&blob, &origin), "the oldest is forgotten");
        fs::write(known.refusals_path(&blob), "[{").unwrap();
        assert_eq!(known.refused(&blob), []);
        known.refuse(&blob, &Origin::Scan, "never").unwrap();
        assert_eq!(known.refused(&blob), []);
    }
}
