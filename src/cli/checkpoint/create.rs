use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;

use crate::checkpoint::{Any, Creator, Runtime as ContainerRuntime};
use crate::content::Descriptor;
use crate::digest::ChainId;
use crate::error::Kind;
use crate::image::{Cancel, Source, copy, host_platform};
use crate::snapshot::{OverlaySnapshotter, Owner, Snapshotter};

use crate::cli::args::{CheckpointCreateArgs, Runtime};
use crate::cli::chains::Chains;
use crate::cli::compare;
use crate::cli::container::{Container, Record};
use crate::cli::destination::Destination;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::runtime::{Runc, State, met_a_start};
use crate::cli::wire::Wire;

#[derive(Debug, Serialize)]
struct Shown {
    reference: String,
    index: String,
    image_name: String,
    members: Vec<&'static str>,
}

/// Which parts are wanted.
#[derive(Debug, Clone, Copy)]
struct Parts {
    rw: bool,
    image: bool,
    task: bool,
}

impl Parts {
    fn of(args: &CheckpointCreateArgs) -> Self {
        let none = !args.rw && !args.image && !args.task;
        Self { rw: args.rw || none, image: args.image || none, task: args.task }
    }

    fn names(self) -> Vec<&'static str> {
        let all = [(self.rw, "rw"), (self.image, "image"), (self.task, "task")];
        all.into_iter().filter_map(|(wanted, name)| wanted.then_some(name)).collect()
    }
}

/// Writes the checkpoint and says the digest of its index.
pub(super) fn run(wire: &Wire, args: &CheckpointCreateArgs, out: Output) -> Result<(), Failure> {
    let parts = Parts::of(args);
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let container = Container::find(wire, &args.name)?;
    let record = record(wire, &snapshots, container.as_ref(), &args.name)?;
    let image_name = match args.image_name.clone().or_else(|| record.image_name.clone()) {
        Some(name) => name,
        None => name_of(&record.image)?,
    };
    let destination = wire.destination(&args.reference)?;
    let image = if parts.image { Some(copy_image(wire, &record, &destination)?) } else { None };
    let work = tempfile::Builder::new().prefix("create-").tempdir_in(super::work(wire)?)?;
    let stopped = Stopped::new(wire, container.as_ref(), parts, args.stop)?;
    let memory = work.path().join("memory");
    if parts.task {
        stopped.dump(&args.name, &memory)?;
    }
    let spec = container.as_ref().map(Container::spec).transpose()?;
    // It is this machine's, and may be in use when another engine restores the container.
    let spec = spec.map(|spec| spec.with_cgroup(None));
    let options = record.runtime_options.as_deref().and_then(|text| hex::decode(text).ok());
    let runtime = ContainerRuntime {
        name: record.runtime,
        options: options.and_then(|bytes| Any::parse(&bytes).ok()),
    };
    let target = compare::target_of(&snapshots, &args.name)?;
    let options = compare::options()?;
    let mut changes = |out: &mut dyn std::io::Write| compare::write_changes(&target, &options, out);
    let creator = Creator {
        image_name: &image_name,
        snapshotter: &args.snapshotter,
        runtime: &runtime,
        platform: host_platform(),
        image,
        changes: parts.rw.then_some(&mut changes),
        spec: spec.as_ref(),
        memory: parts.task.then_some((memory.as_path(), args.stop)),
    };
    let index = creator.write(destination.store())?;
    stopped.go_on()?;
    destination.name(&index)?;
    let shown = Shown {
        reference: args.reference.clone(),
        index: index.digest.to_string(),
        image_name,
        members: parts.names(),
    };
    out.show(&shown, |shown| format!("{}\n", shown.index))
}

/// What the container, or the snapshot alone, was made of.
fn record(
    wire: &Wire,
    snapshots: &OverlaySnapshotter,
    container: Option<&Container>,
    name: &str,
) -> Result<Record, Failure> {
    if let Some(container) = container {
        return container.record();
    }
    let info = snapshots.stat(name).map_err(|e| {
        Failure::from(e).hint("stratafs ps lists containers, stratafs snapshot ls snapshots")
    })?;
    let chain = info.parent.as_deref().and_then(|parent| parent.parse::<ChainId>().ok());
    let image = match &chain {
        Some(chain) => Chains::named(wire.config()).image_of(chain)?,
        None => None,
    };
    let image = image.ok_or_else(|| {
        Failure::new(Kind::FailedPrecondition, format!("no image is known that {name} stands on"))
            .hint("prepare it on a snapshot that stratafs unpack made")
    })?;
    Ok(Record { image, ..Record::default() })
}

/// What containerd may know `image` as.
fn name_of(image: &str) -> Result<String, Failure> {
    match image.parse()? {
        Source::Registry(reference) => Ok(reference.to_string()),
        Source::Oci { .. } | Source::OciArchive { .. } | Source::DockerArchive { .. } => {
            Err(Failure::new(
                Kind::InvalidArgument,
                format!("nothing says what containerd knows {image} as"),
            )
            .hint("say it: --image-name HOST/REPOSITORY:TAG"))
        }
    }
}

/// Copies all of the image to where the checkpoint goes.
fn copy_image(
    wire: &Wire,
    record: &Record,
    destination: &Destination,
) -> Result<Descriptor, Failure> {
    let (provider, root) = wire.open(&record.image)?;
    let limit = NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN);
    let (store, cancel) = (destination.store(), Cancel::new());
    copy(&*provider, store, &root, |graph| graph, limit, &|_, _| {}, &cancel)?;
    // What the descriptor is called where it comes from means nothing where it goes.
    let mut image = Descriptor::new(root.media_type, root.digest, root.size);
    image.platform = root.platform;
    Ok(image)
}

/// How often it is tried to write the memory of processes of which one was just being started.
const ATTEMPTS: usize = 3;

/// A container whose processes stand still, if it has any, until this is dropped.
struct Stopped<'a> {
    container: Option<&'a Container>,
    /// Where there are processes.
    runtime: Option<Runc>,
    /// Whether they are to be gone when their memory is written.
    stop: bool,
    paused: std::cell::Cell<bool>,
}

impl<'a> Stopped<'a> {
    fn new(
        wire: &Wire,
        container: Option<&'a Container>,
        parts: Parts,
        stop: bool,
    ) -> Result<Self, Failure> {
        let mut stopped =
            Self { container, runtime: None, stop, paused: std::cell::Cell::new(false) };
        let Some(container) = container else { return Ok(stopped) };
        let runtime = Runc::find(wire, Runtime::Auto)?;
        let Some(state) = runtime.state(&container.name)?.filter(State::is_alive) else {
            return Ok(stopped);
        };
        if state.status == "running" && (parts.rw || parts.task) {
            runtime.pause(&container.name)?;
            stopped.paused.set(true);
        }
        stopped.runtime = Some(runtime);
        Ok(stopped)
    }

    /// Writes the memory of the processes to the folder `memory`.
    fn dump(&self, name: &str, memory: &Path) -> Result<(), Failure> {
        let (Some(runtime), Some(container)) = (&self.runtime, self.container) else {
            let text = format!("{name} is no running container: it has no memory to write");
            return Err(Failure::new(Kind::FailedPrecondition, text).hint("leave out --task"));
        };
        // Where its log is to be found when it fails.
        let work = container.dir.join("work");
        fs::create_dir_all(&work)?;
        for attempt in 1.. {
            fs::create_dir(memory)?;
            let Err(failure) = runtime.checkpoint(&container.name, memory, &work, self.stop) else {
                break;
            };
            if attempt == ATTEMPTS || !met_a_start(&work.join("dump.log")) {
                return Err(failure);
            }
            tracing::info!(container = name, %failure, "its processes go on for a moment");
            fs::remove_dir_all(memory)?;
            self.go_on()?;
            runtime.pause(&container.name)?;
            self.paused.set(true);
        }
        if self.stop {
            self.paused.set(false);
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), Failure> {
        match (&self.runtime, self.container) {
            (Some(runtime), Some(container)) if self.paused.replace(false) => {
                runtime.resume(&container.name)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if let Err(failure) = self.go_on() {
            let name = self.container.map_or("", |container| &container.name);
            tracing::error!(container = name, %failure, "it stays paused");
        }
    }
}
