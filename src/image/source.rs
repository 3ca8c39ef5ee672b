use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::content::registry::{ParseReferenceError, Reference};
use crate::digest::Digest;

/// Where an image is, as a user writes it.
///
/// ```text
/// oci:DIR[:TAG|@DIGEST]
/// oci-archive:FILE[:TAG|@DIGEST]
/// docker-archive:FILE[:TAG|@IMAGE-ID]
/// docker://[HOST/]REPOSITORY[:TAG][@DIGEST]
/// ```
///
/// The path ends at the first colon, so a path with a colon in it cannot be written; a tag may
/// hold colons and slashes, as in `docker-archive:img.tar:registry.example/app:1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An OCI image layout folder.
    Oci {
        /// The folder.
        path: PathBuf,
        /// Which image of it.
        select: Selector,
    },
    /// An OCI image layout in a tar archive.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it.
        select: Selector,
    },
    /// What `docker save` writes.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it.
        select: Selector,
    },
    /// A registry.
    Registry(Reference),
}

/// Which image of a store is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The only one.
    Only,
    /// The one of this name.
    Name(String),
    /// The one of this digest.
    Digest(Digest),
}

/// Why a text is no [`Source`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSourceError {
    /// It does not begin with a transport.
    #[error(
        "image {0:?} does not say where it is: expected oci:DIR, oci-archive:FILE, \
         docker-archive:FILE or docker://REFERENCE"
    )]
    NoTransport(String),
    /// There is nothing where the path should be.
    #[error("image {0:?} has no path")]
    NoPath(String),
    /// The tag is empty.
    #[error("image {0:?} ends in a colon: leave it out, or add a tag")]
    NoTag(String),
    /// What follows the `@` is no digest.
    #[error("image {text:?}: {source}")]
    BadDigest {
        /// The text.
        text: String,
        /// What is wrong with the digest.
        source: crate::digest::ParseError,
    },
    /// What follows `docker://` is no reference.
    #[error(transparent)]
    BadReference(#[from] ParseReferenceError),
}

impl crate::error::Classify for ParseSourceError {
    fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::InvalidArgument
    }
}

impl FromStr for Source {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, ParseSourceError> {
        let no_transport = || ParseSourceError::NoTransport(text.to_owned());
        let (transport, rest) = text.split_once(':').ok_or_else(no_transport)?;
        if let ("docker", Some(reference)) = (transport, rest.strip_prefix("//")) {
            return Ok(Source::Registry(reference.parse()?));
        }
        if !["oci", "oci-archive", "docker-archive"].contains(&transport) {
            return Err(no_transport());
        }
        let (path, select) = split(text, rest)?;
        if path.is_empty() {
            return Err(ParseSourceError::NoPath(text.to_owned()));
        }
        let path = PathBuf::from(path);
        Ok(match transport {
            "oci" => Source::Oci { path, select },
            "oci-archive" => Source::OciArchive { path, select },
            _ => Source::DockerArchive { path, select },
        })
    }
}

/// Takes path and selector apart.
fn split<'a>(text: &str, rest: &'a str) -> Result<(&'a str, Selector), ParseSourceError> {
    // A digest has a colon itself, so the @ in front of it is looked for first.
    if let Some((path, digest)) = rest.rsplit_once('@')
        && !path.contains(':')
        && ["sha256:", "sha512:"].iter().any(|algorithm| digest.starts_with(algorithm))
    {
        let digest = digest
            .parse()
            .map_err(|source| ParseSourceError::BadDigest { text: text.to_owned(), source })?;
        return Ok((path, Selector::Digest(digest)));
    }
    match rest.split_once(':') {
        None => Ok((rest, Selector::Only)),
        Some((_, "")) => Err(ParseSourceError::NoTag(text.to_owned())),
        Some((path, tag)) => Ok((path, Selector::Name(tag.to_owned()))),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, select) = match self {
            Source::Oci { path, select } => ("oci", path, select),
            Source::OciArchive { path, select } => ("oci-archive", path, select),
            Source::DockerArchive { path, select } => ("docker-archive", path, select),
            Source::Registry(reference) => return write!(f, "docker://{reference}"),
        };
        write!(f, "{transport}:{}", path.display())?;
        match select {
            Selector::Only => Ok(()),
            Selector::Name(name) => write!(f, ":{name}"),
            Selector::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_parses_and_prints_back() {
        let digest = Digest::sha256(b"x");
        let forms = [
            ("oci:dir", "dir", Selector::Only),
            ("oci:/a/b:v1", "/a/b", Selector::Name("v1".into())),
            (
                "oci-archive:x.tar:host:5000/a/b:1",
                "x.tar",
                Selector::Name("host:5000/a/b:1".into()),
            ),
            ("docker-archive:x.tar:debian:12", "x.tar", Selector::Name("debian:12".into())),
            ("oci:user@host", "user@host", Selector::Only),
            ("oci:user@host:tag", "user@host", Selector::Name("tag".into())),
            ("oci:d:name@x", "d", Selector::Name("name@x".into())),
        ];
        for (text, path, select) in forms {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            let (Source::Oci { path: p, select: s }
            | Source::OciArchive { path: p, select: s }
            | Source::DockerArchive { path: p, select: s }) = source
            else {
                panic!("{text} is {source:?}")
            };
            assert_eq!((p.to_str().unwrap(), s), (path, select), "{text}");
        }
        let text = format!("oci:dir@{digest}");
        let expected = Source::Oci { path: "dir".into(), select: Selector::Digest(digest) };
        assert_eq!(text.parse(), Ok(expected));
        let source: Source = "docker://localhost:5000/app:1".parse().unwrap();
        assert_eq!(source.to_string(), "docker://localhost:5000/app:1");
        assert!(matches!(source, Source::Registry(_)));
    }

    #[test]
    fn unclear_forms_are_refused_with_what_is_expected() {
        let error = |text: &str| text.parse::<Source>().unwrap_err().to_string();
        assert!(error("debian:12").contains("expected oci:DIR"));
        assert!(error("/some/dir").contains("expected oci:DIR"));
        assert!(error("oci:").contains("no path"));
        assert!(error("oci::tag").contains("no path"));
        assert!(error("oci:dir:").contains("ends in a colon"));
        assert!(error("oci:dir@sha256:12").contains("hex"));
        assert!(error("docker:app").contains("docker://"));
        assert!(error("docker://").contains("no valid repository"));
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_back_to_the_same(text in "(oci|oci-archive|docker-archive|docker|x):(//)?[a-z0-9/:@.]{0,20}") {
            if let Ok(source) = text.parse::<Source>() {
                proptest::prop_assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
            }
        }
    }
}
