//! The program with containers, which are gone when a test is over.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::images::corpus;
use crate::images::program::Stratafs;

/// The folder with CRIU's program, which is built where it is not there yet.
pub fn criu() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/criu");
        let program = corpus::run(&mut Command::new(script));
        Path::new(program.trim_end()).parent().unwrap().to_owned()
    })
}

/// `PATH` with CRIU in front.
pub fn path_with_criu() -> OsString {
    let mut path = criu().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// Counts in `/count`, one process for good, and writes what is in `/dev/shm/kept` beside it.
///
/// A shell that starts a program waits uninterruptibly until that one is executed (vfork(2)); where
/// CRIU stops the new process before, the shell cannot be stopped any more, and the dump fails.
pub const COUNTER: &str = r#"exec perl -e '
    for (my $i = 1;; $i++) {
        open(my $shm, "<", "/dev/shm/kept");
        my $kept = <$shm> // "";
        open(my $new, ">", "/new") or die;
        print $new "$i $kept";
        close $new;
        rename "/new", "/count";
        select undef, undef, undef, 0.02;
    }'"#;

/// How far [`COUNTER`] is by what it wrote in this root filesystem, and what it read in shared memory.
pub fn count(rootfs: &Path) -> (u64, String) {
    counted(&fs::read_to_string(rootfs.join("count")).unwrap_or_default())
}

/// The same, by what is in its file.
pub fn counted(text: &str) -> (u64, String) {
    let (number, kept) = text.trim_end_matches('\n').split_once(' ').unwrap_or_default();
    (number.parse().unwrap_or(0), kept.to_owned())
}

/// The program and its state root. Containers that are left are removed when this is dropped.
pub struct Host {
    pub stratafs: Stratafs,
}

impl Host {
    pub fn new() -> Self {
        Self { stratafs: Stratafs::new() }
    }

    /// Runs it, with CRIU, expecting success; what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("timeout");
        let inner = self.stratafs.command(args);
        command.arg("300").arg(inner.get_program()).args(inner.get_args());
        corpus::run(command.env("PATH", path_with_criu()))
    }

    /// The root filesystem of a container.
    pub fn rootfs(&self, name: &str) -> PathBuf {
        self.stratafs.root().join("containers").join(name).join("rootfs")
    }

    /// The names of the snapshots that there are.
    pub fn snapshots(&self) -> Vec<String> {
        let json = self.stratafs.run(&["snapshot", "ls", "--json"]);
        let list: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        list.iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.stratafs.root().join("containers")) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let _ = self.stratafs.command(&["rm", "--force", name.to_str().unwrap()]).output();
        }
    }
}
