//! `mount`, `umount` and `mounts`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::error::Kind;
use crate::rootfs::{self, Record, Records, Rootfs};

use super::args::{MountArgs, UmountArgs};
use super::failure::Failure;
use super::output::Output;
use super::signals::Termination;
use super::status::Counts;
use super::wire::Wire;

/// How often a serving process looks whether it is to end.
const TICK: Duration = Duration::from_millis(200);
/// After how many of those it writes down what it has done, if that is more than before.
const COUNTS_TICKS: u32 = 5;

/// What a serving process tells the one that started it.
#[derive(Debug, Serialize, Deserialize)]
enum Ready {
    Mounted(Record),
    Failed { text: String, hint: Option<String> },
}

fn options(wire: &Wire, args: &MountArgs) -> rootfs::Options {
    rootfs::Options {
        image: args.image.clone(),
        target: args.target.clone(),
        upper: args.rw.clone(),
        is_temporary: false,
        run_root: wire.config().run_root.clone(),
        mode: wire.config().mode.into(),
        view: if args.layers { rootfs::View::Layers } else { rootfs::View::Root },
    }
}

/// Mounts and serves until unmounted or told to end.
pub(crate) fn foreground(wire: &Wire, args: &MountArgs) -> Result<(), Failure> {
    let termination = Termination::watch()?;
    let chain = wire.chain_up_to(&args.image, args.chain.as_ref())?;
    let rootfs = mounted(wire, args, &chain)?;
    serve_until_unmounted(wire, &chain, rootfs, &termination)
}

fn mounted(wire: &Wire, args: &MountArgs, chain: &Chain) -> Result<Rootfs, Failure> {
    chain.start(wire.config().prefetch.into());
    Ok(Rootfs::mount(chain, &options(wire, args))?)
}

fn serve_until_unmounted(
    wire: &Wire,
    chain: &Chain,
    rootfs: Rootfs,
    termination: &Termination,
) -> Result<(), Failure> {
    let (run_root, id) = (&wire.config().run_root, rootfs.record().id.clone());
    let (mut written, mut ticks) = (Counts::default(), 0_u32);
    while !rootfs.wait(TICK)? {
        if termination.is_asked() {
            break;
        }
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(COUNTS_TICKS) {
            let counts = Counts::of(wire, chain);
            if counts != written && counts.save(run_root, &id).is_ok() {
                written = counts;
            }
        }
    }
    // Lazily where it is in use: a mount without a server is of no use to anybody.
    drop(rootfs);
    chain.end_start();
    Counts::forget(run_root, &id);
    Ok(())
}

/// Makes the image ready with progress bars, then has a process of its own serve it.
pub(crate) fn background(wire: &Wire, args: &MountArgs, out: Output) -> Result<(), Failure> {
    wire.prepare(&args.image)?;
    let record = start(wire, args)?;
    out.show(&record, |record| {
        if out.is_terminal() {
            format!("{} is mounted on {}\n", record.image, record.target.display())
        } else {
            String::new()
        }
    })
}

/// Mounts by a process of its own, which serves until it is unmounted.
pub(super) fn start(wire: &Wire, args: &MountArgs) -> Result<Record, Failure> {
    await_ready(spawn(wire, args)?)
}

/// Starts this program as the server of the mount; it answers on its standard output.
fn spawn(wire: &Wire, args: &MountArgs) -> Result<Child, Failure> {
    let config = wire.config();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--root").arg(&config.root).arg("--run-root").arg(&config.run_root);
    command.args(["--log", &config.log, "--no-progress", "--mode", &config.mode.text()]);
    command.args(["--prefetch", &config.prefetch.text()]);
    if let Some(limit) = config.cache_limit {
        command.args(["--cache-limit", &limit.as_u64().to_string()]);
    }
    if let Some(platform) = &config.platform {
        command.args(["--platform", platform]);
    }
    for trusted in &config.trust {
        command.args(["--trust-index", &trusted.to_string()]);
    }
    for dir in &config.hosts_dirs {
        command.arg("--hosts-dir").arg(dir);
    }
    command.arg("serve-mount");
    if let Some(upper) = &args.rw {
        command.arg("--rw").arg(std::path::absolute(upper)?);
    }
    if args.layers {
        command.arg("--layers");
    }
    if let Some(chain) = &args.chain {
        command.arg("--chain").arg(chain.to_string());
    }
    command.arg("--").arg(wire.absolute_image(&args.image)?);
    command.arg(std::path::absolute(&args.target)?);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(wire.log_file()?);
    Ok(command.current_dir("/").spawn()?)
}

fn await_ready(mut child: Child) -> Result<Record, Failure> {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    match serde_json::from_str(&line) {
        Ok(Ready::Mounted(record)) => Ok(record),
        Ok(Ready::Failed { text, hint }) => {
            let failure = Failure::new(Kind::Internal, text);
            Err(match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
        Err(_) => {
            let status = child.wait()?;
            Err(Failure::new(Kind::Internal, format!("the serving process ended early: {status}"))
                .hint("mount it with --foreground --log debug to see why"))
        }
    }
}

/// The process behind [`background`].
pub(crate) fn serve(wire: &Wire, args: &MountArgs) -> Result<(), Failure> {
    // A session of its own: the terminal's signals are not for it.
    rustix::process::setsid().map_err(std::io::Error::from)?;
    let termination = Termination::watch()?;
    let mounted = wire
        .chain_up_to(&args.image, args.chain.as_ref())
        .and_then(|chain| mounted(wire, args, &chain).map(|rootfs| (chain, rootfs)));
    match mounted {
        Ok((chain, rootfs)) => {
            tell(&Ready::Mounted(rootfs.record().clone()))?;
            serve_until_unmounted(wire, &chain, rootfs, &termination)
        }
        Err(failure) => {
            tell(&Ready::Failed { text: failure.to_string(), hint: failure.advice() })?;
            Err(failure)
        }
    }
}

/// Answers the process that started this one, in one line.
fn tell(message: &Ready) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(message).map_err(std::io::Error::from)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

/// Unmounts.
pub(crate) fn umount(wire: &Wire, args: &UmountArgs) -> Result<(), Failure> {
    match rootfs::unmount(&wire.config().run_root, &args.target, args.lazy) {
        Err(e @ rootfs::Error::Mount { source: nix::errno::Errno::EBUSY, .. }) => {
            Err(Failure::from(e).hint("end what uses it, or detach it with --lazy"))
        }
        Err(e @ rootfs::Error::NotMounted { .. }) => {
            Err(Failure::from(e).hint("stratafs mounts lists what is mounted from this run folder"))
        }
        Err(e @ rootfs::Error::StillServed { .. }) => Err(Failure::from(e)
            .hint("a file of it is still open somewhere; when that is closed the process ends")),
        Ok(holders) => {
            for rootfs::Holder { server, process } in holders {
                tracing::warn!(
                    "unmounted; another mount namespace (of process {process}) has a copy that \
                     goes on, and process {server} that serves it ends with it"
                );
            }
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

/// Lists the live mounts.
pub(crate) fn list(wire: &Wire, out: Output) -> Result<(), Failure> {
    let records = Records::open(&wire.config().run_root)?.list()?;
    out.show(&records, |records| {
        let mut text = String::new();
        for record in records {
            let state = if record.is_served() { "" } else { " (its server is gone: umount it)" };
            let target = record.target.display();
            let local = if record.local { ", data in a local file" } else { "" };
            let mode = format!("{}{local}", record.mode.name());
            text.push_str(&format!("{target}  {} ({mode}){state}\n", record.image));
        }
        text
    })
}
