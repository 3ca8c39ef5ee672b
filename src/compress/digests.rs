//! What is computed of a blob's streams as a whole, compressed and uncompressed.

use crate::digest::{DiffId, Digest, Hasher};

use super::cutter::Segment;
use super::trailer::MemberSum;
use super::{Codec, DecodeError, ScanOptions};

/// The digests of the streams under way.
pub(super) struct Digests {
    codec: Codec,
    blob: Hasher,
    /// `None` where it would be the same as `blob`: plain bytes, same algorithm.
    diff: Option<Hasher>,
    /// Of the gzip member under way.
    member: MemberSum,
}

impl Digests {
    pub(super) fn new(codec: Codec, options: &ScanOptions) -> Self {
        let same = codec == Codec::Plain && options.blob_algorithm == options.diff_algorithm;
        Self {
            codec,
            blob: Hasher::new(options.blob_algorithm),
            diff: (!same).then(|| Hasher::new(options.diff_algorithm)),
            member: MemberSum::default(),
        }
    }

    /// Adds a segment.
    pub(super) fn take(&mut self, segment: &Segment) -> Result<(), DecodeError> {
        let blob_bytes = segment.blob_bytes(self.codec);
        match &mut self.diff {
            Some(diff) => diff.update_both(segment.output(), &mut self.blob, blob_bytes),
            None => self.blob.update(blob_bytes),
        }
        if self.codec == Codec::Gzip {
            self.check_members(segment)?;
        }
        Ok(())
    }

    /// Compares the members that end in `segment` with their trailers.
    fn check_members(&mut self, segment: &Segment) -> Result<(), DecodeError> {
        let mut start = 0;
        for (end, trailer) in &segment.ends {
            self.member.update(&segment.output()[start..*end]);
            self.member.end(*trailer)?;
            start = *end;
        }
        self.member.update(&segment.output()[start..]);
        Ok(())
    }

    /// The digest of the blob and of what it holds.
    pub(super) fn finish(self) -> (Digest, DiffId) {
        let blob = self.blob.finish();
        let diff = self.diff.map_or_else(|| blob.clone(), Hasher::finish);
        (blob, DiffId::new(diff))
    }
}
