//! A client of containerd, in one of its namespaces.

mod blobs;
mod records;
mod store;
mod unpack;

pub(super) use blobs::unused_reference;
pub(super) use store::ContentStore;
pub(super) use unpack::Asked;

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::Error;
use super::status::kind;

/// The header with the namespace of a call.
pub(super) const NAMESPACE: &str = "containerd-namespace";

/// The header with the lease that a call's objects belong to.
const LEASE: &str = "containerd-lease";

/// The largest message that is taken: as containerd sends them.
const MAX_MESSAGE: usize = 16 << 20;

/// The address is not used, but a name is sent.
fn endpoint() -> Endpoint {
    Endpoint::from_static("http://localhost")
}

async fn dial(socket: PathBuf) -> std::io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(socket).await.map(TokioIo::new)
}

/// A connection to the socket `path` that is made when it is used, and again when it is lost.
pub(super) fn connect_lazily(path: &Path) -> Channel {
    let socket = path.to_owned();
    endpoint().connect_with_connector_lazy(tower::service_fn(move |_| dial(socket.clone())))
}

/// Calls containerd. Cheap to clone.
#[derive(Clone)]
pub(super) struct Containerd {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
}

impl Containerd {
    /// Connects to the socket `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], [`Error::Header`].
    pub(super) async fn connect(path: &Path, namespace: &str) -> Result<Self, Error> {
        let socket = path.to_owned();
        let endpoint = endpoint();
        let dial = tower::service_fn(move |_| dial(socket.clone()));
        let channel = endpoint.connect_with_connector(dial).await;
        let unreachable = |e: tonic::transport::Error| Error::Unreachable {
            path: path.to_owned(),
            reason: std::error::Error::source(&e).map_or_else(|| e.to_string(), |e| e.to_string()),
        };
        let channel = channel.map_err(unreachable)?;
        Ok(Self { channel, namespace: header(namespace)?, lease: None })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert(NAMESPACE, self.namespace.clone());
        if let Some(lease) = &self.lease {
            headers.insert(LEASE, lease.clone());
        }
        request
    }
}

fn header(text: &str) -> Result<MetadataValue<Ascii>, Error> {
    text.parse().map_err(|_| Error::Header { text: text.to_owned() })
}

/// The error of a call, as a function for `map_err`.
fn failed(call: &'static str) -> impl Fn(Status) -> Error {
    move |status| Error::Containerd {
        call,
        kind: kind(status.code()),
        reason: status.message().to_owned(),
    }
}
