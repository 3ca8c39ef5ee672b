//! Unpacks an image into committed snapshots: containerd's `ApplyLayers`.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use super::lock::ChainLock;
use crate::content::{self, Provider};
use crate::diff::{self, ApplyOptions, Target, apply};
use crate::digest::{ChainId, DiffId, Digest};
use crate::error::{Classify, Kind};
use crate::image::{Image, Layer};
use crate::io::{Cursor, VerifyingReader};
use crate::snapshot::{self, LABEL_REF, Labels, Mount, Snapshotter};

/// Why an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A layer's blob could not be had.
    #[error("layer {digest}: {source}")]
    Content {
        /// The layer's blob.
        digest: Digest,
        /// What the store answered.
        source: content::Error,
    },
    /// A snapshot could not be made.
    #[error("snapshot {name}: {source}")]
    Snapshot {
        /// The chain ID that it is to be named by.
        name: ChainId,
        /// What the snapshotter answered.
        source: Box<snapshot::Error>,
    },
    /// A layer could not be applied.
    #[error("layer {digest}: {source}")]
    Apply {
        /// The layer's blob.
        digest: Digest,
        /// What is wrong.
        source: Box<diff::Error>,
    },
    /// A snapshot is mounted in a way that nothing can be applied to.
    #[error("snapshot {name} has {count} mounts, one is needed to unpack a layer")]
    Mounts {
        /// The chain ID that it is to be named by.
        name: ChainId,
        /// How many mounts there are.
        count: usize,
    },
    /// The lock file could not be made or locked.
    #[error("lock of snapshot {name}: {source}")]
    Lock {
        /// The chain ID that it is to be named by.
        name: ChainId,
        /// What the system answered.
        source: io::Error,
    },
    /// The uncompressed layer is not the one that the image's configuration names.
    #[error("layer {digest}: wrong diffID {found}, the image's configuration says {expected}")]
    DiffId {
        /// The layer's blob.
        digest: Digest,
        /// What the configuration says.
        expected: DiffId,
        /// What was computed.
        found: DiffId,
    },
    /// The blob is not the one that its descriptor names.
    #[error("layer {expected}: the digest of the blob is {found}")]
    Digest {
        /// What the descriptor says.
        expected: Digest,
        /// What was computed.
        found: Digest,
    },
}

impl Classify for UnpackError {
    fn kind(&self) -> Kind {
        match self {
            UnpackError::Content { source, .. } => source.kind(),
            UnpackError::Snapshot { source, .. } => source.kind(),
            UnpackError::Apply { source, .. } => source.kind(),
            UnpackError::Lock { source, .. } => Kind::of_io(source),
            UnpackError::Mounts { .. } => Kind::FailedPrecondition,
            UnpackError::DiffId { .. } | UnpackError::Digest { .. } => Kind::DataLoss,
        }
    }
}

/// Makes the committed snapshots of `image` that are missing, each named by its chain ID, and says
/// how many layers were applied.
///
/// Several processes may unpack the same image at once: all succeed, and who comes second waits for
/// what the first makes; `locks` is the folder where they find each other. What fails leaves the
/// snapshots of the layers below it and nothing else.
///
/// # Errors
///
/// See [`UnpackError`].
pub fn unpack(
    snapshots: &dyn Snapshotter,
    provider: &Arc<dyn Provider>,
    image: &Image,
    locks: &Path,
) -> Result<usize, UnpackError> {
    let mut applied = 0;
    let mut parent: Option<&ChainId> = None;
    for layer in &image.layers {
        let name = &layer.chain_id;
        if !exists(snapshots, name)? {
            let lock = ChainLock::take(locks, name);
            let _lock = lock.map_err(|source| UnpackError::Lock { name: name.clone(), source })?;
            // Another process may have made it while this one waited.
            if !exists(snapshots, name)? {
                unpack_layer(snapshots, provider, layer, parent)?;
                applied += 1;
            }
        }
        parent = Some(&layer.chain_id);
    }
    Ok(applied)
}

fn exists(snapshots: &dyn Snapshotter, name: &ChainId) -> Result<bool, UnpackError> {
    match snapshots.stat(&name.to_string()) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == Kind::NotFound => Ok(false),
        Err(e) => Err(UnpackError::Snapshot { name: name.clone(), source: Box::new(e) }),
    }
}

fn unpack_layer(
    snapshots: &dyn Snapshotter,
    provider: &Arc<dyn Provider>,
    layer: &Layer,
    parent: Option<&ChainId>,
) -> Result<(), UnpackError> {
    let name = &layer.chain_id;
    let failed = |e| UnpackError::Snapshot { name: name.clone(), source: Box::new(e) };
    let labels = Labels::from([(LABEL_REF.to_owned(), name.to_string())]);
    let parent = parent.map(ToString::to_string);
    let (key, mounts) = loop {
        let key = extraction_key(name);
        match snapshots.prepare(&key, parent.as_deref(), &labels) {
            Ok(mounts) => break (key, mounts),
            // Keys are unique but for chance.
            Err(e) if e.kind() == Kind::AlreadyExists => {}
            Err(e) => return Err(failed(e)),
        }
    };
    let done = apply_layer(provider, layer, &mounts).and_then(|()| {
        match snapshots.commit(&name.to_string(), &key, None, &labels) {
            Ok(()) => Ok(true),
            // Another process was faster; the content is the same.
            Err(e) if e.kind() == Kind::AlreadyExists => Ok(false),
            Err(e) => Err(failed(e)),
        }
    });
    if !matches!(done, Ok(true))
        && let Err(error) = snapshots.remove(&key)
    {
        tracing::warn!(%key, %error, "an unfinished snapshot stays");
    }
    done.map(drop)
}

fn apply_layer(
    provider: &Arc<dyn Provider>,
    layer: &Layer,
    mounts: &[Mount],
) -> Result<(), UnpackError> {
    let digest = &layer.descriptor.digest;
    let [mount] = mounts else {
        return Err(UnpackError::Mounts { name: layer.chain_id.clone(), count: mounts.len() });
    };
    let broken = |e| UnpackError::Apply { digest: digest.clone(), source: Box::new(e) };
    let blob = provider.open(&layer.descriptor);
    let blob = blob.map_err(|source| UnpackError::Content { digest: digest.clone(), source })?;
    let target = Target::of_mount(&mount.fs_type, &mount.source, &mount.options).map_err(broken)?;
    let (reader, found) = VerifyingReader::new(Cursor::new(blob), digest.algorithm());
    let options = ApplyOptions::default();
    let applied = apply(reader, &target, &options);
    // A broken blob is most often not the one that was asked for: that is the better error.
    if let Some(found) = found.get().filter(|found| found != digest) {
        return Err(UnpackError::Digest { expected: digest.clone(), found });
    }
    let applied = applied.map_err(broken)?;
    if applied.diff_id != layer.diff_id {
        return Err(UnpackError::DiffId {
            digest: digest.clone(),
            expected: layer.diff_id.clone(),
            found: applied.diff_id,
        });
    }
    Ok(())
}

/// A key that nobody else uses: `extract-<nanoseconds>-<random> <chain ID>` (containerd's
/// `UnpackKeyFormat`).
fn extraction_key(chain_id: &ChainId) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // The standard library's only randomness: its hash maps are seeded with it.
    let random = RandomState::new().build_hasher().finish().to_le_bytes();
    format!("extract-{}-{} {chain_id}", now.subsec_nanos(), URL_SAFE.encode(&random[..3]))
}
