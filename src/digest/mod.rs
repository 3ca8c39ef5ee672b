//! Content digests: of stored bytes, of uncompressed layers, of stacks of layers.
//!
//! Three types that never mix: [`Digest`] names stored bytes, [`DiffId`] an uncompressed layer,
//! [`ChainId`] a stack of applied layers (OCI image specification, `config.md`).

mod chain;
mod hasher;

pub use chain::{ChainId, DiffId, chain_ids};
pub use hasher::Hasher;

use std::fmt;
use std::str::FromStr;

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There is no `algorithm:` in front.
    #[error("digest {0:?} has no algorithm: expected sha256:HEX")]
    NoAlgorithm(String),
    /// The algorithm is not one that is checked here.
    #[error("digest algorithm {0:?} is not supported: only sha256 and sha512 are")]
    UnknownAlgorithm(String),
    /// The hex part has the wrong length or characters.
    #[error("digest {0:?} is not the lower-case hex of its algorithm")]
    BadHex(String),
}

impl crate::error::Classify for ParseError {
    fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::InvalidArgument
    }
}

/// A hash function of the registered algorithms of the OCI image specification (`descriptor.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The length of a digest in bytes.
    pub fn len(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }
}

/// The digest of stored bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: Box<[u8]>,
}

impl Digest {
    /// The SHA-256 of `data`.
    pub fn sha256(data: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(data);
        hasher.finish()
    }

    /// A digest from raw bytes; `None` where the length is not the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.len()).then(|| Self { algorithm, bytes: bytes.into() })
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw hash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lower-case hex of the hash, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(&self.bytes)
    }

    /// The first twelve hex digits, for logs and tables.
    pub fn short(&self) -> String {
        hex::encode(&self.bytes[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(s: &str) -> Result<Self, ParseError> {
        let (name, digits) =
            s.split_once(':').ok_or_else(|| ParseError::NoAlgorithm(s.to_owned()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(ParseError::UnknownAlgorithm(other.to_owned())),
        };
        let bad = || ParseError::BadHex(s.to_owned());
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad());
        }
        let bytes = hex::decode(digits).map_err(|_| bad())?;
        Self::from_bytes(algorithm, &bytes).ok_or_else(bad)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = <std::borrow::Cow<'_, str>>::deserialize(d)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_round_trips_through_text() {
        let d = Digest::sha256(b"");
        let s = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(d.to_string(), s);
        assert_eq!(s.parse::<Digest>().unwrap(), d);
    }

    #[test]
    fn odd_digests_are_refused() {
        for s in ["", "sha256", "sha256:", "sha256:zz", "md5:00", "sha256:E3B0", "sha256:../../x"] {
            assert!(s.parse::<Digest>().is_err(), "{s}");
        }
    }
}
