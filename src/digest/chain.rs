use std::fmt;
use std::str::FromStr;

use super::{Digest, ParseError};

/// Wraps a [`Digest`] in a type of its own with the same text form.
macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// Says that `digest` is one of this kind.
            pub fn new(digest: Digest) -> Self {
                Self(digest)
            }

            /// The plain digest.
            pub fn digest(&self) -> &Digest {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(s: &str) -> Result<Self, ParseError> {
                s.parse().map(Self)
            }
        }
    };
}

digest_type! {
    /// The digest of an uncompressed layer tar.
    DiffId
}

digest_type! {
    /// The digest of a stack of applied layers (OCI image specification, `config.md`, "Layer ChainID").
    ChainId
}

impl ChainId {
    /// The chain of `self` with the layer `next` on top.
    pub fn push(&self, next: &DiffId) -> Self {
        Self(Digest::sha256(format!("{self} {next}").as_bytes()))
    }
}

/// The chain ID of each prefix of `diff_ids`, bottom layer first.
pub fn chain_ids(diff_ids: &[DiffId]) -> Vec<ChainId> {
    let mut chain: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => ChainId(diff_id.0.clone()),
            Some(below) => below.push(diff_id),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_match_the_reference_vector() {
        let diff_ids: Vec<DiffId> =
            [&b""[..], b"a", b"b"].map(|b| DiffId(Digest::sha256(b))).to_vec();
        let chain = chain_ids(&diff_ids);
        assert_eq!(chain[0].digest(), diff_ids[0].digest());
        assert_eq!(
            chain[1].to_string(),
            "sha256:54310b28337ccdbb5477f2808753d5b0e7c87d84187cee28a330a3e71f6c16fc"
        );
        assert_eq!(
            chain[2].to_string(),
            "sha256:6e249d38c8038b0aefaa44893301e44ac47d767db1cb1a6cf4f2993a680add77"
        );
        assert!(chain_ids(&[]).is_empty());
    }
}
