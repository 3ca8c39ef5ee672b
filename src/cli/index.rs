//! `index`: the indexes of layers.

use serde::Serialize;

use crate::digest::Digest;

use super::args::IndexVerb;
use super::failure::Failure;
use super::output::{Output, human_size};
use super::wire::Wire;

#[derive(Debug, Serialize)]
struct IndexShown {
    digest: String,
    bytes: u64,
}

/// Runs a verb of `index`.
pub(crate) fn run(wire: &Wire, verb: &IndexVerb, out: Output) -> Result<(), Failure> {
    match verb {
        IndexVerb::Build(args) => {
            wire.prepare(&args.image)?;
            let found = wire.image(&args.image)?;
            let blobs: Vec<_> = found.image.layers.iter().map(|l| &l.descriptor.digest).collect();
            let mut indexes = wire.store()?.indexes()?;
            indexes.retain(|(digest, _)| blobs.contains(&digest));
            show(&indexes, out)
        }
        IndexVerb::Push(args) => push(wire, &args.image, out),
        IndexVerb::Ls => show(&wire.store()?.indexes()?, out),
    }
}

#[derive(Debug, Serialize)]
struct Pushed {
    /// The digest of the artifact's manifest: what `--trust-index` takes.
    artifact: Option<String>,
    layers: usize,
}

fn push(wire: &Wire, image: &str, out: Output) -> Result<(), Failure> {
    let pushed = wire.push_index(image)?;
    let shown = Pushed {
        artifact: pushed.as_ref().map(|(artifact, _)| artifact.digest.to_string()),
        layers: pushed.as_ref().map_or(0, |(_, layers)| *layers),
    };
    out.show(&shown, |shown| match &shown.artifact {
        Some(digest) => format!("{digest}\n"),
        None => "every layer brings an index of its own: nothing to push\n".to_owned(),
    })
}

fn show(indexes: &[(Digest, u64)], out: Output) -> Result<(), Failure> {
    let shown: Vec<IndexShown> = indexes
        .iter()
        .map(|(digest, bytes)| IndexShown { digest: digest.to_string(), bytes: *bytes })
        .collect();
    out.show(&shown, |shown| {
        shown.iter().map(|i| format!("{}  {}\n", i.digest, human_size(i.bytes))).collect()
    })
}
