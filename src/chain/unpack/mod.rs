//! Unpacks an image into committed snapshots: containerd's `ApplyLayers`.
//!
//! Layers are applied one after the other, since each stands on the one below; those that come next
//! are read and decompressed meanwhile, as far as memory is given for it.
//!
//! Several processes may unpack the same layers at once. A lock on each chain lets one of them do
//! the work; it is advice, taken again by whoever waits too long for it: what makes it safe is that
//! extraction keys are unique and that a commit under a name that exists changes nothing.

mod ahead;
mod error;
mod lock;

pub use error::UnpackError;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use crate::content::Provider;
use crate::diff::{ApplyOptions, Target, apply_stream};
use crate::digest::ChainId;
use crate::error::{Classify, Kind};
use crate::image::{Image, Layer};
use crate::snapshot::{LABEL_REF, Labels, Mount, Snapshotter};

use self::ahead::{Ahead, Blob};
use self::lock::ChainLock;

/// How an image is unpacked.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// The folder of the locks that processes share, made if need be; without one they may do the
    /// same work twice.
    pub locks: Option<PathBuf>,
    /// How long to wait for another process that is unpacking a layer, before doing it as well.
    pub lock_wait: Duration,
    /// How many bytes of layers that are not applied yet may be decompressed ahead.
    pub read_ahead: usize,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self { locks: None, lock_wait: Duration::from_secs(600), read_ahead: 64 << 20 }
    }
}

/// Makes the committed snapshots of `image` that are missing, each named by its chain ID, and says
/// how many layers were applied.
///
/// Several processes may unpack the same image at once: all succeed, and who comes second takes
/// what the first has made. What fails leaves the snapshots of the layers below it and nothing else.
///
/// # Errors
///
/// See [`UnpackError`].
pub fn unpack(
    snapshots: &dyn Snapshotter,
    provider: &Arc<dyn Provider>,
    image: &Image,
    options: &UnpackOptions,
) -> Result<usize, UnpackError> {
    let top = image.layers.last();
    if top.is_none_or(|top| exists(snapshots, &top.chain_id).is_ok_and(|exists| exists)) {
        return Ok(0);
    }
    let mut applied = 0;
    let mut parent: Option<&ChainId> = None;
    let mut ahead = Ahead::new(provider, options.read_ahead);
    // The lock of a layer is taken before that below is given back, so that who has begun goes on.
    let mut held: Option<ChainLock> = None;
    for (place, layer) in image.layers.iter().enumerate() {
        let name = &layer.chain_id;
        if !exists(snapshots, name)? {
            let lock = lock::acquire(options, name)?;
            drop(std::mem::replace(&mut held, lock));
            if !exists(snapshots, name)? {
                let blob = ahead.take(&image.layers[place..])?;
                unpack_layer(snapshots, blob, layer, parent)?;
                applied += 1;
            }
        }
        parent = Some(name);
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
    blob: Blob,
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
    let done = apply_layer(blob, layer, &mounts).and_then(|()| {
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

fn apply_layer(blob: Blob, layer: &Layer, mounts: &[Mount]) -> Result<(), UnpackError> {
    let digest = &layer.descriptor.digest;
    let [mount] = mounts else {
        return Err(UnpackError::Mounts { name: layer.chain_id.clone(), count: mounts.len() });
    };
    let broken = |e| UnpackError::Apply { digest: digest.clone(), source: Box::new(e) };
    let target = Target::of_mount(&mount.fs_type, &mount.source, &mount.options).map_err(broken)?;
    let applied = apply_stream(blob.stream, &target, &ApplyOptions::default());
    // A broken blob is most often not the one that was asked for: that is the better error.
    if let Some(found) = blob.found.get().filter(|found| found != digest) {
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
