//! `apply`: a layer to an active snapshot or a folder.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::diff::{ApplyOptions, Target, apply};
use crate::error::Kind;
use crate::snapshot::{self, Owner, Snapshotter};

use super::advice::explain;
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
        (Some(dir), _) => folder(dir)?,
        (None, Some(key)) => of_snapshot(wire, key)?,
        (None, None) => {
            return Err(Failure::new(Kind::InvalidArgument, "nothing to apply the layer to"));
        }
    };
    let applied = apply(open(&args.layer)?, &target, &ApplyOptions::default()).map_err(|e| {
        let failure = Failure::from(e);
        Failure::new(failure.kind(), format!("{}: {failure}", args.layer.display())).hint(
            "it is applied in part: remove what it was applied to, and take a layer that is whole",
        )
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

fn folder(path: &Path) -> Result<Target, Failure> {
    if path.is_dir() {
        return Ok(Target::Folder(path.to_owned()));
    }
    Err(Failure::new(Kind::NotFound, format!("{}: there is no such folder", path.display()))
        .hint("layers are applied to folders that exist: make it first"))
}

fn of_snapshot(wire: &Wire, key: &str) -> Result<Target, Failure> {
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let info = snapshots.stat(key).map_err(explain)?;
    if info.kind != snapshot::Kind::Active {
        let text =
            format!("snapshot {key:?} is {}, not active: no layer can be applied", info.kind);
        return Err(Failure::new(Kind::FailedPrecondition, text)
            .hint(format!("prepare one on it: stratafs snapshot prepare KEY {key}")));
    }
    super::compare::target_of(&snapshots, key)
}
