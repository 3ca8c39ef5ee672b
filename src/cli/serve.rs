//! `serve` and `hold`: the daemon behind containerd's proxy plugin, and what outlives it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use sd_notify::NotifyState;

use crate::error::Kind;
use crate::service::{self, Holder, StartHolder, holder_socket};

use super::args::{HoldArgs, ServeArgs};
use super::failure::Failure;
use super::serve_config::{HolderMode, ServeConfig};
use super::signals::Termination;
use super::snapshot;
use super::wire::Wire;

/// Threads that answer calls; what waits has threads of its own.
const THREADS: usize = 2;

/// Serves until told to end; the mount stays for the next daemon.
pub(crate) fn run(wire: &Wire, args: &ServeArgs, file: &ServeConfig) -> Result<(), Failure> {
    check_root()?;
    // Folders and files get the modes that are asked for, whatever the service manager says.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let termination = Termination::watch()?;
    let config = wire.config();
    let address = args.address.clone().or_else(|| file.address.clone());
    let address = address.unwrap_or_else(|| config.run_root.join("stratafs.sock"));
    let daemon = wire.daemon(options(wire, file), file)?;
    let listener = match activated()? {
        Some(listener) => listener,
        None => service::listen(&plain_path(&address))?,
    };
    tracing::info!(address = %address.display(), root = %config.root.display(), "serving");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(THREADS).thread_name("service").enable_all().build()?;
    notify(&[NotifyState::Ready]);
    let served = runtime.block_on(daemon.serve(listener, async move { termination.wait().await }));
    notify(&[NotifyState::Stopping]);
    // What still waits for a registry is given up.
    runtime.shutdown_background();
    Ok(served?)
}

fn options(wire: &Wire, file: &ServeConfig) -> service::Options {
    let config = wire.config();
    let start_holder: Option<StartHolder> = match file.holder {
        HolderMode::External => None,
        HolderMode::Start => {
            let (root, run_root) = (config.root.clone(), config.run_root.clone());
            Some(Arc::new(move || start_holder(&root, &run_root)))
        }
    };
    let config = config.clone();
    service::Options {
        root: config.root.clone(),
        run_root: config.run_root.clone(),
        containerd: file.containerd.address.clone(),
        pull_secrets: None,
        metrics: file.metrics,
        prepare_timeout: file.snapshots.prepare_timeout,
        sync_on_commit: file.snapshots.sync_on_commit,
        start_holder,
        mode: config.mode.into(),
        prefetch: config.prefetch.into(),
        needed: Arc::new(move || match snapshot::mounted(&Wire::new(config.clone())) {
            Ok(needed) => Some(needed),
            Err(error) => {
                tracing::warn!(%error, "mounts of images cannot be told: nothing is collected");
                None
            }
        }),
    }
}

/// Starts this program as a holder that lives on when this process ends.
fn start_holder(root: &Path, run_root: &Path) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--root").arg(root).arg("--run-root").arg(run_root);
    command.args(["hold", "--end-with-mount"]);
    // Signals of the terminal and of the daemon's group are not for it.
    command.process_group(0).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn()?;
    std::thread::Builder::new().name("reaper".into()).spawn(move || child.wait())?;
    Ok(())
}

/// Keeps the mount until it has ended, or for ever.
pub(crate) fn hold(wire: &Wire, args: &HoldArgs) -> Result<(), Failure> {
    check_root()?;
    let listener = service::listen(&holder_socket(&wire.config().run_root))?;
    notify(&[NotifyState::Ready]);
    Ok(Holder::new(listener, args.end_with_mount).run()?)
}

fn check_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(Kind::PermissionDenied, "mounting for containerd takes root"))
}

/// The socket that the service manager has opened.
fn activated() -> Result<Option<UnixListener>, Failure> {
    let mut fds = sd_notify::listen_fds()?;
    match (fds.next(), fds.next()) {
        (None, _) => Ok(None),
        (Some(fd), None) => {
            let fd: OwnedFd = crate::sys::descriptor::inherited(fd)?;
            Ok(Some(fd.into()))
        }
        (Some(_), Some(_)) => {
            Err(Failure::new(Kind::InvalidArgument, "the service manager gave several sockets"))
        }
    }
}

/// Tells the service manager, where there is one.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

/// The path of a socket, also where it is given as `unix://PATH`.
fn plain_path(address: &Path) -> PathBuf {
    let text = address.to_str().and_then(|text| text.strip_prefix("unix://"));
    text.map_or_else(|| address.to_owned(), PathBuf::from)
}
