//! `ps` and `rm`.

use std::fs;
use std::io;

use serde::Serialize;

use super::{Container, check_name, folder, no_such, running};
use crate::cli::args::{RmArgs, Runtime};
use crate::cli::chains::Chains;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::runtime::Runc;
use crate::cli::wire::Wire;
use crate::error::{Classify as _, Kind};
use crate::snapshot::{Owner, Snapshotter as _};

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    status: String,
    pid: Option<i32>,
    image: String,
}

/// Lists containers.
pub(in crate::cli) fn ps(wire: &Wire, out: Output) -> Result<(), Failure> {
    let mut shown = Vec::new();
    let runtime = Runc::find(wire, Runtime::Auto)?;
    for name in names(wire)? {
        let Some(container) = Container::find(wire, &name)? else { continue };
        let state = runtime.state(&name)?.filter(|state| state.is_alive());
        let status = state.as_ref().map_or("stopped", |state| &state.status).to_owned();
        // One that is just being made has no record yet.
        let image = container.record().map(|record| record.image).unwrap_or_default();
        shown.push(Shown { name, status, pid: state.map(|state| state.pid), image });
    }
    out.show(&shown, |shown| {
        let width = shown.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
        let line = |s: &Shown| format!("{:width$}  {:8}  {}\n", s.name, s.status, s.image);
        shown.iter().map(line).collect()
    })
}

fn names(wire: &Wire) -> Result<Vec<String>, Failure> {
    let entries = match fs::read_dir(folder(wire)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && check_name(&name).is_ok()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes containers.
pub(in crate::cli) fn rm(wire: &Wire, args: &RmArgs) -> Result<(), Failure> {
    let runtime = Runc::find(wire, Runtime::Auto)?;
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    for name in &args.names {
        let container = Container::find(wire, name)?.ok_or_else(|| no_such(name))?;
        match runtime.state(name)? {
            Some(state) if state.is_alive() && !args.force => return Err(running(name)),
            Some(_) => {
                container.wait_for_criu(&runtime);
                runtime.delete(name)?;
            }
            None => {}
        }
        container.remove_files()?;
        runtime.forget_restore(name)?;
        match snapshots.remove(name) {
            Err(e) if e.kind() != Kind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    Ok(snapshots.cleanup()?)
}
