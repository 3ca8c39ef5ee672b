//! Starting containers, in the foreground and in the background, anew and from memory.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Container;
use crate::cli::args::KeepContainerArgs;
use crate::cli::failure::Failure;
use crate::cli::runtime::{Runc, State, because_of, exit_code};
use crate::cli::signals::Termination;
use crate::cli::wire::Wire;
use crate::error::Kind;

/// How long a container in the background may take to start.
const START: Duration = Duration::from_secs(60);
/// How long the removal of a container waits for CRIU, which is done moments after the container runs.
const RESTORE: Duration = Duration::from_secs(5);
/// How often it is looked how far a container is.
const TICK: Duration = Duration::from_millis(20);
/// The largest state that a runtime gives to a hook, in bytes.
const MAX_STATE: u64 = 1 << 20;

/// How a container is started.
pub(in crate::cli) struct Start<'a> {
    pub(in crate::cli) runtime: &'a Runc,
    pub(in crate::cli) termination: &'a Termination,
    /// Whether it goes on from its memory image.
    pub(in crate::cli) live: bool,
    /// Whether it is left running in the background.
    pub(in crate::cli) detach: bool,
}

impl Container {
    /// Starts it, and waits for its end or, where it is to be left alone, until it runs.
    pub(in crate::cli) fn start(&self, wire: &Wire, how: &Start<'_>) -> Result<ExitCode, Failure> {
        if how.detach {
            return self.keep_in_background(wire, how).map(|()| ExitCode::SUCCESS);
        }
        let terminal = self.spec()?.terminal();
        let child = if terminal {
            self.command(how)?.spawn()?
        } else {
            with_pipes(self.command(how)?, None)?
        };
        let status = how.runtime.wait(child, &self.name, how.termination)?;
        self.explain(how, status)?;
        Ok(exit_code(status))
    }

    fn command(&self, how: &Start<'_>) -> Result<Command, Failure> {
        if !how.live {
            return Ok(how.runtime.run(&self.dir, &self.name));
        }
        Ok(how.runtime.restore(&self.live_bundle()?, &self.memory(), &self.name)?)
    }

    /// The bundle to go on from memory in. Networks are not in memory images, so that a new one is
    /// empty, and its loopback interface down: a hook raises it before any process can miss it.
    fn live_bundle(&self) -> Result<PathBuf, Failure> {
        let spec = self.spec()?;
        if !spec.makes_network() {
            return Ok(self.dir.clone());
        }
        fs::create_dir_all(self.dir.join("live"))?;
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let spec = spec.with_hook(&self.rootfs(), &[program, "raise-loopback".to_owned()]);
        self.write("live/config.json", &spec.to_json())?;
        Ok(self.dir.join("live"))
    }

    /// What CRIU says where nothing could be restored.
    fn explain(&self, how: &Start<'_>, status: ExitStatus) -> Result<(), Failure> {
        let log = how.runtime.criu_folder(&self.name).join("restore.log");
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
        command.args(["--log", &config.log, "--no-progress"]);
        for dir in &config.hosts_dirs {
            command.arg("--hosts-dir").arg(dir);
        }
        command.arg("keep-container");
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
            let runs = state.is_some_and(|state| state.status == "running");
            if runs && (!how.live || how.runtime.is_restored(&self.name)) {
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
                None => std::thread::sleep(TICK),
            }
        }
    }

    /// Waits until CRIU is done where the container goes on from memory, but not for long: it may have
    /// been ended itself.
    pub(super) fn wait_for_criu(&self, runtime: &Runc) {
        let deadline = Instant::now() + RESTORE;
        while self.memory().exists()
            && !runtime.is_restored(&self.name)
            && Instant::now() < deadline
        {
            std::thread::sleep(TICK);
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
pub(in crate::cli) fn keep(wire: &Wire, args: &KeepContainerArgs) -> Result<(), Failure> {
    // A session of its own: the terminal's signals are not for it.
    rustix::process::setsid().map_err(io::Error::from)?;
    let termination = Termination::watch()?;
    let container = Container::at(wire, &args.name)?;
    let runtime = Runc::at(wire, args.runtime.clone());
    let how = Start { runtime: &runtime, termination: &termination, live: args.live, detach: true };
    let log = fs::OpenOptions::new().append(true).open(container.dir.join("log"))?;
    let child = with_pipes(container.command(&how)?, Some(log))?;
    let status = runtime.wait(child, &container.name, &termination)?;
    container.explain(&how, status)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(Kind::FailedPrecondition, format!("the container ended: {status}")))
}

/// The hook of a container that goes on from memory: raises the loopback interface of the container
/// whose state is on standard input (OCI runtime specification, `config.md`, "POSIX-platform Hooks").
pub(in crate::cli) fn raise_loopback() -> Result<(), Failure> {
    let state: State =
        serde_json::from_reader(io::stdin().take(MAX_STATE)).map_err(io::Error::from)?;
    let pid = u32::try_from(state.pid).map_err(io::Error::other)?;
    Ok(crate::sys::raise_loopback(pid)?)
}
