//! containerd's snapshots service over a [`Snapshotter`].

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use prost::Message;
use tonic::{Request, Response, Status};

use super::api::snapshots::snapshots_server::Snapshots;
use super::api::snapshots::{
    CleanupRequest, CommitSnapshotRequest, Info, ListSnapshotsRequest, ListSnapshotsResponse,
    MountsRequest, MountsResponse, PrepareSnapshotRequest, PrepareSnapshotResponse,
    RemoveSnapshotRequest, StatSnapshotRequest, StatSnapshotResponse, UpdateSnapshotRequest,
    UpdateSnapshotResponse, UsageRequest, UsageResponse, ViewSnapshotRequest, ViewSnapshotResponse,
};
use super::convert;
use super::reclaim::Reclaim;
use super::remote::{Prepared, Remote};
use super::status::status;
use crate::snapshot::{self, Filter, OverlaySnapshotter, Snapshotter};

/// The most snapshots in one message of a listing.
const BATCH: usize = 100;

/// The most bytes in one message of a listing; containerd takes 16 MiB.
const BATCH_BYTES: usize = 1 << 20;

/// The snapshots that containerd asks for.
pub(super) struct SnapshotService {
    snapshots: OverlaySnapshotter,
    remote: Arc<Remote>,
    reclaim: Reclaim,
}

type Answer<T> = Result<Response<T>, Status>;

impl SnapshotService {
    pub(super) fn new(
        snapshots: OverlaySnapshotter,
        remote: Arc<Remote>,
        reclaim: Reclaim,
    ) -> Self {
        Self { snapshots, remote, reclaim }
    }

    /// Runs `f`, which may take a while, on a thread for that.
    async fn run<T, F>(&self, f: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&OverlaySnapshotter) -> Result<T, snapshot::Error> + Send + 'static,
    {
        let snapshots = self.snapshots.clone();
        match tokio::task::spawn_blocking(move || f(&snapshots)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(status(&error)),
            Err(_) => Err(Status::internal("the call ended by a panic")),
        }
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotService {
    async fn prepare(
        &self,
        request: Request<PrepareSnapshotRequest>,
    ) -> Answer<PrepareSnapshotResponse> {
        let PrepareSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let labels = convert::labels(labels);
        match self.remote.prepare(&key, convert::parent(&parent), &labels).await {
            Prepared::Committed { chain } => {
                return Err(Status::already_exists(format!("layer chain {chain} is here")));
            }
            Prepared::NotRemote => {}
        }
        let prepare = move |s: &OverlaySnapshotter| {
            s.prepare(&key, convert::parent(&parent), &labels).map(convert::mounts)
        };
        let mounts = self.run(prepare).await?;
        Ok(Response::new(PrepareSnapshotResponse { mounts }))
    }

    async fn view(&self, request: Request<ViewSnapshotRequest>) -> Answer<ViewSnapshotResponse> {
        let ViewSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let labels = convert::labels(labels);
        let view = move |s: &OverlaySnapshotter| {
            s.view(&key, convert::parent(&parent), &labels).map(convert::mounts)
        };
        let mounts = self.run(view).await?;
        Ok(Response::new(ViewSnapshotResponse { mounts }))
    }

    async fn mounts(&self, request: Request<MountsRequest>) -> Answer<MountsResponse> {
        let key = request.into_inner().key;
        let mounts = self.run(move |s| s.mounts(&key).map(convert::mounts)).await?;
        Ok(Response::new(MountsResponse { mounts }))
    }

    async fn commit(&self, request: Request<CommitSnapshotRequest>) -> Answer<()> {
        let CommitSnapshotRequest { name, key, labels, parent, .. } = request.into_inner();
        let labels = convert::labels(labels);
        self.run(move |s| s.commit(&name, &key, convert::parent(&parent), &labels)).await?;
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<RemoveSnapshotRequest>) -> Answer<()> {
        let key = request.into_inner().key;
        self.run(move |s| s.remove(&key)).await?;
        Ok(Response::new(()))
    }

    async fn stat(&self, request: Request<StatSnapshotRequest>) -> Answer<StatSnapshotResponse> {
        let key = request.into_inner().key;
        let info = self.run(move |s| s.stat(&key)).await?;
        Ok(Response::new(StatSnapshotResponse { info: Some(convert::info(info)) }))
    }

    async fn update(
        &self,
        request: Request<UpdateSnapshotRequest>,
    ) -> Answer<UpdateSnapshotResponse> {
        let UpdateSnapshotRequest { info, update_mask, .. } = request.into_inner();
        let info = info.ok_or_else(|| Status::invalid_argument("no snapshot is named"))?;
        let paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
        // An empty value takes a label away, so it has to get through.
        let labels = info.labels.into_iter().collect();
        let info = self.run(move |s| s.update(&info.name, &labels, &paths)).await?;
        Ok(Response::new(UpdateSnapshotResponse { info: Some(convert::info(info)) }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<ListSnapshotsResponse, Status>> + Send>>;

    async fn list(&self, request: Request<ListSnapshotsRequest>) -> Answer<Self::ListStream> {
        let filters = request.into_inner().filters;
        let infos = self.run(move |s| list(s, &filters)).await?;
        let stream = tokio_stream::iter(batches(infos).into_iter().map(Ok));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn usage(&self, request: Request<UsageRequest>) -> Answer<UsageResponse> {
        let key = request.into_inner().key;
        let usage = self.run(move |s| s.usage(&key)).await?;
        Ok(Response::new(convert::usage(usage)))
    }

    async fn cleanup(&self, _: Request<CleanupRequest>) -> Answer<()> {
        self.reclaim.ask();
        Ok(Response::new(()))
    }
}

fn list(snapshots: &OverlaySnapshotter, filters: &[String]) -> Result<Vec<Info>, snapshot::Error> {
    let filter = Filter::parse(filters)?;
    let mut infos = Vec::new();
    snapshots.walk(&filter, &mut |info| {
        infos.push(convert::info(info));
        ControlFlow::Continue(())
    })?;
    Ok(infos)
}

/// Cuts a listing into messages of a bounded size.
fn batches(infos: Vec<Info>) -> Vec<ListSnapshotsResponse> {
    let mut batches: Vec<ListSnapshotsResponse> = Vec::new();
    let mut bytes = 0;
    for info in infos {
        let len = info.encoded_len();
        match batches.last_mut() {
            Some(last) if last.info.len() < BATCH && bytes + len <= BATCH_BYTES => {
                bytes += len;
                last.info.push(info);
            }
            _ => {
                bytes = len;
                batches.push(ListSnapshotsResponse { info: vec![info] });
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infos(count: usize, name: usize) -> Vec<Info> {
        vec![Info { name: "n".repeat(name), ..Info::default() }; count]
    }

    #[test]
    fn a_listing_comes_in_messages_of_bounded_size() {
        let counts =
            |infos| -> Vec<usize> { batches(infos).iter().map(|batch| batch.info.len()).collect() };
        assert_eq!(counts(infos(0, 1)), [0; 0]);
        assert_eq!(counts(infos(250, 1)), [100, 100, 50]);
        assert_eq!(counts(infos(4, 400_000)), [2, 2]);
        assert_eq!(counts(infos(2, 2_000_000)), [1, 1]);
    }
}
