use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, ParseError};

/// Something that is believed about layers though no digest of the image vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusted {
    /// Whatever the place that the image comes from has beside it: layer indexes and SOCI indexes
    /// that refer to the image, tables of contents that its manifest has no digest of.
    Any,
    /// The layer index or SOCI index whose manifest has this digest: all that it says hangs on it.
    Index(Digest),
}

impl FromStr for Trusted {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "any" { Ok(Trusted::Any) } else { Ok(Trusted::Index(text.parse()?)) }
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trusted::Any => f.write_str("any"),
            Trusted::Index(digest) => digest.fmt(f),
        }
    }
}

/// What is believed beyond what the digests of an image vouch for; nothing, if nobody says more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust(Vec<Trusted>);

impl Trust {
    /// Trust in all of `trusted`.
    pub fn new(trusted: Vec<Trusted>) -> Self {
        Self(trusted)
    }

    /// Whether anything at all is believed.
    pub fn is_any(&self) -> bool {
        self.0.contains(&Trusted::Any)
    }

    /// The indexes that are named by their digests.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter().filter_map(|trusted| match trusted {
            Trusted::Any => None,
            Trusted::Index(digest) => Some(digest),
        })
    }

    /// Whether the index of that digest is believed.
    pub fn covers(&self, index: &Digest) -> bool {
        self.is_any() || self.digests().any(|digest| digest == index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_trusted_is_any_or_a_digest() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let one = Trust::new(vec![a.to_string().parse().unwrap()]);
        assert!(one.covers(&a) && !one.covers(&b) && !one.is_any());
        let all = Trust::new(vec!["any".parse().unwrap()]);
        assert!(all.covers(&a) && all.is_any());
        assert!(!Trust::default().covers(&a));
        assert!("all".parse::<Trusted>().is_err());
        assert_eq!(Trusted::Any.to_string().parse(), Ok(Trusted::Any));
    }
}
