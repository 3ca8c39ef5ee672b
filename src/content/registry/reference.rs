use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The longest repository name, in bytes (OCI distribution specification, "Pulling manifests").
const MAX_REPOSITORY: usize = 255;
/// The longest tag, in bytes.
const MAX_TAG: usize = 128;

/// Names an image in a registry: `HOST/REPOSITORY[:TAG][@DIGEST]`.
///
/// As docker has it, a first component without a dot or colon is no host: `debian` is
/// `docker.io/library/debian`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no [`Reference`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    /// The host is none.
    #[error("reference {0:?} has no valid registry host")]
    BadHost(String),
    /// The repository has characters that the specification does not allow.
    #[error(
        "reference {0:?} has no valid repository: lower-case letters, digits, and single . _ - / \
         between them"
    )]
    BadRepository(String),
    /// The tag has characters that the specification does not allow.
    #[error("reference {0:?} has no valid tag")]
    BadTag(String),
    /// What follows the `@` is no digest.
    #[error("reference {text:?}: {source}")]
    BadDigest {
        /// The text.
        text: String,
        /// What is wrong with the digest.
        source: crate::digest::ParseError,
    },
}

impl crate::error::Classify for ParseReferenceError {
    fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::InvalidArgument
    }
}

impl Reference {
    /// The host and port of the registry, as a user says it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository in it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` where there is neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some("latest"),
        }
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    ///
    /// [`ParseReferenceError::BadTag`].
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseReferenceError> {
        if !is_tag(tag) {
            return Err(ParseReferenceError::BadTag(tag.to_owned()));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository with a digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, ParseReferenceError> {
        let owned = || text.to_owned();
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = digest.parse();
                let bad = |source| ParseReferenceError::BadDigest { text: owned(), source };
                (rest, Some(digest.map_err(bad)?))
            }
        };
        let (host, rest) = split_host(rest);
        if !is_host(host) {
            return Err(ParseReferenceError::BadHost(owned()));
        }
        let (repository, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((repository, tag)) if is_tag(tag) => (repository, Some(tag.to_owned())),
            Some(_) => return Err(ParseReferenceError::BadTag(owned())),
        };
        if !is_repository(repository) {
            return Err(ParseReferenceError::BadRepository(owned()));
        }
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        let repository = match host == "docker.io" && !repository.contains('/') {
            true => format!("library/{repository}"),
            false => repository.to_owned(),
        };
        Ok(Self { host: host.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Takes the host off the front, if there is one.
fn split_host(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => ("docker.io", text),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        }
        Some(_) => return false,
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
fn is_repository(name: &str) -> bool {
    name.len() <= MAX_REPOSITORY && name.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = component.split(alphanumeric).filter(|s| !s.is_empty());
    let single = |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    component.starts_with(alphanumeric)
        && component.ends_with(alphanumeric)
        && separators.into_iter().all(single)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_taken_apart() {
        for (text, host, repository, tag) in [
            ("debian", "docker.io", "library/debian", Some("latest")),
            ("debian:12", "docker.io", "library/debian", Some("12")),
            ("user/app", "docker.io", "user/app", Some("latest")),
            ("index.docker.io/user/app", "docker.io", "user/app", Some("latest")),
            ("localhost/app:1", "localhost", "app", Some("1")),
            ("localhost:5000/a/b_c/d--e:v1.2-x", "localhost:5000", "a/b_c/d--e", Some("v1.2-x")),
            ("registry.example/app", "registry.example", "app", Some("latest")),
            ("[::1]:5000/app", "[::1]:5000", "app", Some("latest")),
            ("127.0.0.1:5000/app", "127.0.0.1:5000", "app", Some("latest")),
        ] {
            let r = parse(text);
            assert_eq!((r.host(), r.repository(), r.tag()), (host, repository, tag), "{text}");
        }
        let digest = Digest::sha256(b"x");
        let r = parse(&format!("h.example/a:t@{digest}"));
        assert_eq!((r.tag(), r.digest()), (Some("t"), Some(&digest)));
        assert_eq!(parse(&format!("h.example/a@{digest}")).tag(), None);
        assert_eq!(r.with_tag("u").unwrap().to_string(), "h.example/a:u");
        assert_eq!(r.with_digest(digest.clone()).to_string(), format!("h.example/a@{digest}"));
    }

    #[test]
    fn what_the_specification_does_not_allow_is_refused() {
        for text in [
            "",
            "/",
            "a//b",
            "Upper/case",
            "a b",
            "h.example/",
            "h.example/a:",
            "h.example/a:-x",
            "h.example/a__",
            "h.example/a._b",
            "h.example/a___b",
            "-h.example/a",
            "h..example/a",
            "h.example:x/a",
            "h.example:99999/a",
            "[::1/a",
            "[x]:5/a",
            "h.example/a@sha256:1",
            "h.example/a@md5:00",
            "h.example/../a",
            "h.example/a?b",
            "h.example/a#b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!(format!("h.example/{}", "a".repeat(256)).parse::<Reference>().is_err());
        assert!(format!("h.example/a:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_back_to_the_same(text in "[a-z0-9.:/@_\\[\\]-]{0,40}") {
            if let Ok(r) = text.parse::<Reference>() {
                proptest::prop_assert_eq!(parse(&r.to_string()), r);
            }
        }
    }
}
