use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;

use crate::checkpoint::{
    BaseLayers, Checkpoint, Keep, Layers, LayersError, Restored, Restorer, Wanted,
};
use crate::content::Descriptor;
use crate::error::Kind;
use crate::image::{Selector, Source};
use crate::snapshot::Owner;

use crate::cli::args::CheckpointRestoreArgs;
use crate::cli::chains::Chains;
use crate::cli::container::{self, Container, Record, Start};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::runtime::Runc;
use crate::cli::signals::Termination;
use crate::cli::unpack;
use crate::cli::wire::Wire;

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    image: String,
    bundle: std::path::PathBuf,
    command: Vec<String>,
    left_out: Vec<String>,
}

/// Makes the container, and starts it where that is wanted.
pub(super) fn run(
    wire: &Wire,
    args: &CheckpointRestoreArgs,
    out: Output,
) -> Result<ExitCode, Failure> {
    let starts = args.run || args.live;
    let runtime = if starts { Some(Runc::find(wire, args.runtime)?) } else { None };
    let termination = Termination::watch()?;
    let keep = if args.live { Keep::All } else { Keep::Described };
    let checkpoint = super::open(wire, &args.reference, keep)?;
    if args.live {
        checkpoint.memory()?;
        container::need_criu_to_restore()?;
    }
    let (container, is_new) = place(wire, args, runtime.as_ref())?;
    let restored = match restore(wire, args, &checkpoint, &container) {
        Ok(restored) => restored,
        Err(failure) => {
            if is_new {
                container::undo(wire, &container, &Default::default());
            }
            return Err(explain(failure, args));
        }
    };
    for left_out in &restored.left_out {
        writeln!(io::stderr(), "stratafs: left out: {left_out}")?;
    }
    match &runtime {
        Some(runtime) => {
            let (live, detach) = (args.live, args.detach);
            let how = Start { runtime, termination: &termination, live, detach };
            container.start(wire, &how).inspect_err(|_| {
                // Without its processes it is not what was asked for; CRIU's log stays.
                if live && is_new {
                    let _there_may_be_none = runtime.delete(&container.name);
                    container::undo(wire, &container, &restored.made);
                }
            })
        }
        None => show(&container, &restored, out).map(|()| ExitCode::SUCCESS),
    }
}

/// The container's folder, and whether it was not there before.
fn place(
    wire: &Wire,
    args: &CheckpointRestoreArgs,
    runtime: Option<&Runc>,
) -> Result<(Container, bool), Failure> {
    let Some(container) = Container::find(wire, &args.name)?.filter(|_| args.reuse) else {
        return Ok((Container::create(wire, &args.name)?, true));
    };
    let found;
    let runtime = match runtime {
        Some(runtime) => runtime,
        None => {
            found = Runc::find(wire, args.runtime)?;
            &found
        }
    };
    match runtime.state(&args.name)? {
        Some(state) if state.is_alive() => return Err(container::running(&args.name)),
        Some(_) => runtime.delete(&args.name)?,
        None => {}
    }
    // What a mounted overlay shows while its upper folder changes is undefined.
    container.unmount()?;
    for folder in [container.memory(), container.stand_ins()] {
        match fs::remove_dir_all(folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    Ok((container, false))
}

/// Makes snapshot and bundle; what fails takes away the snapshots that it made.
fn restore(
    wire: &Wire,
    args: &CheckpointRestoreArgs,
    checkpoint: &Checkpoint,
    container: &Container,
) -> Result<Restored, Failure> {
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let layers = Images::new(wire, args);
    let (work, stand_ins) = (super::work(wire)?, container.stand_ins());
    let restorer = Restorer {
        snapshots: &snapshots,
        layers: &layers,
        reuse: args.reuse,
        without_changes: args.without_rw,
        work: &work,
        stand_ins: args.live.then_some(&stand_ins),
    };
    let restored = restorer.restore(checkpoint, &args.name)?;
    let record = Record {
        image: layers.found.take(),
        image_name: checkpoint.base.name.clone(),
        runtime: restored.runtime.name.clone(),
        runtime_options: restored.runtime.options.as_ref().map(|any| hex::encode(any.encode())),
    };
    let filled = container.fill(&record, &restored.spec, &restored.mounts).and_then(|()| {
        match &restored.task {
            Some(memory) if args.live => Ok(memory.unpack(&container.memory())?),
            _ => Ok(()),
        }
    });
    if let Err(failure) = filled {
        if let Err(error) = container.unmount() {
            tracing::warn!(%error, "a mount stays");
        }
        restored.made.remove(&snapshots);
        return Err(failure);
    }
    Ok(restored)
}

fn show(container: &Container, restored: &Restored, out: Output) -> Result<(), Failure> {
    let shown = Shown {
        name: container.name.clone(),
        image: restored.image.descriptor.digest.to_string(),
        bundle: container.dir.clone(),
        command: restored.spec.args(),
        left_out: restored.left_out.iter().map(ToString::to_string).collect(),
    };
    out.show(&shown, |shown| {
        let bundle = shown.bundle.display();
        format!("{bundle} is a bundle; run it with: runc run --bundle {bundle} {}\n", shown.name)
    })
}

fn explain(failure: Failure, args: &CheckpointRestoreArgs) -> Failure {
    let text = failure.to_string();
    if text.contains("no rw layer") {
        return failure.hint("restore the image alone with --without-rw");
    }
    if text.contains("image of the container") || text.contains("which image") {
        return failure.hint("say where the image is: --image IMAGE");
    }
    if failure.kind() == Kind::AlreadyExists {
        let name = &args.name;
        return failure.hint(format!("use another name, --reuse it, or: stratafs rm {name}"));
    }
    failure
}

/// The images that containers were made of, their layers shown lazily.
struct Images<'a> {
    wire: &'a Wire,
    args: &'a CheckpointRestoreArgs,
    /// Where the last one was found.
    found: std::cell::RefCell<String>,
}

impl<'a> Images<'a> {
    fn new(wire: &'a Wire, args: &'a CheckpointRestoreArgs) -> Self {
        Self { wire, args, found: Default::default() }
    }

    /// Where the image is, in the order in which to look.
    fn places(&self, wanted: Wanted<'_>) -> Result<Vec<String>, Failure> {
        if let Some(image) = &self.args.image {
            return Ok(vec![self.wire.absolute_image(image)?]);
        }
        let reference = &self.args.reference;
        match wanted {
            Wanted::Carried(_, descriptor) => {
                let inside = within(reference, descriptor)?;
                Ok(vec![self.wire.absolute_image(&inside)?])
            }
            Wanted::Named(name) => {
                let mut places = Vec::new();
                if let Ok(Source::Oci { path, .. }) = reference.parse() {
                    let select = Selector::Name(name.to_owned());
                    places
                        .push(self.wire.absolute_image(&Source::Oci { path, select }.to_string())?);
                }
                places.push(format!("docker://{name}"));
                Ok(places)
            }
        }
    }

    fn prepare(&self, wanted: Wanted<'_>) -> Result<Layers, Failure> {
        let mut last = None;
        for place in self.places(wanted)? {
            match self.wire.image(&place) {
                Ok(found) => {
                    let chains = Chains::named(self.wire.config());
                    unpack::remember(&chains, &found.image, &place)?;
                    let made = unpack::lazily(self.wire, &found, chains)?;
                    self.found.replace(place);
                    return Ok(Layers { image: found.image, made });
                }
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::new(Kind::NotFound, "there is no place to look in")))
    }
}

impl BaseLayers for Images<'_> {
    fn prepare(&self, wanted: Wanted<'_>) -> Result<Layers, LayersError> {
        self.prepare(wanted)
            .map_err(|e| LayersError { kind: e.kind(), source: e.to_string().into() })
    }
}

/// The image of `descriptor` in the store that `reference` names.
fn within(reference: &str, descriptor: &Descriptor) -> Result<String, Failure> {
    let select = Selector::Digest(descriptor.digest.clone());
    let source = match reference.parse()? {
        Source::Oci { path, .. } => Source::Oci { path, select },
        Source::OciArchive { path, .. } => Source::OciArchive { path, select },
        Source::DockerArchive { path, .. } => Source::DockerArchive { path, select },
        Source::Registry(reference) => {
            Source::Registry(reference.with_digest(descriptor.digest.clone()))
        }
    };
    Ok(source.to_string())
}
