//! `run`: a command in an image, by an OCI runtime.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::bundle::Process;
use crate::rootfs::{self, Rootfs};

use super::args::RunArgs;
use super::bundle;
use super::container;
use super::failure::Failure;
use super::output::human_size;
use super::runtime::{Runc, exit_code};
use super::signals::Termination;
use super::status::Counts;
use super::wire::Wire;

/// Runs the command and passes its exit code on.
pub(crate) fn run(wire: &Wire, args: &RunArgs) -> Result<ExitCode, Failure> {
    let runtime = Runc::find(wire, args.runtime)?;
    let termination = Termination::watch()?;
    if let Some(name) = &args.name {
        return container::create_and_run(wire, args, name, &runtime, &termination);
    }
    let found = wire.image(&args.image)?;
    let chain = wire.chain_of(&found)?;
    chain.start(wire.config().prefetch.into());
    let bundle = Bundle::create(&wire.config().root)?;
    let options = rootfs::Options {
        image: args.image.clone(),
        target: bundle.dir.join("rootfs"),
        upper: (!args.read_only).then(|| bundle.dir.join("upper")),
        is_temporary: true,
        run_root: wire.config().run_root.clone(),
        mode: wire.config().mode.into(),
        view: rootfs::View::Root,
    };
    fs::create_dir_all(&options.target)?;
    // The image's users may have to be fetched: meanwhile it is mounted.
    let (process, rootfs) = std::thread::scope(|scope| {
        let process = scope.spawn(|| bundle::process(&found.image.config, &chain, &args.process));
        bundle::expect_programs(&found.image.config, &chain, &args.process);
        let rootfs = Rootfs::mount(&chain, &options);
        (process.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), rootfs)
    });
    let rootfs = rootfs?;
    let written = process.and_then(|process| {
        bundle::write(&bundle.dir, &Process { read_only: args.read_only, ..process })
    });
    if let Err(failure) = written {
        rootfs.unmount()?;
        return Err(failure);
    }
    let child = runtime.run(&bundle.dir, &bundle.id).spawn()?;
    let status = runtime.wait(child, &bundle.id, &termination)?;
    rootfs.unmount()?;
    chain.end_start();
    if args.stats {
        let size: u64 = chain.layers.iter().map(|l| l.descriptor.size).sum();
        let (read, of) = (human_size(chain.blob_bytes_read()), human_size(size));
        writeln!(io::stderr(), "stratafs: read {read} of {of} compressed")?;
        for line in Counts::of(wire, &chain).text().lines() {
            writeln!(io::stderr(), "stratafs: {line}")?;
        }
    }
    Ok(exit_code(status))
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
