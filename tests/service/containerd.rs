//! A containerd that has a daemon as its plugin: the one that is installed, or one of the newer ones
//! of `scripts/newer`. It ends with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use super::fixture::{Daemon, say};
use crate::checkpoint::program::path_with_criu;
use crate::images::corpus;
use crate::watchdog::wait_until;

/// A containerd of some version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Debian 12's: 1.6.
    Installed,
    /// 1.7, of Debian 13.
    V1_7,
    /// 2.x, of Debian unstable.
    V2,
}

impl Release {
    /// One of its programs.
    pub fn command(self, program: &str) -> Command {
        let Some(folder) = self.folder() else { return Command::new(program) };
        let mut command = Command::new(folder.join(program));
        // It looks for its shims there.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.display()));
        command
    }

    fn folder(self) -> Option<PathBuf> {
        static FOLDERS: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        let (suite, cell) = match self {
            Release::Installed => return None,
            Release::V1_7 => ("trixie", &FOLDERS[0]),
            Release::V2 => ("sid", &FOLDERS[1]),
        };
        let unpack = || {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/newer");
            PathBuf::from(corpus::run(Command::new(script).arg(suite)).trim_end())
        };
        Some(cell.get_or_init(unpack).clone())
    }

    /// A configuration made of what `packaging/` has for it.
    fn config(self, daemon: &Daemon, dir: &Path, sandbox: Option<&str>) -> String {
        let name = match self {
            Release::Installed => "1.6",
            Release::V1_7 => "1.7",
            Release::V2 => "2",
        };
        let file = format!("{}/packaging/containerd-{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let packaged = fs::read_to_string(file).unwrap();
        let (general, kubernetes) = packaged.split_once("# For Kubernetes:\n").unwrap();
        let kubernetes = kubernetes.lines().map(|line| line.strip_prefix("# ").unwrap());
        let kubernetes: String = kubernetes.map(|line| line.to_owned() + "\n").collect();
        let general = general
            .replace("/run/stratafs/stratafs.sock", daemon.socket().to_str().unwrap())
            .replace("\"/var/lib/stratafs\"", &format!("{:?}", daemon.root()));
        let dir = dir.display();
        let root = format!("root = \"{dir}/root\"\nstate = \"{dir}/state\"\n");
        let grpc = format!("[grpc]\n  address = \"{dir}/containerd.sock\"\n");
        let cri = match (sandbox, self) {
            (None, Release::V2) => "disabled_plugins = [\"io.containerd.grpc.v1.cri\", \
                \"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\"]\n"
                .to_owned(),
            (None, _) => "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n".to_owned(),
            (Some(_), _) => String::new(),
        };
        // Not every machine lets its root make processes less likely to be killed than itself.
        let sandbox = match (sandbox, self) {
            (None, _) => String::new(),
            (Some(image), Release::V2) => format!(
                "{kubernetes}[plugins.\"io.containerd.cri.v1.images\".pinned_images]\n  \
                 sandbox = \"{image}\"\n\
                 [plugins.\"io.containerd.cri.v1.runtime\"]\n  restrict_oom_score_adj = true\n"
            ),
            (Some(image), _) => format!(
                "{kubernetes}[plugins.\"io.containerd.grpc.v1.cri\"]\n  \
                 sandbox_image = \"{image}\"\n  restrict_oom_score_adj = true\n"
            ),
        };
        [root, cri, general, sandbox, grpc].concat()
    }
}

/// A containerd of its own, whose plugin is the daemon.
pub struct Containerd {
    pub daemon: Daemon,
    pub release: Release,
    child: Child,
    dir: PathBuf,
}

impl Containerd {
    pub fn new() -> Self {
        Self::of(Release::Installed, None)
    }

    /// Of `release`; with its CRI plugin where an image for sandboxes is given.
    pub fn of(release: Release, sandbox: Option<&str>) -> Self {
        Self::with(Daemon::new(), release, sandbox)
    }

    pub fn with(daemon: Daemon, release: Release, sandbox: Option<&str>) -> Self {
        Self::start(daemon, release, sandbox, release.command("containerd"))
    }

    /// One that finds CRIU.
    pub fn with_criu(release: Release, sandbox: &str) -> Self {
        let mut program = release.command("containerd");
        let path = program.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, p)| p);
        let mut folders = path.map(std::ffi::OsStr::to_owned).unwrap_or_default();
        folders.push(":");
        folders.push(path_with_criu());
        program.env("PATH", folders);
        Self::start(Daemon::new(), release, Some(sandbox), program)
    }

    fn start(
        daemon: Daemon,
        release: Release,
        sandbox: Option<&str>,
        mut program: Command,
    ) -> Self {
        let dir = daemon.path().join("containerd");
        fs::create_dir(&dir).unwrap();
        let config = release.config(&daemon, &dir, sandbox);
        let file = dir.join("config.toml");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = program
            .arg("-c")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd is needed: apt-get install containerd");
        let containerd = Self { daemon, release, child, dir };
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
        self.ctr_of(&self.namespace(namespace))
    }

    /// `ctr` in a namespace that is called just so.
    pub fn ctr_of(&self, namespace: &str) -> Command {
        let mut command = self.release.command("ctr");
        command.arg("-a").arg(self.address()).args(["-n", namespace]);
        command
    }

    /// The same, which gives up: what is to end with a failed test may be what makes it fail.
    fn ctr_in_time(&self, namespace: &str) -> Command {
        let mut command = self.ctr_of(namespace);
        command.args(["--timeout", "20s"]);
        command
    }

    /// Runs `ctr` with these arguments; what it printed.
    pub fn ctr(&self, args: &[&str]) -> String {
        corpus::run(self.ctr_in("default").args(args))
    }

    /// Runs a container that ends; what it printed.
    pub fn run(&self, reference: &str, id: &str, command: &[&str]) -> String {
        let run = ["run", "--rm", "--snapshotter", "stratafs", reference, id];
        self.ctr(&[&run, command].concat())
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

    /// The root of a running container, as the machine sees it.
    pub fn rootfs(&self, namespace: &str, container: &str) -> PathBuf {
        let tasks = self.dir.join("state/io.containerd.runtime.v2.task");
        tasks.join(namespace).join(container).join("rootfs")
    }

    /// Fails where two running containers do not have the same `/usr`.
    pub fn assert_same_usr(&self, one: &str, other: &str) {
        let namespace = self.namespace("default");
        let usr = |container: &str| self.rootfs(&namespace, container).join("usr");
        assert!(fs::read_dir(usr(one)).unwrap().count() > 5);
        let mut diff = Command::new("diff");
        diff.args(["-r", "--no-dereference"]).args([usr(one), usr(other)]);
        assert_eq!(corpus::run(&mut diff), "");
    }

    /// A command in a running container.
    pub fn exec(&self, container: &str, id: &str, script: &str) -> Output {
        let mut command = self.ctr_in("default");
        command.args(["task", "exec", "--exec-id", id, container, "sh", "-c", script]);
        command.output().unwrap()
    }
}

/// A process: its number, that of its parent, and its command line.
struct Process {
    pid: i32,
    parent: i32,
    args: Vec<String>,
}

fn processes() -> Vec<Process> {
    let read = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        let args = fs::read(entry.path().join("cmdline")).ok()?;
        let args = args.split(|b| *b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned());
        Some(Process { pid, parent, args: args.collect() })
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(read).collect()
}

/// The shims of the containerd at `address`.
pub fn shims(address: &Path) -> Vec<i32> {
    let address = address.to_str().unwrap();
    let is_one = |process: &Process| {
        process.args.first().is_some_and(|program| program.contains("containerd-shim"))
            && process.args.iter().any(|arg| arg == address)
    };
    processes().into_iter().filter(is_one).map(|process| process.pid).collect()
}

/// Ends what containerd leaves behind where it is not asked to: shims, and what they run.
fn end_shims(address: &Path) {
    let kill = |pid: i32| {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // It may have ended by now.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    };
    let shims = shims(address);
    processes().iter().filter(|p| shims.contains(&p.parent)).for_each(|p| kill(p.pid));
    shims.into_iter().for_each(kill);
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for namespace in [self.namespace("default"), self.namespace("other"), "k8s.io".to_owned()] {
            let tasks = self.ctr_in_time(&namespace).args(["task", "ls", "-q"]).output().unwrap();
            for task in String::from_utf8_lossy(&tasks.stdout).lines() {
                let _ = self.ctr_in_time(&namespace).args(["task", "rm", "-f", task]).output();
            }
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            say(&last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_shims(&self.address());
    }
}
