//! containerd's diff service: layers to snapshots and back. The bytes are in containerd's content
//! store, in the namespace of the call.

use std::io::Read;
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;
use tonic::{Request, Response, Status};

use super::Error;
use super::api::diff::diff_server::Diff;
use super::api::diff::{ApplyRequest, ApplyResponse, DiffRequest, DiffResponse};
use super::api::types::Descriptor;
use super::containerd::{Containerd, NAMESPACE, unused_reference};
use super::convert;
use super::status::status;
use crate::compress::Codec;
use crate::diff::{
    ApplyOptions, CompareOptions, LayerFolders, LayerWriter, Target, WrittenLayer, apply,
    compare_folders, compare_overlay,
};
use crate::image::media_type::{OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD};
use crate::snapshot::Mount;
use crate::snapshot::mounter::TemporaryMount;

/// The label with the diffID of compressed content.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// Applies layers and compares snapshots.
pub(super) struct DiffService {
    /// The socket of containerd, whose content store has the layers.
    pub(super) containerd: PathBuf,
}

impl DiffService {
    /// containerd, in the namespace that `request` comes from.
    ///
    /// # Errors
    ///
    /// "Unimplemented" where no namespace is named, so that the next differ of containerd's list is
    /// asked: containerd 1.7 tells its plugins the namespace of the CRI plugin's calls only.
    async fn client<T>(&self, request: &Request<T>) -> Result<Containerd, Status> {
        let namespace = request.metadata().get(NAMESPACE).and_then(|value| value.to_str().ok());
        let namespace = namespace.ok_or_else(|| status(&Error::NoNamespace))?;
        Containerd::connect(&self.containerd, namespace).await.map_err(|e| status(&e))
    }
}

/// Runs `f`, which may take a while, on a thread for that.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Status> {
    let panicked = |_| Err(Error::Panicked { what: "working on a layer" });
    tokio::task::spawn_blocking(f).await.unwrap_or_else(panicked).map_err(|e| status(&e))
}

#[tonic::async_trait]
impl Diff for DiffService {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let client = self.client(&request).await?;
        let ApplyRequest { diff, mounts, sync_fs, .. } = request.into_inner();
        let diff = diff.ok_or_else(|| Status::invalid_argument("no layer is named"))?;
        if !is_layer(&diff.media_type) {
            // Another differ of containerd's list is asked then.
            let error = Error::MediaType { media_type: diff.media_type };
            return Err(status(&error));
        }
        let blob = client.reader(&diff.digest).await.map_err(|e| status(&e))?;
        let mounts = convert::mounts_from(mounts);
        let applied = blocking(move || apply_to(blob, &mounts, sync_fs)).await?;
        tracing::debug!(digest = diff.digest, diff_id = applied.digest, "applied a layer");
        Ok(Response::new(ApplyResponse { applied: Some(applied) }))
    }

    async fn diff(&self, request: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        let client = self.client(&request).await?;
        let DiffRequest { left, right, media_type, r#ref, labels, source_date_epoch } =
            request.into_inner();
        let media_type = if media_type.is_empty() { OCI_LAYER_GZIP.to_owned() } else { media_type };
        let codec = codec(&media_type).map_err(|e| status(&e))?;
        let options = CompareOptions {
            source_date_epoch: source_date_epoch.map(|time| time.seconds),
            trust_times: true,
        };
        let (left, right) = (convert::mounts_from(left), convert::mounts_from(right));
        let mut labels = convert::labels(labels);
        let reference = if r#ref.is_empty() { unused_reference("diff") } else { r#ref };
        let runtime = Handle::current();
        let written = blocking(move || {
            let writer = {
                let _inside = runtime.enter();
                client.writer(&reference)
            };
            let mut layer = LayerWriter::new(writer, codec).map_err(Error::Content)?;
            compare(&left, &right, &options, &mut layer)?;
            let (writer, written) = layer.finish().map_err(Error::Content)?;
            labels.entry(UNCOMPRESSED.to_owned()).or_insert_with(|| written.diff_id.to_string());
            runtime.block_on(writer.commit(&written.digest, written.size, &labels))?;
            Ok(written)
        });
        let written = written.await?;
        tracing::debug!(digest = %written.digest, diff_id = %written.diff_id, "wrote a layer");
        let diff = Some(of_written(written, media_type));
        Ok(Response::new(DiffResponse { diff }))
    }
}

fn is_layer(media_type: &str) -> bool {
    use crate::image::media_type::{Class, EROFS_LAYER, classify, is_encrypted};
    let is_tar = media_type != EROFS_LAYER && !is_encrypted(media_type);
    is_tar && classify(media_type) == Class::Layer
}

fn codec(media_type: &str) -> Result<Codec, Error> {
    match media_type {
        OCI_LAYER => Ok(Codec::Plain),
        OCI_LAYER_GZIP => Ok(Codec::Gzip),
        OCI_LAYER_ZSTD => Ok(Codec::Zstd),
        _ => Err(Error::MediaType { media_type: media_type.to_owned() }),
    }
}

fn apply_to(
    blob: impl Read + Send + 'static,
    mounts: &[Mount],
    sync: bool,
) -> Result<Descriptor, Error> {
    let [mount] = mounts else { return Err(Error::Mounts { count: mounts.len() }) };
    let target = Target::of_mount(&mount.fs_type, &mount.source, &mount.options)?;
    let applied = apply(blob, &target, &ApplyOptions { sync, ..ApplyOptions::default() })?;
    Ok(Descriptor {
        media_type: OCI_LAYER.to_owned(),
        digest: applied.diff_id.to_string(),
        size: i64::try_from(applied.size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    })
}

fn of_written(written: WrittenLayer, media_type: String) -> Descriptor {
    Descriptor {
        media_type,
        digest: written.digest.to_string(),
        size: i64::try_from(written.size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    }
}

/// Writes what `right` has other than `left`.
fn compare(
    left: &[Mount],
    right: &[Mount],
    options: &CompareOptions,
    out: &mut dyn std::io::Write,
) -> Result<(), Error> {
    if let Some((upper, lowers, user_xattrs)) = own_changes(left, right) {
        let lower = LayerFolders::open(&lowers, user_xattrs)?;
        return Ok(compare_overlay(&upper, &lower, options, out)?);
    }
    let open = |mounts: &[Mount]| match mounts {
        [] => Ok(None),
        mounts => TemporaryMount::new(mounts).map(Some),
    };
    let (lower, upper) = (open(left)?, open(right)?);
    let upper = upper.ok_or(Error::Mounts { count: 0 })?;
    let lower = lower.map(|mount| mount.path());
    Ok(compare_folders(lower.as_deref(), &upper.path(), options, out)?)
}

/// The upper folder and the lower ones of `right`, where `left` is a view of just those lower ones:
/// then all that differs is in the upper folder.
fn own_changes(left: &[Mount], right: &[Mount]) -> Option<(PathBuf, Vec<PathBuf>, bool)> {
    let ([left], [right]) = (left, right) else { return None };
    let of = |mount: &Mount| Target::of_mount(&mount.fs_type, &mount.source, &mount.options).ok();
    let Some(Target::Overlay { upper, lowers, user_xattrs }) = of(right) else { return None };
    let viewed = match left.fs_type.as_str() {
        "bind" => vec![PathBuf::from(&left.source)],
        // Without its upper folder it would be refused as nothing to write to.
        "overlay" => {
            let mut writable = left.clone();
            writable.options.retain(|option| option != "ro");
            writable.options.push("upperdir=/".to_owned());
            match of(&writable) {
                Some(Target::Overlay { upper, lowers, .. })
                    if upper.as_path() == Path::new("/") =>
                {
                    lowers
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    (viewed == lowers).then_some((upper, lowers, user_xattrs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(fs_type: &str, source: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|&o| o.to_owned()).collect();
        let (fs_type, source) = (fs_type.to_owned(), source.to_owned());
        Mount { fs_type, source, target: String::new(), options }
    }

    #[test]
    fn own_changes_are_told_by_equal_lower_folders() {
        let right = [mount("overlay", "overlay", &["workdir=/w", "upperdir=/u", "lowerdir=/a:/b"])];
        let own = Some((PathBuf::from("/u"), vec!["/a".into(), "/b".into()], false));
        let view = |lowers| [mount("overlay", "overlay", &["index=off", lowers])];
        assert_eq!(own_changes(&view("lowerdir=/a:/b"), &right), own);
        assert_eq!(own_changes(&view("lowerdir=/b:/a"), &right), None);
        // What has an upper folder of its own is no view.
        let writable = [mount("overlay", "overlay", &["upperdir=/x", "lowerdir=/a:/b"])];
        assert_eq!(own_changes(&writable, &right), None);
        assert_eq!(own_changes(&[], &right), None);
        let single = [mount("overlay", "overlay", &["upperdir=/u", "lowerdir=/a"])];
        let own = Some((PathBuf::from("/u"), vec!["/a".into()], false));
        assert_eq!(own_changes(&[mount("bind", "/a", &["ro", "rbind"])], &single), own);
        assert_eq!(own_changes(&[mount("bind", "/c", &["ro", "rbind"])], &single), None);
    }

    #[test]
    fn only_layers_of_known_types_are_taken() {
        assert!(is_layer(OCI_LAYER_GZIP) && is_layer(OCI_LAYER));
        assert!(!is_layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"));
        assert!(!is_layer("application/vnd.oci.image.config.v1+json"));
        assert!(!is_layer("application/vnd.erofs.layer.v1"));
        assert!(codec("application/vnd.oci.image.layer.v1.tar+br").is_err());
    }
}
