//! `bundle`: an OCI runtime bundle.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::bundle::{Overrides, Process, runtime_spec};
use crate::chain::Chain;
use crate::error::{Classify, Kind};
use crate::fs::{Filesystem, NodeId};
use crate::image::Config;

use super::args::{BundleArgs, MountArgs, ProcessArgs};
use super::failure::Failure;
use super::mount;
use super::output::Output;
use super::wire::Wire;

/// The largest `passwd` or `group` that is looked at, in bytes.
const MAX_USERS_FILE: u64 = 1 << 20;

#[derive(Debug, Serialize)]
struct Made {
    bundle: std::path::PathBuf,
    rootfs: std::path::PathBuf,
    writable: bool,
}

/// Makes a bundle and mounts its rootfs.
pub(crate) fn run(wire: &Wire, args: &BundleArgs, out: Output) -> Result<(), Failure> {
    let found = wire.image(&args.image)?;
    let chain = wire.chain(&args.image)?;
    let mut process = process(&found.image.config, &chain, &args.process)?;
    process.read_only = args.read_only;
    write(&args.dir, &process)?;
    drop(chain);
    let rootfs = args.dir.join("rootfs");
    let mount = MountArgs {
        image: args.image.clone(),
        target: rootfs.clone(),
        rw: (!args.read_only).then(|| args.dir.join("upper")),
        foreground: false,
        chain: None,
        layers: false,
    };
    mount::background(wire, &mount, Output::quiet())?;
    let made = Made { bundle: args.dir.clone(), rootfs, writable: !args.read_only };
    out.show(&made, |made| {
        let (bundle, rootfs) = (made.bundle.display(), made.rootfs.display());
        format!(
            "{bundle} is a bundle; run it with: runc run --bundle {bundle} NAME\n\
             when it is done: stratafs umount {rootfs}\n"
        )
    })
}

/// The process that the image and the user want.
pub(super) fn process(
    config: &Config,
    chain: &Chain,
    args: &ProcessArgs,
) -> Result<Process, Failure> {
    let overrides = Overrides {
        command: args.command.clone(),
        env: args.env.clone(),
        user: args.user.clone(),
        cwd: args.workdir.clone(),
    };
    let (passwd, group) = (text(chain, b"/etc/passwd")?, text(chain, b"/etc/group")?);
    let process = Process::of_image(config, &overrides, &passwd, &group)?;
    let hostname = chain.chain_id.digest().short();
    Ok(Process { terminal: args.tty, net_host: args.net_host, hostname, ..process })
}

/// Has fetched what the command is started with.
pub(super) fn expect_programs(config: &Config, chain: &Chain, args: &ProcessArgs) {
    let image = &config.config;
    let command = if args.command.is_empty() { &image.cmd } else { &args.command };
    let command = [image.entrypoint.as_slice(), command].concat();
    chain.expect_programs(&command, &[image.env.as_slice(), &args.env].concat());
}

/// Writes `config.json` and makes the folder `rootfs` in `dir`.
pub(super) fn write(dir: &Path, process: &Process) -> Result<(), Failure> {
    let spec = runtime_spec(process)?;
    fs::create_dir_all(dir.join("rootfs"))?;
    let json = serde_json::to_vec_pretty(&spec).map_err(std::io::Error::from)?;
    let path = dir.join("config.json");
    fs::write(&path, json)
        .map_err(|e| Failure::new(Kind::of_io(&e), format!("{}: {e}", path.display())))
}

/// A small text file of the image; empty where there is none.
fn text(chain: &Chain, path: &[u8]) -> Result<String, Failure> {
    let place = match chain.tree.resolve(path, true) {
        Ok(place) => place,
        Err(e) if e.kind() == Kind::DataLoss => return Err(e.into()),
        Err(_) => return Ok(String::new()),
    };
    let size = chain.tree.node(place.ino)?.size.min(MAX_USERS_FILE);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let filesystem = Filesystem::of_tree(chain.mounted_tree());
    let n = filesystem.read(NodeId::new(0, place.ino), 0, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..n]).into_owned())
}
