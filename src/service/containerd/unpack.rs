//! Snapshots, and layers applied to them, as an unpacking client has them.

use std::collections::HashMap;

use super::records::descriptor;
use super::{Containerd, Error, failed};
use crate::content::Descriptor;
use crate::error::{Classify, Kind};
use crate::service::api::diff::ApplyRequest;
use crate::service::api::diff::diff_client::DiffClient;
use crate::service::api::snapshots::snapshots_client::SnapshotsClient;
use crate::service::api::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use crate::service::api::types::Mount;
use crate::snapshot::Labels;

/// What became of a Prepare.
pub(in crate::service) enum Asked {
    /// The layer is here: there is nothing to unpack.
    Remote,
    /// The layer has to be unpacked here.
    Local(Vec<Mount>),
}

impl Containerd {
    /// Asks for a snapshot to unpack a layer into.
    pub(in crate::service) async fn prepare(
        &self,
        snapshotter: &str,
        key: &str,
        parent: &str,
        labels: &Labels,
    ) -> Result<Asked, Error> {
        let request = PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: map(labels),
        };
        let mut client = SnapshotsClient::new(self.channel.clone());
        let answer = client.prepare(self.request(request)).await;
        match answer.map_err(failed("prepare snapshot")) {
            Ok(answer) => Ok(Asked::Local(answer.into_inner().mounts)),
            Err(e) if e.kind() == Kind::AlreadyExists => Ok(Asked::Remote),
            Err(e) => Err(e),
        }
    }

    /// Whether there is a snapshot of this name.
    pub(in crate::service) async fn has_snapshot(
        &self,
        snapshotter: &str,
        name: &str,
    ) -> Result<bool, Error> {
        let request =
            StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: name.to_owned() };
        let mut client = SnapshotsClient::new(self.channel.clone());
        match client.stat(self.request(request)).await.map_err(failed("stat snapshot")) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == Kind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Applies a layer of the content store, and says the digest of what was unpacked.
    pub(in crate::service) async fn apply(
        &self,
        layer: &Descriptor,
        mounts: Vec<Mount>,
    ) -> Result<String, Error> {
        let diff = Some(descriptor(layer));
        let request = ApplyRequest { diff, mounts, ..ApplyRequest::default() };
        let mut client = DiffClient::new(self.channel.clone());
        let answer = client.apply(self.request(request)).await.map_err(failed("apply layer"))?;
        Ok(answer.into_inner().applied.unwrap_or_default().digest)
    }

    /// Commits what was unpacked; that another was faster is no error.
    pub(in crate::service) async fn commit(
        &self,
        snapshotter: &str,
        name: &str,
        key: &str,
        labels: &Labels,
    ) -> Result<(), Error> {
        let request = CommitSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: map(labels),
            parent: String::new(),
        };
        let mut client = SnapshotsClient::new(self.channel.clone());
        match client.commit(self.request(request)).await.map_err(failed("commit snapshot")) {
            Err(e) if e.kind() == Kind::AlreadyExists => self.remove(snapshotter, key).await,
            other => other.map(drop),
        }
    }

    /// Removes a snapshot.
    pub(in crate::service) async fn remove(
        &self,
        snapshotter: &str,
        key: &str,
    ) -> Result<(), Error> {
        let request =
            RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let mut client = SnapshotsClient::new(self.channel.clone());
        client.remove(self.request(request)).await.map_err(failed("remove snapshot")).map(drop)
    }
}

fn map(labels: &Labels) -> HashMap<String, String> {
    labels.clone().into_iter().collect()
}
