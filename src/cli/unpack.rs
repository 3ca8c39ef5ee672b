//! `unpack`: the layers of an image as committed snapshots, each named by its chain ID.

use std::time::Duration;

use serde::Serialize;

use crate::chain::{UnpackOptions, unpack};
use crate::error::{Classify, Kind};
use crate::snapshot::{LABEL_REF, Labels, LazyLayer, Owner, Snapshotter, Usage};

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
    for layer in &found.image.layers {
        chains.remember(&layer.chain_id, &source)?;
    }
    if args.lazy {
        lazily(wire, args, &found, chains)?;
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

/// Registers the layers: nothing is mounted or unpacked.
fn lazily(wire: &Wire, args: &UnpackArgs, found: &Found, chains: Chains) -> Result<(), Failure> {
    let image = &found.image;
    let backend = wire.snapshots(chains)?;
    let lease = backend.lease(LEASE)?;
    let layers: Vec<_> =
        image.layers.iter().map(|l| (l.diff_id.clone(), l.descriptor.digest.clone())).collect();
    lease.record(&layers)?;
    wire.prepare(&args.image)?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let mut parent: Option<String> = None;
    for layer in &image.layers {
        let name = layer.chain_id.to_string();
        if !exists(&snapshots, &name)? {
            let labels = Labels::from([(LABEL_REF.to_owned(), name.clone())]);
            let lazy = LazyLayer {
                chain: layer.chain_id.clone(),
                diff_id: layer.diff_id.clone(),
                usage: Usage::default(),
            };
            match snapshots.commit_lazy(&name, parent.as_deref(), &labels, &lazy) {
                // Another process was faster, with the same content.
                Err(e) if e.kind() == Kind::AlreadyExists => {}
                other => other?,
            }
        }
        parent = Some(name);
    }
    Ok(())
}

fn exists(snapshots: &dyn Snapshotter, name: &str) -> Result<bool, Failure> {
    match snapshots.stat(name) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == Kind::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}
