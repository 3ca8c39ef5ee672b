//! The indexes of an image's layers as one artifact beside it.
//!
//! An image manifest (OCI image specification, `manifest.md`, "Guidelines for Artifact Usage") whose
//! subject is the image's, with these layers:
//!
//! | media type | content |
//! |---|---|
//! | [`INDEXES`] | the index files of layers without their windows, in a [`Bundle`] |
//! | [`TRACES`] | their start-up traces, likewise; it may be missing |
//! | [`WINDOWS`] | the packed windows of a layer, for each that has any |
//!
//! Windows are nearly all of an index, and a start needs few of them: what is mounted by is small and
//! comes by one request, and windows come by ranges, beside the spans that they are for. The index
//! vouches for each group of them.
//!
//! The same indexes make the same artifact, to the byte. Layers that bring a table of contents of
//! their own, which the image vouches for, are not in it.

use std::io::Write;

use serde_json::json;

use crate::compress::StartTrace;
use crate::content::{self, Descriptor, Ingester, ingest};
use crate::digest::Digest;
use crate::image::{Image, media_type};
use crate::layer::Bundle;

/// The type of the artifact.
pub const ARTIFACT_TYPE: &str = "application/vnd.stratafs.layer-index.v1";
/// The media type of the indexes in it.
pub const INDEXES: &str = "application/vnd.stratafs.layer-index.bundle.v2";
/// The media type of the start-up traces in it.
pub const TRACES: &str = "application/vnd.stratafs.start-trace.bundle.v1";

/// The media type of the packed windows of a layer in it.
pub const WINDOWS: &str = "application/vnd.stratafs.layer-index.windows.v1";

/// Writes the artifact of `indexes` and `traces`, each with the blob of its layer, and of the `windows` of
/// the indexes into `target`, beside `image`, and returns its descriptor.
///
/// # Errors
///
/// What `target` answers.
pub(super) fn write(
    target: &dyn Ingester,
    image: &Image,
    indexes: Vec<(Digest, Vec<u8>)>,
    windows: &[Vec<u8>],
    traces: &[(Digest, StartTrace)],
) -> Result<Descriptor, content::Error> {
    let config = ingest(target, media_type::OCI_EMPTY, b"{}")?;
    let mut layers = vec![ingest(target, INDEXES, &Bundle { parts: indexes }.encode())?];
    if !traces.is_empty() {
        let bundle = Bundle::of_traces(traces.iter().map(|(blob, trace)| (blob, trace)));
        layers.push(ingest(target, TRACES, &bundle.encode())?);
    }
    for windows in windows {
        layers.push(ingest(target, WINDOWS, windows)?);
    }
    let subject = &image.descriptor;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": config,
        "layers": layers,
        "subject": {
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": subject.size,
        },
    });
    let data = manifest.to_string().into_bytes();
    let digest = Digest::sha256(&data);
    let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, data.len() as u64);
    let mut writer = target.resume(&descriptor)?;
    let object = format!("{} in {}", descriptor.digest, target.name());
    writer.write_all(&data).map_err(content::Error::io(object))?;
    writer.commit(descriptor.size, &descriptor.digest)?;
    descriptor.artifact_type = Some(ARTIFACT_TYPE.to_owned());
    Ok(descriptor)
}
