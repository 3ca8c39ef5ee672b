//! A daemon, a containerd that has it as its plugin, and a registry; all of them end with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
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
}

impl Daemon {
    pub fn new() -> Self {
        let mut daemon = Self { dir: Watchdog::new(LIMIT), child: None, config: String::new() };
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
        command.args(args);
        command
    }

    /// Starts it and returns when it answers.
    pub fn start(&mut self) {
        let config = self.path().join("stratafs.toml");
        fs::write(&config, &self.config).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let _ = fs::remove_file(self.socket());
        let mut command = self.command(&["serve", "--address"]);
        command.arg(self.socket()).arg("--config").arg(config);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
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

/// A containerd of its own, whose plugin is the daemon.
pub struct Containerd {
    pub daemon: Daemon,
    child: Child,
    dir: PathBuf,
}

impl Containerd {
    pub fn new() -> Self {
        Self::with(Daemon::new())
    }

    pub fn with(daemon: Daemon) -> Self {
        let dir = daemon.path().join("containerd");
        fs::create_dir(&dir).unwrap();
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = \"{0}/containerd.sock\"\n\
             [proxy_plugins.stratafs]\n  type = \"snapshot\"\n  address = \"{1}\"\n",
            dir.display(),
            daemon.socket().display()
        );
        let file = dir.join("config.toml");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = Command::new("containerd")
            .arg("-c")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd is needed: apt-get install containerd");
        let containerd = Self { daemon, child, dir };
        wait_until("containerd answers", || {
            containerd.ctr_in("default").arg("version").output().unwrap().status.success()
        });
        containerd
    }

    pub fn address(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// A namespace of this containerd alone: runc keeps containers of all of them by namespace.
    pub fn namespace(&self, name: &str) -> String {
        let unique = self.daemon.path().file_name().unwrap().to_str().unwrap();
        format!("{name}-{unique}")
    }

    pub fn ctr_in(&self, namespace: &str) -> Command {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.address()).args(["-n", &self.namespace(namespace)]);
        command
    }

    /// Runs `ctr` with these arguments; what it printed.
    pub fn ctr(&self, args: &[&str]) -> String {
        corpus::run(self.ctr_in("default").args(args))
    }

    /// `stratafs rpull`, with what it tells.
    pub fn rpull(&self, namespace: &str, reference: &str) -> serde_json::Value {
        let namespace = self.namespace(namespace);
        let mut command = self.daemon.command(&["--json", "rpull", "--namespace", &namespace]);
        command.arg("--address").arg(self.address()).arg(reference);
        serde_json::from_str(&corpus::run(&mut command)).unwrap()
    }

    /// Waits until containerd has connected again: it tries less and less often.
    pub fn wait_for_plugin(&self) {
        wait_until("containerd finds its plugin again", || {
            let mut list = self.ctr_in("default");
            list.args(["snapshot", "--snapshotter", "stratafs", "ls"]);
            list.output().unwrap().status.success()
        });
    }

    /// The names of the snapshots that the daemon has for containerd.
    pub fn snapshots(&self, namespace: &str) -> Vec<String> {
        let mut command = self.ctr_in(namespace);
        let listed = corpus::run(command.args(["snapshot", "--snapshotter", "stratafs", "ls"]));
        let key = |line: &str| line.split_whitespace().next().map(str::to_owned);
        listed.lines().skip(1).filter_map(key).collect()
    }

    /// A command in a running container.
    pub fn exec(&self, container: &str, id: &str, script: &str) -> Output {
        let mut command = self.ctr_in("default");
        command.args(["task", "exec", "--exec-id", id, container, "sh", "-c", script]);
        command.output().unwrap()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for namespace in ["default", "other"] {
            let tasks = self.ctr_in(namespace).args(["task", "ls", "-q"]).output().unwrap();
            for task in String::from_utf8_lossy(&tasks.stdout).lines() {
                let _ = self.ctr_in(namespace).args(["task", "rm", "-f", task]).output();
            }
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            say(&last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shows a log beside what a failed test shows.
#[expect(clippy::print_stderr, reason = "a failed test shows it")]
fn say(log: &str) {
    eprintln!("{log}");
}

/// A registry with the image `name` of `scripts/images`, by the tag `v1`; its reference.
pub fn registry_with(name: &str) -> (Distribution, String) {
    let registry = Distribution::start(false);
    let reference = format!("{}/{name}:v1", registry.host());
    let from = corpus::image(name, "latest");
    corpus::run(
        Command::new("skopeo")
            .args(["copy", "-q", "--preserve-digests", "--dest-tls-verify=false", &from])
            .arg(format!("docker://{reference}")),
    );
    (registry, reference)
}
