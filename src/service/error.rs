use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::content::registry::ParseReferenceError;
use crate::digest::{ChainId, Digest};
use crate::error::{Classify, Kind};
use crate::{chain, content, erofs, fs, fuse, image, snapshot};

/// Why the daemon cannot start, or cannot show a layer lazily.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, folder or socket of the daemon could not be worked on.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Layers cannot be shown as EROFS, which was asked for.
    #[error("layers cannot be shown as EROFS: {0}")]
    Erofs(#[from] erofs::Error),
    /// Another daemon serves this run folder.
    #[error("another daemon serves {}", run_root.display())]
    Served {
        /// The run folder.
        run_root: PathBuf,
    },
    /// What was remembered of an image cannot be read.
    #[error("{}: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Nothing is remembered of the image that has a chain.
    #[error("no image with layer chain {chain} is known here")]
    NoImage {
        /// The chain.
        chain: ChainId,
    },
    /// The image that containerd names does not have the layer that it names.
    #[error("image {reference} has no layer chain {chain}")]
    NotInImage {
        /// The image.
        reference: String,
        /// The chain.
        chain: ChainId,
    },
    /// The labels name another blob than the image has as this layer.
    #[error("image {reference} has {found} as the layer of chain {chain}, labels say {expected}")]
    OtherBlob {
        /// The image.
        reference: String,
        /// The chain.
        chain: ChainId,
        /// The blob that labels name.
        expected: Digest,
        /// The blob of the image.
        found: Digest,
    },
    /// The image's reference in a label is none.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// A label is no digest.
    #[error("label {label}={text:?}: {source}")]
    Label {
        /// The label.
        label: &'static str,
        /// Its value.
        text: String,
        /// What is wrong with it.
        source: crate::digest::ParseError,
    },
    /// A manifest or configuration could not be had or used.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The registry cannot be used.
    #[error(transparent)]
    Registry(#[from] content::registry::Error),
    /// The layers could not be made ready.
    #[error(transparent)]
    Chain(#[from] chain::Error),
    /// The snapshot could not be made.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The mount of all layers could not be made, or not be taken over.
    #[error(transparent)]
    Fuse(#[from] fuse::Error),
    /// A tree could not be shown in the mount.
    #[error("showing layer chain {chain}: {source}")]
    Attach {
        /// The chain.
        chain: ChainId,
        /// Why.
        source: fs::Error,
    },
    /// The tree of a chain is another than the one that running containers use.
    #[error("layer chain {chain} has another tree than the one in use: restart its containers")]
    OtherTree {
        /// The chain.
        chain: ChainId,
    },
    /// The holder of the mount speaks another version of its protocol.
    #[error("the holder at {} does not understand this program: restart it", path.display())]
    OtherHolder {
        /// Its socket.
        path: PathBuf,
    },
    /// An image was not ready in time; the work goes on.
    #[error("image {reference} is not ready after {after:?}")]
    Overdue {
        /// The image.
        reference: String,
        /// The deadline.
        after: Duration,
    },
    /// The work that several wait for failed.
    #[error(transparent)]
    Job(Arc<Error>),
    /// A thread of the daemon ended by a panic.
    #[error("{what} ended by a panic")]
    Panicked {
        /// What was being done.
        what: &'static str,
    },
    /// Somebody unmounted the layers of all snapshots.
    #[error("the mount of all layers was unmounted")]
    Unmounted,
    /// containerd cannot be reached.
    #[error("containerd at {}: {reason}", path.display())]
    Unreachable {
        /// Its socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// containerd answered with an error.
    #[error("containerd: {call}: {reason}")]
    Containerd {
        /// What was asked for.
        call: &'static str,
        /// The kind of its answer.
        kind: Kind,
        /// Its words.
        reason: String,
    },
    /// A namespace, or the ID of a lease, is no header of gRPC.
    #[error("{text:?} cannot be a namespace or lease of containerd")]
    Header {
        /// The text.
        text: String,
    },
    /// A layer could not be applied or compared.
    #[error(transparent)]
    Diff(#[from] crate::diff::Error),
    /// Mounts of a request cannot be worked with.
    #[error("{count} mounts where one is needed")]
    Mounts {
        /// How many there are.
        count: usize,
    },
    /// The type of layer is not one that is written or read here.
    #[error("media type {media_type:?} is not offered")]
    MediaType {
        /// The type.
        media_type: String,
    },
    /// The call does not say which namespace it is of.
    #[error("the call names no namespace")]
    NoNamespace,
    /// A layer is not what the image's configuration says.
    #[error("layer {digest}: containerd unpacked {found}, the configuration says {expected}")]
    DiffId {
        /// Its blob.
        digest: Digest,
        /// What the configuration says.
        expected: Digest,
        /// What was unpacked.
        found: String,
    },
    /// An image has no layers.
    #[error("image {reference} has no layers")]
    NoLayers {
        /// The image.
        reference: String,
    },
    /// Reading or writing content failed on the way.
    #[error("content of containerd: {0}")]
    Content(#[source] io::Error),
    /// The blobs of the image could not be had.
    #[error(transparent)]
    Provider(#[from] content::Error),
    /// The server of gRPC failed.
    #[error("serving gRPC: {reason}")]
    Serve {
        /// What failed.
        reason: String,
    },
}

impl Error {
    /// An error of doing `action` (a verb as `create`) on `path`, as a function for `map_err`.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Io { source, .. } => Kind::of_io(source),
            Error::Unreachable { .. } => Kind::Unavailable,
            Error::Containerd { kind, .. } => *kind,
            Error::Header { .. } | Error::Mounts { .. } | Error::NoLayers { .. } => {
                Kind::InvalidArgument
            }
            Error::MediaType { .. } | Error::NoNamespace => Kind::NotImplemented,
            Error::Diff(e) => e.kind(),
            Error::DiffId { .. } => Kind::DataLoss,
            Error::Content(e) => Kind::of_io(e),
            Error::Provider(e) => e.kind(),
            Error::Served { .. } | Error::OtherTree { .. } | Error::OtherHolder { .. } => {
                Kind::FailedPrecondition
            }
            Error::Record { .. } => Kind::DataLoss,
            Error::NoImage { .. } | Error::NotInImage { .. } => Kind::NotFound,
            Error::OtherBlob { .. } | Error::Label { .. } => Kind::InvalidArgument,
            Error::Reference(e) => e.kind(),
            Error::Image(e) => e.kind(),
            Error::Registry(e) => e.kind(),
            Error::Chain(e) => e.kind(),
            Error::Snapshot(e) => e.kind(),
            Error::Erofs(e) => e.kind(),
            Error::Fuse(e) => e.kind(),
            Error::Job(e) => e.kind(),
            Error::Attach { source, .. } => source.kind(),
            Error::Overdue { .. } => Kind::DeadlineExceeded,
            Error::Unmounted | Error::Panicked { .. } | Error::Serve { .. } => Kind::Internal,
        }
    }
}
