//! Values of this crate as messages, and back.

use prost_types::Timestamp;

use super::api::{snapshots, types};
use crate::snapshot::{Info, Kind, Labels, Mount, Usage};

pub(super) fn info(info: Info) -> snapshots::Info {
    let kind = match info.kind {
        Kind::View => snapshots::Kind::View,
        Kind::Active => snapshots::Kind::Active,
        Kind::Committed => snapshots::Kind::Committed,
    };
    snapshots::Info {
        name: info.name,
        parent: info.parent.unwrap_or_default(),
        kind: kind.into(),
        created_at: Some(Timestamp::from(info.created)),
        updated_at: Some(Timestamp::from(info.updated)),
        labels: info.labels.into_iter().collect(),
    }
}

pub(super) fn mounts(mounts: Vec<Mount>) -> Vec<types::Mount> {
    let convert = |mount: Mount| types::Mount {
        r#type: mount.fs_type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(convert).collect()
}

pub(super) fn usage(usage: Usage) -> snapshots::UsageResponse {
    snapshots::UsageResponse {
        size: i64::try_from(usage.size).unwrap_or(i64::MAX),
        inodes: i64::try_from(usage.inodes).unwrap_or(i64::MAX),
    }
}

/// The labels, without those that have no value, which do not exist.
pub(super) fn labels(labels: impl IntoIterator<Item = (String, String)>) -> Labels {
    labels.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// A parent, of which the empty name is none.
pub(super) fn parent(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}
pub(super) fn mounts_from(mounts: Vec<types::Mount>) -> Vec<Mount> {
    let convert = |mount: types::Mount| Mount {
        fs_type: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(convert).collect()
}
