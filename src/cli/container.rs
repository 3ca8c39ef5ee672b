//! Containers that are kept: those of `run --name` and of `checkpoint restore`.
//!
//! # Layout
//!
//! ```text
//! ROOT/containers/<name>/container.json    what it was made of
//! ROOT/containers/<name>/config.json       its runtime specification
//! ROOT/containers/<name>/rootfs/           its snapshot, mounted
//! ROOT/containers/<name>/memory/           the memory image that it goes on from
//! ROOT/containers/<name>/log               what it printed in the background
//! ```
//!
//! Its folder is a bundle. Its snapshot has the container's name as its key, and so has the runtime.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::bundle::{Process, runtime_spec};
use crate::checkpoint::{Made, Spec};
use crate::error::{Classify as _, Kind};
use crate::io::AtomicFile;
use crate::snapshot::{Labels, Mount, Owner, Snapshotter, mounter};

use super::args::{KeepContainerArgs, RmArgs, RunArgs, Runtime};
use super::chains::Chains;
use super::failure::Failure;
use super::output::Output;
use super::runtime::{Runc, because_of, exit_code, need_criu};
use super::signals::Termination;
use super::wire::Wire;
use super::{bundle, unpack};

/// How long a container in the background may take to start.
const START: Duration = Duration::from_secs(60);
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

    /// How it runs.
    pub(super) fn spec(&self) -> Result<Spec, Failure> {
        let bytes = read(&self.dir.join("config.json"))?;
        Spec::decode(&bytes).map_err(|e| {
            Failure::new(Kind::DataLoss, format!("{}: {e}", self.dir.join("config.json").display()))
        })
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Where the memory image is that it goes on from.
    pub(super) fn memory(&self) -> PathBuf {
        self.dir.join("memory")
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

    /// Starts it, and waits for its end or, where it is to be left alone, until it runs.
    pub(super) fn start(&self, wire: &Wire, how: &Start<'_>) -> Result<ExitCode, Failure> {
        if how.detach {
            return self.keep_in_background(wire, how).map(|()| ExitCode::SUCCESS);
        }
        let terminal = self.spec()?.terminal();
        let child = if terminal {
            self.command(how).spawn()?
        } else {
            with_pipes(self.command(how), None)?
        };
        let status = how.runtime.wait(child, &self.name, how.termination)?;
        self.explain(how, status)?;
        Ok(exit_code(status))
    }

    fn command(&self, how: &Start<'_>) -> Command {
        if how.live {
            let work = self.dir.join("work");
            how.runtime.restore(&self.dir, &self.memory(), &work, &self.name)
        } else {
            how.runtime.run(&self.dir, &self.name)
        }
    }

    /// What CRIU says where nothing could be restored.
    fn explain(&self, how: &Start<'_>, status: ExitStatus) -> Result<(), Failure> {
        let log = self.dir.join("work/restore.log");
        if !how.live || status.success() || !log.exists() {
            return Ok(());
        }
        let restored = fs::read(&log)?;
        if String::from_utf8_lossy(&restored).contains("Restore finished successfully") {
            return Ok(());
        }
        let text = format!("container {} could not be restored", self.name);
        Err(because_of(&Failure::new(Kind::FailedPrecondition, text), &log))
    }

    /// Has a process of its own keep the container, and waits until it runs.
    fn keep_in_background(&self, wire: &Wire, how: &Start<'_>) -> Result<(), Failure> {
        let config = wire.config();
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--root").arg(&config.root).arg("--run-root").arg(&config.run_root);
        command.args(["--log", &config.log, "--no-progress", "keep-container"]);
        if how.live {
            command.arg("--live");
        }
        command.arg(&self.name).arg(how.runtime.program());
        let log = fs::File::create(self.dir.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
        let mut keeper = command.spawn()?;
        let deadline = Instant::now() + START;
        loop {
            let ended = keeper.try_wait()?;
            let state = how.runtime.state(&self.name)?;
            if state.is_some_and(|state| state.status == "running") {
                return Ok(());
            }
            match ended {
                // It may have had nothing to do but end.
                Some(status) if status.success() => return Ok(()),
                Some(_) => return Err(self.not_started()),
                None if Instant::now() > deadline => {
                    let text = format!("container {} does not start", self.name);
                    return Err(Failure::new(Kind::DeadlineExceeded, text));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn not_started(&self) -> Failure {
        let log = fs::read(self.dir.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let line = log.lines().rev().find_map(|line| line.strip_prefix("stratafs: "));
        let line = line.or_else(|| log.lines().last()).unwrap_or("it ended at once");
        Failure::new(Kind::FailedPrecondition, format!("container {}: {line}", self.name))
    }
}

/// How a container is started.
pub(super) struct Start<'a> {
    pub(super) runtime: &'a Runc,
    pub(super) termination: &'a Termination,
    /// Whether it goes on from its memory image.
    pub(super) live: bool,
    /// Whether it is left running in the background.
    pub(super) detach: bool,
}

/// Starts `command` with pipes as its standard streams, which CRIU can take and give back. What
/// comes out is passed on; what goes in comes from this process, or never where it is `log` that is
/// written.
fn with_pipes(mut command: Command, log: Option<fs::File>) -> Result<Child, Failure> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let copy = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // Whoever reads or writes may go away at any time; the other streams go on.
    if let (Some(mut from), Some(mut error)) = (stdout, stderr) {
        let logs = log.as_ref().map(|log| Ok::<_, io::Error>((log.try_clone()?, log.try_clone()?)));
        match logs.transpose()? {
            Some((mut out, mut err)) => {
                copy("stdout", Box::new(move || drop(io::copy(&mut from, &mut out))))?;
                copy("stderr", Box::new(move || drop(io::copy(&mut error, &mut err))))?;
            }
            None => {
                copy("stdout", Box::new(move || pass(&mut from, &mut io::stdout())))?;
                copy("stderr", Box::new(move || pass(&mut error, &mut io::stderr())))?;
            }
        }
    }
    if let Some(mut stdin) = stdin {
        if log.is_some() {
            // Open for as long as the container: nothing comes, and no end either.
            std::mem::forget(stdin);
        } else {
            copy("stdin", Box::new(move || pass(&mut io::stdin(), &mut stdin)))?;
        }
    }
    Ok(child)
}

/// Copies, and lets nothing wait in a buffer.
fn pass(from: &mut dyn io::Read, to: &mut dyn io::Write) {
    let mut buf = [0; 8192];
    while let Ok(n) = from.read(&mut buf) {
        if n == 0 || to.write_all(&buf[..n]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// The process behind a container in the background.
pub(super) fn keep(wire: &Wire, args: &KeepContainerArgs) -> Result<(), Failure> {
    // A session of its own: the terminal's signals are not for it.
    rustix::process::setsid().map_err(io::Error::from)?;
    let termination = Termination::watch()?;
    let container = Container::at(wire, &args.name)?;
    let runtime = Runc::at(wire, args.runtime.clone());
    let how = Start { runtime: &runtime, termination: &termination, live: args.live, detach: true };
    let log = fs::OpenOptions::new().append(true).open(container.dir.join("log"))?;
    let child = with_pipes(container.command(&how), Some(log))?;
    let status = runtime.wait(child, &container.name, &termination)?;
    container.explain(&how, status)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(Kind::FailedPrecondition, format!("the container ended: {status}")))
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

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    status: String,
    pid: Option<i32>,
    image: String,
}

/// Lists containers.
pub(super) fn ps(wire: &Wire, out: Output) -> Result<(), Failure> {
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
pub(super) fn rm(wire: &Wire, args: &RmArgs) -> Result<(), Failure> {
    let runtime = Runc::find(wire, Runtime::Auto)?;
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    for name in &args.names {
        let container = Container::find(wire, name)?.ok_or_else(|| no_such(name))?;
        match runtime.state(name)? {
            Some(state) if state.is_alive() && !args.force => return Err(running(name)),
            Some(_) => runtime.delete(name)?,
            None => {}
        }
        container.remove_files()?;
        match snapshots.remove(name) {
            Err(e) if e.kind() != Kind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    Ok(snapshots.cleanup()?)
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
