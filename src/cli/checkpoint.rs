//! `checkpoint`: create, inspect and restore checkpoints of containers.

mod create;
mod inspect;
mod restore;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::checkpoint::{self, Checkpoint, Keep};
use crate::error::Kind;

use super::args::CheckpointVerb;
use super::failure::Failure;
use super::output::Output;
use super::wire::Wire;

/// Runs a verb of `checkpoint`.
pub(super) fn run(wire: &Wire, verb: &CheckpointVerb, out: Output) -> Result<ExitCode, Failure> {
    match verb {
        CheckpointVerb::Create(a) => create::run(wire, a, out).map(|()| ExitCode::SUCCESS),
        CheckpointVerb::Inspect(a) => inspect::run(wire, a, out).map(|()| ExitCode::SUCCESS),
        CheckpointVerb::Restore(a) => restore::run(wire, a, out),
    }
}

/// The checkpoint that `reference` names; an archive is unpacked in the state root.
fn open(wire: &Wire, reference: &str, keep: Keep) -> Result<Checkpoint, Failure> {
    let work = work(wire)?;
    if let Some(path) = reference.strip_prefix("archive:") {
        let file =
            File::open(path).map_err(|e| Failure::new(Kind::of_io(&e), format!("{path}: {e}")))?;
        return Ok(checkpoint::open_archive(file, path, &work, keep)?);
    }
    let (provider, root) = wire.open(reference).map_err(|failure| {
        if failure.kind() == Kind::InvalidArgument && !reference.contains(':') {
            return failure.hint(format!("an archive is written as archive:{reference}"));
        }
        failure
    })?;
    Ok(checkpoint::open(&provider, &root, &work, keep)?)
}

/// Where checkpoints are unpacked: in the filesystem of the containers.
fn work(wire: &Wire) -> Result<PathBuf, Failure> {
    let work = wire.config().root.join("work");
    fs::create_dir_all(&work)?;
    Ok(work)
}
