//! The OCI runtime: runc or crun, and CRIU by it.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde::Deserialize;

use crate::error::Kind;

use super::args::Runtime;
use super::failure::Failure;
use super::signals::Termination;
use super::wire::Wire;

/// How often it is looked whether this process was asked to end.
const TICK: Duration = Duration::from_millis(100);

/// A runtime's program with the folder of its containers' states.
#[derive(Debug, Clone)]
pub(super) struct Runc {
    program: PathBuf,
    state: PathBuf,
}

/// What a runtime says about a container (OCI runtime specification, `runtime.md`, "State").
#[derive(Debug, Clone, Deserialize)]
pub(super) struct State {
    /// `created`, `running`, `paused` or `stopped`.
    pub(super) status: String,
    /// The first process, 0 where there is none.
    #[serde(default)]
    pub(super) pid: i32,
}

impl State {
    /// Whether the container has processes.
    pub(super) fn is_alive(&self) -> bool {
        self.pid != 0 && self.status != "stopped"
    }
}

impl Runc {
    /// The runtime that is wanted.
    pub(super) fn find(wire: &Wire, wanted: Runtime) -> Result<Self, Failure> {
        let names: &[&str] = match wanted {
            Runtime::Auto => &["runc", "crun"],
            Runtime::Runc => &["runc"],
            Runtime::Crun => &["crun"],
        };
        let program = find_program(names).ok_or_else(|| {
            let text = format!("no OCI runtime is installed ({})", names.join(", "));
            Failure::new(Kind::NotFound, text).hint("apt-get install runc")
        })?;
        Ok(Self::at(wire, program))
    }

    /// The runtime whose program is `program`.
    pub(super) fn at(wire: &Wire, program: PathBuf) -> Self {
        Self { program, state: wire.config().run_root.join("runtime") }
    }

    /// Its program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Where CRIU's logs of the container `id` are, also when it could not be restored.
    pub(super) fn criu_folder(&self, id: &str) -> PathBuf {
        self.state.with_file_name("criu").join(id)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).arg(verb);
        command
    }

    /// Runs the bundle `dir` as the container `id`, in the foreground.
    pub(super) fn run(&self, dir: &Path, id: &str) -> Command {
        let mut command = self.command("run");
        command.arg("--bundle").arg(dir).arg(id);
        command
    }

    /// As [`Runc::run`], but goes on from the memory image in `images`.
    pub(super) fn restore(&self, dir: &Path, images: &Path, id: &str) -> io::Result<Command> {
        let (work, done) = (self.criu_folder(id), self.restored(id));
        fs::create_dir_all(&work)?;
        match fs::remove_file(&done) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut command = self.command("restore");
        command.arg("--bundle").arg(dir).arg("--image-path").arg(images);
        command.arg("--work-path").arg(work).arg("--pid-file").arg(done).arg(id);
        Ok(command)
    }

    /// What the runtime writes when CRIU is done with the container `id`: a while after its processes
    /// go on.
    fn restored(&self, id: &str) -> PathBuf {
        self.criu_folder(id).join("pid")
    }

    /// Whether CRIU is done with the container `id`, if it goes on from memory. CRIU waits for
    /// ever for processes that end before.
    pub(super) fn is_restored(&self, id: &str) -> bool {
        !self.criu_folder(id).exists() || self.restored(id).exists()
    }

    /// Waits for the end of `child`, which runs the container `id`, and passes on what this process
    /// is told.
    pub(super) fn wait(
        &self,
        mut child: Child,
        id: &str,
        termination: &Termination,
    ) -> Result<ExitStatus, Failure> {
        let (tell, ended) = channel();
        std::thread::Builder::new().name("runtime".into()).spawn(move || {
            let _nobody_waits = tell.send(child.wait());
        })?;
        let mut kill = ["TERM", "KILL"].into_iter();
        loop {
            match ended.recv_timeout(TICK) {
                Ok(status) => return Ok(status?),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(Kind::Internal, "the runtime was lost"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if termination.take()
                && let Some(signal) = kill.next()
            {
                let mut command = self.command("kill");
                command.args([id, signal]);
                // The container may have ended by itself meanwhile.
                let _status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            }
        }
    }

    /// What is known of the container `id`; `None` where there is none.
    pub(super) fn state(&self, id: &str) -> Result<Option<State>, Failure> {
        let output = self.command("state").arg(id).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Ok(None);
        }
        let state = serde_json::from_slice(&output.stdout).map_err(io::Error::from)?;
        Ok(Some(state))
    }

    /// Stops the processes of `id` where they are.
    pub(super) fn pause(&self, id: &str) -> Result<(), Failure> {
        self.call(self.command("pause").arg(id))
    }

    /// Lets the processes of `id` go on.
    pub(super) fn resume(&self, id: &str) -> Result<(), Failure> {
        self.call(self.command("resume").arg(id))
    }

    /// Ends the processes of `id` and forgets it.
    pub(super) fn delete(&self, id: &str) -> Result<(), Failure> {
        self.call(self.command("delete").args(["--force", id]))
    }

    /// Removes the logs of CRIU of the container `id`.
    pub(super) fn forget_restore(&self, id: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.criu_folder(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Writes the memory of `id` to the empty folder `images`, by CRIU, whose log is in `work` then.
    pub(super) fn checkpoint(
        &self,
        id: &str,
        images: &Path,
        work: &Path,
        stop: bool,
    ) -> Result<(), Failure> {
        need_criu("memory images are made by CRIU, which is not installed: leave out --task")?;
        let mut command = self.command("checkpoint");
        command.arg("--image-path").arg(images).arg("--work-path").arg(work);
        if !stop {
            command.arg("--leave-running");
        }
        let done = self.call(command.arg(id));
        done.map_err(|failure| because_of(&failure, &work.join("dump.log")))
    }

    /// Runs a verb that says what is wrong on standard error.
    fn call(&self, command: &mut Command) -> Result<(), Failure> {
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason");
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        Err(Failure::new(Kind::FailedPrecondition, format!("{name}: {}", last.trim())))
    }
}

/// Whether CRIU's log says that a process could not be stopped. One that starts another waits, whatever
/// it is told, until that one executes its program (vfork(2)), which is over when both have gone on.
pub(super) fn met_a_start(log: &Path) -> bool {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text).contains("Unseizable non-zombie")
}

/// Refuses with `text` where there is no CRIU.
pub(super) fn need_criu(text: &str) -> Result<(), Failure> {
    match find_program(&["criu"]) {
        Some(_) => Ok(()),
        None => Err(Failure::new(Kind::FailedPrecondition, text)
            .hint("install criu: 4.2 or newer for current kernels")),
    }
}

/// The failure with what CRIU's log says in place of what the runtime makes of it.
pub(super) fn because_of(failure: &Failure, log: &Path) -> Failure {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // CRIU goes on without room for more files of its own, and waits in vain before it says for whom.
    let besides = ["RLIMIT_NOFILE for self", "Timeout reached"];
    let errors = text.lines().filter(|line| !besides.iter().any(|part| line.contains(part)));
    match errors.filter_map(|line| line.split_once("Error (")).next() {
        Some((_, cause)) => {
            let cause = cause.split_once("): ").map_or(cause, |(_, cause)| cause);
            Failure::new(failure.kind(), format!("criu refused: {}", cause.trim()))
                .hint(format!("the whole story is in {}", log.display()))
        }
        None => Failure::new(failure.kind(), failure.to_string()),
    }
}

/// The exit code to pass on for `status`.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The first of these programs that is installed.
fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut programs = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    programs.find(|program| program.is_file())
}
