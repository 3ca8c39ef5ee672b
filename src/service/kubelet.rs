//! The kubelet's image calls, in front of containerd's CRI plugin: each is passed on as it is, and the
//! secret that a pull comes with is kept, since containerd passes none to its plugins.
//!
//! Only what a pull says of its image and secret is looked at (`cri-api`, `runtime/v1/api.proto`); all
//! else, also calls that this program has never heard of, goes through untouched.

mod secrets;

pub use secrets::PullSecrets;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full, Limited};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};
use tonic::server::NamedService;
use tonic::transport::Channel;
use tower::ServiceExt;

use secrets::Secret;

/// The call that comes with a secret.
const PULL: &str = "/runtime.v1.ImageService/PullImage";

/// The most bytes of a pull's request; what containerd's own server takes.
const MAX_PULL: usize = 16 << 20;

/// The header with the code of an answer; a failed call has it there and not behind a body.
const CODE: &str = "grpc-status";

/// Passes the kubelet's image calls on.
#[derive(Clone)]
pub(super) struct ImageService {
    containerd: Channel,
    secrets: Arc<PullSecrets>,
}

impl ImageService {
    pub(super) fn new(containerd: Channel, secrets: Arc<PullSecrets>) -> Self {
        Self { containerd, secrets }
    }

    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        if request.uri().path() != PULL {
            return pass_on(self.containerd, request).await;
        }
        let (head, body) = request.into_parts();
        let message = match Limited::new(body, MAX_PULL).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Status::resource_exhausted(error.to_string()).into_http(),
        };
        let secret = Secret::of_pull(&message);
        // It has to be there before the pull has ended: layers are prepared meanwhile.
        let before = secret.map(|secret| self.secrets.keep(secret));
        let request = http::Request::from_parts(head, Body::new(Full::new(message)));
        let answer = pass_on(self.containerd, request).await;
        let failed = answer.headers().get(CODE).is_some_and(|code| code != "0");
        if let Some(before) = before.filter(|_| failed) {
            // One that opens nothing takes the place of none that does.
            self.secrets.put_back(before);
        }
        answer
    }
}

async fn pass_on(containerd: Channel, request: http::Request<Body>) -> http::Response<Body> {
    let answer = async { containerd.clone().ready().await?.call(request).await };
    answer.await.unwrap_or_else(|error: tonic::transport::Error| {
        tracing::warn!(%error, "an image call of the kubelet is not passed on");
        Status::unavailable("containerd does not answer").into_http()
    })
}

impl NamedService for ImageService {
    const NAME: &'static str = "runtime.v1.ImageService";
}

impl Service<http::Request<Body>> for ImageService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

/// The message in a request of gRPC: a byte that says whether it is compressed, four with its length.
fn message(request: &Bytes) -> Option<&[u8]> {
    let (head, message) = request.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (*compressed == 0).then(|| message.get(..length)).flatten()
}
