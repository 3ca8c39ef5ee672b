//! `apply`: a layer to an active snapshot or a folder.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::diff::{ApplyOptions, Target, apply};
use crate::error::Kind;
use crate::snapshot::{Owner, Snapshotter};

use super::args::ApplyArgs;
use super::chains::Chains;
use super::failure::Failure;
use super::output::Output;
use super::wire::Wire;

#[derive(Debug, Serialize)]
struct Shown {
    diff_id: String,
    size: u64,
    entries: u64,
}

/// Applies the layer and says its diffID.
pub(crate) fn run(wire: &Wire, args: &ApplyArgs, out: Output) -> Result<(), Failure> {
    let target = match (&args.dir, &args.key) {
        (Some(dir), _) => Target::Folder(dir.clone()),
        (None, Some(key)) => of_snapshot(wire, key)?,
        (None, None) => {
            return Err(Failure::new(Kind::InvalidArgument, "nothing to apply the layer to"));
        }
    };
    let applied = apply(open(&args.layer)?, &target, &ApplyOptions::default()).map_err(|e| {
        let failure = Failure::from(e);
        Failure::new(failure.kind(), format!("{}: {failure}", args.layer.display()))
            .hint("what it was applied to holds a part of the layer: remove it")
    })?;
    let shown = Shown {
        diff_id: applied.diff_id.to_string(),
        size: applied.size,
        entries: applied.entries,
    };
    out.show(&shown, |shown| format!("{}\n", shown.diff_id))
}

fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = File::open(path)
        .map_err(|e| Failure::new(Kind::of_io(&e), format!("{}: {e}", path.display())))?;
    Ok(Box::new(file))
}

fn of_snapshot(wire: &Wire, key: &str) -> Result<Target, Failure> {
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let mounts = backend.snapshotter(Owner::CommandLine).mounts(key)?;
    match &mounts[..] {
        [mount] => Ok(Target::of_mount(&mount.fs_type, &mount.source, &mount.options)?),
        _ => Err(Failure::new(Kind::FailedPrecondition, format!("{key} is not one mount"))),
    }
}
