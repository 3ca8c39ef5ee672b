//! The program as a user runs it, with a state root of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::watchdog::Watchdog;

/// How long one mount of a test may live.
const LIMIT: Duration = Duration::from_secs(900);

/// The program and its state root, which is empty at first. Whatever it mounted is unmounted when
/// this is dropped.
pub struct Stratafs {
    // First: mounts end before the state that serves them is deleted.
    mounts: Watchdog,
    root: PathBuf,
    // Deleted in the end, where it is its own.
    _root: Option<tempfile::TempDir>,
}

impl Stratafs {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { mounts: Watchdog::new(LIMIT), root: root.path().to_owned(), _root: Some(root) }
    }

    /// One whose state root is a folder of somebody else.
    pub fn with_root(root: &Path) -> Self {
        Self { mounts: Watchdog::new(LIMIT), root: root.to_owned(), _root: None }
    }

    /// The program with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stratafs"));
        command.arg("--root").arg(&self.root).arg("--run-root").arg(self.run_root());
        command.arg("--no-progress").args(args);
        command
    }

    /// Below the watched folder: a container's rootfs is mounted there too.
    fn run_root(&self) -> PathBuf {
        self.mounts.path().join("run")
    }

    /// Runs it, expecting success; what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{args:?}: {}\n{stdout}{stderr}", output.status);
        stdout
    }

    /// Runs it, expecting it to fail with an error and not with a panic; what it complained.
    pub fn refuse(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}\n{stdout}{stderr}", output.status);
        assert!(stderr.starts_with("stratafs: "), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }

    /// Mounts `image`; where.
    pub fn mount(&self, image: &str, args: &[&str]) -> PathBuf {
        let count = fs::read_dir(self.mounts.path()).unwrap().count();
        let target = self.mounts.folder(&format!("mount-{count}"));
        self.run(&[&["mount", image, target.to_str().unwrap()], args].concat());
        target
    }

    /// What is told of the mount on `target`.
    pub fn mount_on(&self, target: &Path) -> serde_json::Value {
        let mounts: serde_json::Value =
            serde_json::from_str(&self.run(&["--json", "mounts"])).unwrap();
        let target = target.to_str().unwrap();
        let mounts = mounts.as_array().unwrap();
        mounts.iter().find(|mount| mount["target"] == target).unwrap().clone()
    }

    /// Mounts the snapshot `key`; where.
    pub fn mount_snapshot(&self, key: &str) -> PathBuf {
        let target = self.target(&format!("snapshot-{key}"));
        self.run(&["snapshot", "mount", key, target.to_str().unwrap()]);
        target
    }

    /// A folder to mount on.
    pub fn target(&self, name: &str) -> PathBuf {
        self.mounts.folder(name)
    }

    /// Every file of the state root, relative to it.
    pub fn state(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, root: &Path, out: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, out);
                } else {
                    out.push(path.strip_prefix(root).unwrap().to_owned());
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.root, &self.root, &mut out);
        out.sort();
        out
    }

    /// The state root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the processes that serve its mounts have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.run_root().join("log")).unwrap_or_default()
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
