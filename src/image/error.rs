use crate::content;
use crate::digest::Digest;
use crate::error::{Classify, Kind};

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give what was asked of it.
    #[error(transparent)]
    Content(#[from] content::Error),
    /// The store has no image of that name.
    #[error("{store} has no image {wanted}; it has {}", list(.offered))]
    NoSuchName {
        /// The store.
        store: String,
        /// The tag or digest that was asked for.
        wanted: String,
        /// What there is instead.
        offered: Vec<String>,
    },
    /// More than one image fits what was asked for.
    #[error("{store} has several images that fit, name one of {}", list(.offered))]
    Ambiguous {
        /// The store.
        store: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// A document cannot be parsed.
    #[error("{what} {digest} is broken: {reason}")]
    Broken {
        /// What it should be.
        what: &'static str,
        /// The document.
        digest: Digest,
        /// What the parser says.
        reason: String,
    },
    /// A document is of another type than its descriptor says.
    #[error("{digest} should be {expected} but {reason}")]
    Confused {
        /// The document.
        digest: Digest,
        /// The type that its descriptor says.
        expected: String,
        /// What gives it away.
        reason: String,
    },
    /// The image is in docker's first manifest format.
    #[error(
        "{digest} is a docker schema 1 manifest, which has no layer digests that can be trusted: \
         pull and push the image again with a current tool to convert it"
    )]
    Schema1 {
        /// The manifest.
        digest: Digest,
    },
    /// The index has nothing for the platform.
    #[error("{digest} has no image for {wanted}; it has {}", list(.offered))]
    NoPlatform {
        /// The index or manifest.
        digest: Digest,
        /// The platform that was asked for.
        wanted: String,
        /// The platforms there are.
        offered: Vec<String>,
    },
    /// The descriptor leads to no container image.
    #[error("{digest} is no container image: {reason}")]
    NotAnImage {
        /// The manifest or index.
        digest: Digest,
        /// What it is.
        reason: String,
    },
    /// A layer is of a type that cannot be mounted.
    #[error("layer {digest} has media type {media_type}: {reason}")]
    UnsupportedLayer {
        /// The layer.
        digest: Digest,
        /// Its media type.
        media_type: String,
        /// Why not.
        reason: &'static str,
    },
    /// Manifest and config do not belong together.
    #[error("manifest {manifest} has {layers} layers, its config {diff_ids} diffIDs")]
    LayerCount {
        /// The manifest.
        manifest: Digest,
        /// How many layers it lists.
        layers: usize,
        /// How many diffIDs the config lists.
        diff_ids: usize,
    },
    /// A named bound is exceeded.
    #[error("{digest} has more than {limit} {what}")]
    TooMany {
        /// The document.
        digest: Digest,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A walk found nothing below its roots.
    #[error("there is nothing below: all of the image may have been filtered out")]
    EmptyWalk,
    /// Nobody waits for the outcome any more.
    #[error("cancelled")]
    Cancelled,
    /// A handler of another module failed.
    #[error("{0}")]
    Handler(Box<dyn Classify + Send + Sync>),
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Content(e) => e.kind(),
            Error::NoSuchName { .. } | Error::NoPlatform { .. } | Error::EmptyWalk => {
                Kind::NotFound
            }
            Error::Ambiguous { .. } | Error::NotAnImage { .. } => Kind::InvalidArgument,
            Error::Broken { .. } | Error::Confused { .. } | Error::LayerCount { .. } => {
                Kind::DataLoss
            }
            Error::Schema1 { .. } | Error::UnsupportedLayer { .. } => Kind::NotImplemented,
            Error::TooMany { .. } => Kind::ResourceExhausted,
            Error::Cancelled => Kind::Canceled,
            Error::Handler(e) => e.kind(),
        }
    }
}

/// The most names in one message.
const MAX_LISTED: usize = 20;

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let more = names.len().saturating_sub(MAX_LISTED);
    let mut text = names[..names.len() - more].join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}
