//! `unpack`: the layers of an image as committed snapshots, each named by its chain ID.

use std::time::Duration;

use serde::Serialize;

use crate::chain::{UnpackOptions, unpack};
use crate::error::{Classify, Kind};
use crate::image::{Image, Layer};
use crate::snapshot::{
    LABEL_REF, Labels, LazyLayer, OverlaySnapshotter, Owner, Snapshotter, Usage,
};

use super::args::UnpackArgs;
use super::chains::Chains;
use super::failure::Failure;
use super::output::Output;
use super::wire::{Found, Wire};

/// How long the files of an image are kept while its snapshots are being made.
const LEASE: Duration = Duration::from_secs(3600);

#[derive(Debug, Serialize)]
struct Unpacked {
    /// The name of the top snapshot: what to prepare on.
    snapshot: String,
    layers: usize,
}

/// Makes the snapshots that are missing and says what the top one is called.
pub(crate) fn run(wire: &Wire, args: &UnpackArgs, out: Output) -> Result<(), Failure> {
    let found = wire.image(&args.image)?;
    let Some(top) = found.image.chain_id().cloned() else {
        return Err(Failure::new(Kind::InvalidArgument, "the image has no layers to unpack"));
    };
    let chains = Chains::named(wire.config());
    let source = wire.absolute_image(&args.image)?;
    remember(&chains, &found.image, &source)?;
    if args.lazy {
        lazily(wire, &found, chains)?;
    } else {
        let backend = wire.snapshots(Chains::served(wire.config()))?;
        let locks = Some(wire.config().root.join("locks"));
        let options = UnpackOptions { locks, ..UnpackOptions::default() };
        let snapshots = backend.snapshotter(Owner::CommandLine);
        unpack(&snapshots, &found.provider, &found.image, &options)?;
    }
    let unpacked = Unpacked { snapshot: top.to_string(), layers: found.image.layers.len() };
    out.show(&unpacked, |unpacked| format!("{}\n", unpacked.snapshot))
}

/// Registers the layers of an image, whose chains were remembered, as committed snapshots: nothing
/// is mounted or unpacked. Says which were not there before; what fails leaves none of them.
pub(super) fn lazily(wire: &Wire, found: &Found, chains: Chains) -> Result<Vec<String>, Failure> {
    let image = &found.image;
    let backend = wire.snapshots(chains)?;
    let lease = backend.lease(LEASE)?;
    let layers: Vec<_> =
        image.layers.iter().map(|l| (l.diff_id.clone(), l.descriptor.digest.clone())).collect();
    lease.record(&layers)?;
    wire.prepare_found(found)?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let mut made = Vec::new();
    if let Err(failure) = commit_layers(&snapshots, &image.layers, &mut made) {
        for name in made.iter().rev() {
            if let Err(error) = snapshots.remove(name) {
                tracing::warn!(%name, %error, "a snapshot stays");
            }
        }
        return Err(failure);
    }
    Ok(made)
}

/// Commits the layers that are missing; says which.
fn commit_layers(
    snapshots: &OverlaySnapshotter,
    layers: &[Layer],
    made: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut parent: Option<String> = None;
    for layer in layers {
        let name = layer.chain_id.to_string();
        if !exists(snapshots, &name)? {
            let labels = Labels::from([(LABEL_REF.to_owned(), name.clone())]);
            let lazy = LazyLayer {
                chain: layer.chain_id.clone(),
                diff_id: layer.diff_id.clone(),
                usage: Usage::default(),
            };
            match snapshots.commit_lazy(&name, parent.as_deref(), &labels, &lazy) {
                Ok(()) => made.push(name.clone()),
                // Another process was faster, with the same content.
                Err(e) if e.kind() == Kind::AlreadyExists => {}
                Err(e) => return Err(e.into()),
            }
        }
        parent = Some(name);
    }
    Ok(())
}

/// Remembers that `source` has the layers of `image`.
pub(super) fn remember(chains: &Chains, image: &Image, source: &str) -> Result<(), Failure> {
    image.layers.iter().try_for_each(|layer| chains.remember(&layer.chain_id, source))
}

fn exists(snapshots: &dyn Snapshotter, name: &str) -> Result<bool, Failure> {
    match snapshots.stat(name) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == Kind::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}
