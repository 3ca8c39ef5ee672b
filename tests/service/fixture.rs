//! A daemon and a registry; both end with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::images::corpus;
use crate::registry::distribution::Distribution;
use crate::watchdog::{Watchdog, wait_until};

/// How long all mounts of a test may live.
const LIMIT: Duration = Duration::from_secs(900);

/// `stratafs serve` with a root of its own.
pub struct Daemon {
    // The last to go: it unmounts what is left.
    dir: Watchdog,
    child: Option<Child>,
    pub config: String,
    mode: &'static str,
}

impl Daemon {
    pub fn new() -> Self {
        Self::configured("")
    }

    /// With this beside what it has to be told in any case.
    pub fn configured(config: &str) -> Self {
        Self::in_mode("auto", config)
    }

    /// One that shows trees as `--mode` says.
    pub fn in_mode(mode: &'static str, config: &str) -> Self {
        let mut daemon =
            Self { dir: Watchdog::new(LIMIT), child: None, config: String::new(), mode };
        let containerd = daemon.path().join("containerd/containerd.sock");
        daemon.config = format!(
            "{config}
[containerd]
address = {containerd:?}
"
        );
        daemon.start();
        daemon
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    pub fn socket(&self) -> PathBuf {
        self.path().join("stratafs.sock")
    }

    /// The program with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stratafs"));
        command.arg("--root").arg(self.root()).arg("--run-root").arg(self.path().join("run"));
        command.args(["--mode", self.mode]).args(args);
        command
    }

    /// The daemon, as it is started.
    pub fn serving(&self) -> Command {
        let config = self.path().join("stratafs.toml");
        fs::write(&config, &self.config).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let _ = fs::remove_file(self.socket());
        let mut command = self.command(&["serve", "--address"]);
        command.arg(self.socket()).arg("--config").arg(config);
        command.stdout(Stdio::null()).stderr(log);
        command
    }

    /// Starts it and returns when it answers.
    pub fn start(&mut self) {
        self.child = Some(self.serving().spawn().unwrap());
        let (socket, child) = (self.socket(), self.child.as_mut().unwrap());
        wait_until("the daemon answers", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {ended:?}");
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; it must end well.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.log());
    }

    fn log_path(&self) -> PathBuf {
        self.path().join("serve.log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap()
    }

    /// The holder, by its process ID.
    pub fn holder(&self) -> Option<u32> {
        let run = self.path().join("run");
        let is_it = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("\0hold\0") && line.contains(run.to_str().unwrap())
        };
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut found = pids.filter(is_it);
        found.next()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            say(&fs::read_to_string(self.log_path()).unwrap_or_default());
        }
    }
}

/// Shows a log beside what a failed test shows.
#[expect(clippy::print_stderr, reason = "a failed test shows it")]
pub fn say(log: &str) {
    eprintln!("{log}");
}

/// A registry with the image `name` of `scripts/images`, by the tag `v1`; its reference.
pub fn registry_with(name: &str) -> (Distribution, String) {
    let registry = Distribution::start(false);
    let reference = push(&registry, name, "latest");
    (registry, reference)
}

/// Puts an image of `scripts/images` into a registry, by the tag `v1`; its reference.
pub fn push(registry: &Distribution, name: &str, tag: &str) -> String {
    let reference = format!("{}/{name}:v1", registry.host());
    copy(&corpus::image(name, tag), &format!("docker://{reference}"));
    reference
}

/// Copies an image as it is.
pub fn copy(from: &str, to: &str) {
    skopeo_copy(&[from, to]);
}

/// Copies an image as it is into a registry that wants a password.
pub fn copy_as(from: &str, to: &str) {
    skopeo_copy(&["--dest-creds", "user:hunter2", from, to]);
}

fn skopeo_copy(args: &[&str]) {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]).args(args);
    corpus::run(&mut skopeo);
}

/// Puts an image into a registry whose only process does nothing for as long as it is let; its
/// reference. What CRI wants for a sandbox.
pub fn push_pause(registry: &Distribution) -> String {
    let dir = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}:pause", dir.path().join("layout").display());
    copy(&corpus::image("debian", "latest"), &layout);
    let mut umoci = Command::new("umoci");
    umoci.arg("config").arg("--image").arg(&layout["oci:".len()..]);
    umoci.args(["--config.entrypoint", "sleep", "--config.cmd", "infinity"]);
    corpus::run(&mut umoci);
    let reference = format!("{}/pause:v1", registry.host());
    copy(&layout, &format!("docker://{reference}"));
    reference
}
