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
        IndexVerb::Ls => show(&wire.store()?.indexes()?, out),
    }
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
