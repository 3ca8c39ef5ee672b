//! Containers that are kept: those of `run --name` and of `checkpoint restore`.
//!
//! # Layout
//!
//! ```text
//! ROOT/containers/<name>/container.json    what it was made of
//! ROOT/containers/<name>/config.json       its runtime specification
//! ROOT/containers/<name>/rootfs/           its snapshot, mounted
//! ROOT/containers/<name>/memory/           the memory image that it goes on from
//! ROOT/containers/<name>/mounts/           what stands in for mounts that are not on this machine
//! ROOT/containers/<name>/live/             a bundle for going on from memory: with a hook
//! ROOT/containers/<name>/log               what it printed in the background
//! ```
//!
//! Its folder is a bundle. Its snapshot has the container's name as its key, and so has the runtime.

mod start;
mod verbs;

pub(super) use start::{Start, keep, raise_loopback};
pub(super) use verbs::{ps, rm};

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::bundle::{Process, runtime_spec};
use crate::checkpoint::{Made, Spec};
use crate::digest::Digest;
use crate::error::Kind;
use crate::io::AtomicFile;
use crate::snapshot::{Labels, Mount, Owner, Snapshotter, mounter};

use super::args::RunArgs;
use super::chains::Chains;
use super::failure::Failure;
use super::runtime::{Runc, need_criu};
use super::signals::Termination;
use super::wire::Wire;
use super::{bundle, unpack};

/// The longest name: it is a file name, and that of a cgroup.
const MAX_NAME: usize = 128;

/// What a container was made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// The image, as `mount` takes it.
    pub(super) image: String,
    /// What its engine called the image.
    pub(super) image_name: Option<String>,
    /// The name of its runtime.
    pub(super) runtime: Option<String>,
    /// The options of its runtime: a message in hexadecimal.
    pub(super) runtime_options: Option<String>,
}

/// A container that is kept.
#[derive(Debug, Clone)]
pub(super) struct Container {
    /// Its name.
    pub(super) name: String,
    /// Its folder.
    pub(super) dir: PathBuf,
}

impl Container {
    fn at(wire: &Wire, name: &str) -> Result<Self, Failure> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), dir: folder(wire).join(name) })
    }

    /// The container `name`; `None` where there is none.
    pub(super) fn find(wire: &Wire, name: &str) -> Result<Option<Self>, Failure> {
        let container = Self::at(wire, name)?;
        Ok(container.dir.is_dir().then_some(container))
    }

    /// The folder of a new container.
    pub(super) fn create(wire: &Wire, name: &str) -> Result<Self, Failure> {
        let container = Self::at(wire, name)?;
        fs::create_dir_all(folder(wire))?;
        match fs::create_dir(&container.dir) {
            Ok(()) => Ok(container),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::new(Kind::AlreadyExists, format!("container {name:?} exists already"))
                    .hint(format!("use another name, or: stratafs rm {name}")))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Writes its files and mounts its root filesystem.
    pub(super) fn fill(
        &self,
        record: &Record,
        spec: &Spec,
        mounts: &[Mount],
    ) -> Result<(), Failure> {
        fs::create_dir_all(self.rootfs())?;
        let spec = spec.with_cgroup(Some(&self.cgroup()));
        self.write("config.json", &spec.to_json())?;
        self.write("container.json", record)?;
        Ok(mounter::mount(mounts, &self.rootfs())?)
    }

    fn write(&self, file: &str, value: &impl Serialize) -> Result<(), Failure> {
        let mut file = AtomicFile::create(&self.dir.join(file))?;
        let json = serde_json::to_vec_pretty(value).map_err(io::Error::from)?;
        file.file().write_all(&json)?;
        Ok(file.commit()?)
    }

    /// What it was made of.
    pub(super) fn record(&self) -> Result<Record, Failure> {
        let bytes = read(&self.dir.join("container.json"))?;
        Ok(serde_json::from_slice(&bytes).map_err(io::Error::from)?)
    }

    /// How it runs, here.
    pub(super) fn spec(&self) -> Result<Spec, Failure> {
        let bytes = read(&self.dir.join("config.json"))?;
        Spec::decode(&bytes).map_err(|e| {
            Failure::new(Kind::DataLoss, format!("{}: {e}", self.dir.join("config.json").display()))
        })
    }

    /// A cgroup that no container of the same name in another state root has: what pauses or ends one
    /// of them is not to meet the other.
    fn cgroup(&self) -> String {
        let place = Digest::sha256(self.dir.as_os_str().as_encoded_bytes());
        format!("/stratafs-{}-{}", self.name, place.short())
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Where the memory image is that it goes on from.
    pub(super) fn memory(&self) -> PathBuf {
        self.dir.join("memory")
    }

    /// Where what stands in for mounts of another machine is.
    pub(super) fn stand_ins(&self) -> PathBuf {
        self.dir.join("mounts")
    }

    /// Takes away what is mounted on its root filesystem.
    pub(super) fn unmount(&self) -> Result<(), Failure> {
        let rootfs = self.rootfs();
        while is_mount_point(&rootfs)? {
            mounter::unmount(&rootfs)?;
        }
        Ok(())
    }

    /// Takes away its mount and its folder.
    pub(super) fn remove_files(&self) -> Result<(), Failure> {
        self.unmount()?;
        // Where something is mounted after all, this fails before anything in it is touched.
        match fs::remove_dir(self.rootfs()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        Ok(fs::remove_dir_all(&self.dir)?)
    }
}

/// Makes a container of an image and runs it.
pub(super) fn create_and_run(
    wire: &Wire,
    args: &RunArgs,
    name: &str,
    runtime: &Runc,
    termination: &Termination,
) -> Result<ExitCode, Failure> {
    let container = Container::create(wire, name)?;
    let mut made = Made::default();
    let filled = make(wire, args, &container, &mut made);
    if let Err(failure) = filled {
        undo(wire, &container, &made);
        return Err(failure);
    }
    container.start(wire, &Start { runtime, termination, live: false, detach: args.detach })
}

fn make(
    wire: &Wire,
    args: &RunArgs,
    container: &Container,
    made: &mut Made,
) -> Result<(), Failure> {
    let found = wire.image(&args.image)?;
    let image = wire.absolute_image(&args.image)?;
    let chain = wire.chain(&args.image)?;
    let process = bundle::process(&found.image.config, &chain, &args.process)?;
    drop(chain);
    let process = Process { hostname: container.name.clone(), ..process };
    let spec = Spec::new(runtime_spec(&process)?)
        .map_err(|e| Failure::new(Kind::InvalidArgument, e.to_string()))?;
    let chains = Chains::named(wire.config());
    unpack::remember(&chains, &found.image, &image)?;
    made.names = unpack::lazily(wire, &found, chains)?;
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let parent = found.image.chain_id().map(ToString::to_string);
    let mounts = snapshots.prepare(&container.name, parent.as_deref(), &Labels::new())?;
    made.key = Some(container.name.clone());
    container.fill(&Record { image, ..Record::default() }, &spec, &mounts)
}

/// Takes away what there is of a container that failed half-way.
pub(super) fn undo(wire: &Wire, container: &Container, made: &Made) {
    if let Err(failure) = container.remove_files() {
        tracing::warn!(container = container.name, %failure, "its folder stays");
    }
    match wire.snapshots(Chains::served(wire.config())) {
        Ok(backend) => made.remove(&backend.snapshotter(Owner::CommandLine)),
        Err(failure) => tracing::warn!(container = container.name, %failure, "snapshots stay"),
    }
}

/// The failure for a container that runs and may not.
pub(super) fn running(name: &str) -> Failure {
    Failure::new(Kind::FailedPrecondition, format!("container {name:?} is running"))
        .hint(format!("end it first: stratafs rm --force {name} removes it whatever it does"))
}

fn no_such(name: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("container {name:?} does not exist"))
        .hint("stratafs ps lists what there is")
}

/// Refuses `--live` where there is no CRIU.
pub(super) fn need_criu_to_restore() -> Result<(), Failure> {
    need_criu("memory images are restored by CRIU, which is not installed: leave out --live")
}

fn folder(wire: &Wire) -> PathBuf {
    wire.config().root.join("containers")
}

/// Refuses names that a runtime or the filesystem would not take.
fn check_name(name: &str) -> Result<(), Failure> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts_well && name.len() <= MAX_NAME && name.bytes().all(good) {
        return Ok(());
    }
    let text = format!(
        "{name:?} is no name for a container: letters, digits, _ + - and . after the first, \
         at most {MAX_NAME}"
    );
    Err(Failure::new(Kind::InvalidArgument, text))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| Failure::new(Kind::of_io(&e), format!("{}: {e}", path.display())))
}

/// Whether something is mounted on `path`.
fn is_mount_point(path: &Path) -> Result<bool, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let (at, above) = match (fs::symlink_metadata(path), path.parent().map(fs::metadata)) {
        (Ok(at), Some(above)) => (at, above?),
        _ => return Ok(false),
    };
    Ok(at.dev() != above.dev())
}
