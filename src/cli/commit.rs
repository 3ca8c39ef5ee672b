//! `commit`: what an active snapshot changes, on top of its image, as a new image.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use serde::Serialize;

use crate::compress::Codec;
use crate::content::{Descriptor, Layout, ingest};
use crate::diff::{WrittenLayer, write_blob};
use crate::digest::ChainId;
use crate::error::Kind;
use crate::image::{
    Added, Cancel, Selector, Source, append_config, append_manifest, fetch_handler, media_type,
};
use crate::snapshot::{OverlaySnapshotter, Owner, Snapshotter};

use super::advice::explain;
use super::args::{CommitArgs, Compression};
use super::chains::Chains;
use super::compare;
use super::failure::Failure;
use super::output::Output;
use super::wire::{Found, Wire};

#[derive(Debug, Serialize)]
struct Shown {
    image: String,
    manifest: String,
    layer: String,
    diff_id: String,
    size: u64,
}

/// Writes the image and says the digest of its manifest.
pub(crate) fn run(wire: &Wire, args: &CommitArgs, out: Output) -> Result<(), Failure> {
    let (path, tag) = destination(&args.image)?;
    let chains = Chains::served(wire.config());
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let base = base(wire, &chains, &snapshots, &args.key)?;
    let layout = Layout::create(path)?;
    if let Some(found) = &base {
        copy_layers(found, &layout)?;
    }
    let target = compare::target_of(&snapshots, &args.key)?;
    let (layer, diff_id) =
        write_layer(&layout, args.compression, |w| compare::changes(&target, w))?;
    let added = Added {
        descriptor: layer,
        diff_id,
        created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        created_by: args.message.clone(),
    };
    let image = base.as_ref().map(|found| &found.image);
    let config = ingest(&layout, media_type::OCI_CONFIG, &append_config(image, &added)?)?;
    let manifest = append_manifest(image, &config, &added);
    let root = ingest(&layout, media_type::OCI_MANIFEST, &manifest)?;
    layout.set_root(&root, Some(&tag))?;
    let shown = Shown {
        image: args.image.clone(),
        manifest: root.digest.to_string(),
        layer: added.descriptor.digest.to_string(),
        diff_id: added.diff_id.to_string(),
        size: added.descriptor.size,
    };
    out.show(&shown, |shown| format!("{}\n", shown.manifest))
}

/// The layout folder and the tag to write to.
fn destination(text: &str) -> Result<(std::path::PathBuf, String), Failure> {
    match text.parse()? {
        Source::Oci { path, select: Selector::Name(tag) } => Ok((path, tag)),
        Source::Oci { .. }
        | Source::OciArchive { .. }
        | Source::DockerArchive { .. }
        | Source::Registry(_) => Err(Failure::new(
            Kind::InvalidArgument,
            format!("{text}: images are written to a layout folder, under a tag"),
        )
        .hint("write it as oci:DIR:TAG")),
    }
}

/// The image that the snapshot stands on, up to its parent; `None` for one without a parent.
fn base(
    wire: &Wire,
    chains: &Chains,
    snapshots: &OverlaySnapshotter,
    key: &str,
) -> Result<Option<Found>, Failure> {
    let info = snapshots.stat(key).map_err(explain)?;
    let Some(parent) = info.parent else { return Ok(None) };
    let no_image = || {
        Failure::new(
            Kind::FailedPrecondition,
            format!("{key} stands on {parent}, which no image is known of"),
        )
        .hint("prepare it on a snapshot that stratafs unpack made")
    };
    let chain: ChainId = parent.parse().map_err(|_| no_image())?;
    let image = chains.image_of(&chain)?.ok_or_else(no_image)?;
    let mut found = wire.image(&image)?;
    found.image = found.image.prefix(&chain).ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("{image} has no chain {chain} any more"))
            .hint("unpack the image again")
    })?;
    Ok(Some(found))
}

/// Copies the layers of the base that the layout does not have.
fn copy_layers(found: &Found, layout: &Layout) -> Result<(), Failure> {
    let handler = fetch_handler(&*found.provider, layout, &|_, _| {});
    let layers: Vec<Descriptor> =
        found.image.layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let limit = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Ok(crate::image::dispatch(&handler, limit, &layers, &Cancel::new())?)
}

/// Writes a layer into the layout.
fn write_layer(
    layout: &Layout,
    compression: Compression,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(Descriptor, crate::digest::DiffId), Failure> {
    let codec = compare::codec(compression);
    let WrittenLayer { diff_id, digest, size, .. } = write_blob(layout, codec, write)?;
    let media_type = match codec {
        Codec::Plain => media_type::OCI_LAYER,
        Codec::Gzip => media_type::OCI_LAYER_GZIP,
        Codec::Zstd => media_type::OCI_LAYER_ZSTD,
    };
    Ok((Descriptor::new(media_type, digest, size), diff_id))
}
