//! gRPC's health service: whoever is answered at all is served.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::api::health::health_check_response::ServingStatus;
use super::api::health::health_server::Health;
use super::api::health::{HealthCheckRequest, HealthCheckResponse};

/// The services that are offered, and the daemon as a whole.
const SERVICES: [&str; 4] = [
    "",
    "containerd.services.snapshots.v1.Snapshots",
    "containerd.services.diff.v1.Diff",
    "grpc.health.v1.Health",
];

/// Says that all is well.
#[derive(Debug)]
pub(super) struct HealthService;

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !SERVICES.contains(&service.as_str()) {
            return Err(Status::not_found(format!("there is no service {service:?}")));
        }
        Ok(Response::new(answer(ServingStatus::Serving)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = SERVICES.contains(&request.into_inner().service.as_str());
        let status = if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
        // It never changes: the stream ends with the daemon.
        let once = tokio_stream::once(Ok(answer(status)));
        Ok(Response::new(Box::pin(once.chain(tokio_stream::pending()))))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
