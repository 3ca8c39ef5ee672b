//! `run`: a command in an image, by an OCI runtime.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::error::Kind;
use crate::rootfs::{self, Rootfs};

use super::args::{RunArgs, Runtime};
use super::bundle;
use super::failure::Failure;
use super::output::human_size;
use super::signals::Termination;
use super::wire::Wire;

/// How often it is looked whether this process was asked to end.
const TICK: Duration = Duration::from_millis(100);

/// Runs the command and passes its exit code on.
pub(crate) fn run(wire: &Wire, args: &RunArgs) -> Result<ExitCode, Failure> {
    let runtime = find_runtime(args.runtime)?;
    let termination = Termination::watch()?;
    let found = wire.image(&args.image)?;
    let chain = wire.chain(&args.image)?;
    let mut process = bundle::process(&found.image.config, &chain, &args.process)?;
    process.read_only = args.read_only;
    let bundle = Bundle::create(&wire.config().root)?;
    bundle::write(&bundle.dir, &process)?;
    let rootfs = Rootfs::mount(
        &chain,
        &rootfs::Options {
            image: args.image.clone(),
            target: bundle.dir.join("rootfs"),
            upper: (!args.read_only).then(|| bundle.dir.join("upper")),
            run_root: wire.config().run_root.clone(),
            mode: wire.config().mode.into(),
            view: rootfs::View::Root,
        },
    )?;
    let state = wire.config().run_root.join("runtime");
    let status = container(&runtime, &state, &bundle, &termination)?;
    rootfs.unmount()?;
    if args.stats {
        let size: u64 = chain.layers.iter().map(|l| l.descriptor.size).sum();
        let (read, of) = (human_size(chain.blob_bytes_read()), human_size(size));
        writeln!(io::stderr(), "stratafs: read {read} of {of} compressed")?;
    }
    Ok(exit_code(status))
}

/// Starts the container and waits for its end.
fn container(
    runtime: &Path,
    state: &Path,
    bundle: &Bundle,
    termination: &Termination,
) -> Result<ExitStatus, Failure> {
    let mut child = Command::new(runtime)
        .arg("--root")
        .arg(state)
        .args(["run", "--bundle"])
        .arg(&bundle.dir)
        .arg(&bundle.id)
        .spawn()?;
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
            let mut command = Command::new(runtime);
            command.arg("--root").arg(state).args(["kill", &bundle.id, signal]);
            // The container may have ended by itself meanwhile.
            let _status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The runtime's program.
fn find_runtime(wanted: Runtime) -> Result<PathBuf, Failure> {
    let names: &[&str] = match wanted {
        Runtime::Auto => &["runc", "crun"],
        Runtime::Runc => &["runc"],
        Runtime::Crun => &["crun"],
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let programs = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    programs.into_iter().find(|p| p.is_file()).ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("no OCI runtime is installed ({})", names.join(", ")))
            .hint("apt-get install runc")
    })
}

/// The folder of one run; removed at its end.
struct Bundle {
    id: String,
    dir: PathBuf,
}

impl Bundle {
    fn create(root: &Path) -> Result<Self, Failure> {
        let all = root.join("bundles");
        fs::create_dir_all(&all)?;
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(&all)?.keep();
        let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or("run").to_owned();
        Ok(Self { id: format!("stratafs-{}", name.replace('.', "_")), dir })
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // What is still mounted is not ours to delete: rmdir of a mount point fails, and nothing
        // below it is touched because the rootfs is unmounted first.
        if let Err(e) = fs::remove_dir(self.dir.join("rootfs")) {
            tracing::warn!(dir = %self.dir.display(), error = %e, "bundle stays");
            return;
        }
        if let Err(e) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), error = %e, "bundle stays");
        }
    }
}
