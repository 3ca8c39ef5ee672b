use crate::compress::StartTrace;
use crate::digest::Digest;

use super::FormatError;
use super::wire::{Input, put, put_bytes};

/// The first bytes of a bundle.
const MAGIC: &[u8; 8] = b"STRATBND";
/// The version of the layout.
const VERSION: u64 = 1;
/// The longest bundle in bytes: what holds it is in memory.
pub const MAX_BUNDLE: u64 = 1 << 30;
/// The most layers of a bundle: as many as an image may have.
const MAX_LAYERS: u64 = 4096;

/// Something of several layers in one piece: their indexes, or their start-up traces.
///
/// ```text
/// magic "STRATBND"  version  number of layers
/// each layer: length and bytes of the blob's digest as text, length and bytes of the part
/// ```
///
/// Numbers are LEB128. The parts are what they are as files: index files compress their own sections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// The digest of a layer's blob, and its part.
    pub parts: Vec<(Digest, Vec<u8>)>,
}

impl Bundle {
    /// The bundle as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let len = self.parts.iter().map(|(_, part)| part.len() + 128).sum::<usize>();
        let mut out = Vec::with_capacity(len + 32);
        out.extend_from_slice(MAGIC);
        put(&mut out, VERSION);
        put(&mut out, self.parts.len() as u64);
        for (digest, part) in &self.parts {
            put_bytes(&mut out, digest.to_string().as_bytes());
            put_bytes(&mut out, part);
        }
        out
    }

    /// The bundle that `bytes` are.
    ///
    /// # Errors
    ///
    /// See [`FormatError`]; no more than 4,096 layers, and no digest that is none. The parts are not
    /// looked into.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() as u64 > MAX_BUNDLE {
            return Err(FormatError::TooLarge(bytes.len() as u64));
        }
        let mut input = Input(bytes.strip_prefix(MAGIC).ok_or(FormatError::Magic)?);
        let version = input.number()?;
        if version != VERSION {
            let version = u32::try_from(version).unwrap_or(u32::MAX);
            return Err(FormatError::Version(version));
        }
        let count = input.number()?;
        if count > MAX_LAYERS {
            return Err(FormatError::TooLarge(count));
        }
        let mut parts = Vec::new();
        for _ in 0..count {
            let digest = std::str::from_utf8(input.bytes()?).ok().and_then(|d| d.parse().ok());
            let digest = digest.ok_or(FormatError::Invalid("digest"))?;
            parts.push((digest, input.bytes()?.to_vec()));
        }
        input.end()?;
        Ok(Self { parts })
    }

    /// The part of the layer whose blob is `digest`.
    pub fn part(&self, digest: &Digest) -> Option<&[u8]> {
        self.parts.iter().find(|(of, _)| of == digest).map(|(_, part)| part.as_slice())
    }

    /// The bundle of the start-up traces of layers, by blob.
    pub fn of_traces<'a>(traces: impl IntoIterator<Item = (&'a Digest, &'a StartTrace)>) -> Self {
        let part = |(digest, trace): (&Digest, &StartTrace)| (digest.clone(), trace.encode());
        Self { parts: traces.into_iter().map(part).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_gives_back_its_parts_and_no_other_bytes_are_one() {
        let digest = Digest::sha256(b"layer");
        let bundle = Bundle {
            parts: vec![
                (digest.clone(), b"index".to_vec()),
                (Digest::sha256(b"other"), Vec::new()),
            ],
        };
        let bytes = bundle.encode();
        assert_eq!(Bundle::decode(&bytes).unwrap(), bundle);
        assert_eq!(bundle.part(&digest), Some(&b"index"[..]));
        assert_eq!(bundle.part(&Digest::sha256(b"third")), None);
        for len in 0..bytes.len() {
            assert!(Bundle::decode(&bytes[..len]).is_err(), "{len}");
        }
        assert_eq!(Bundle::decode(&[&bytes[..], b"x"].concat()), Err(FormatError::Trailing));
        let huge = [&MAGIC[..], &[1, 0xff, 0xff, 0xff, 0x7f]].concat();
        assert!(matches!(Bundle::decode(&huge), Err(FormatError::TooLarge(_))));
    }
}
