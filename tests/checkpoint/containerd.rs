//! Debian's containerd, run by a test alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::program::path_with_criu;
use crate::images::corpus;
use crate::watchdog::wait_until;

/// What the image of the tests is called in it.
pub const IMAGE: &str = "example.com/debian:latest";

/// Changes of every kind: new, changed, deleted, a folder that becomes a file and the other way
/// round, owners, modes, links, attributes.
/// The second time nothing is done.
pub const CHANGES: &str = "set -e; [ ! -e /written ] || exit 0
    echo new > /written; mkdir -p /d/e; chmod 700 /d; ln -s /etc/passwd /d/link
    rm /etc/motd; rm -rf /usr/share/doc; echo file > /usr/share/doc
    rm /etc/issue; mkdir /etc/issue; echo in > /etc/issue/file
    chown 7:8 /etc/debian_version; chmod 600 /etc/fstab; chmod 751 /opt; chown 9:9 /srv
    rm -rf /usr/share/man; mkdir /usr/share/man; echo again > /usr/share/man/again
    ln /written /linked; cp -a /bin/ls /tmp/ls; truncate -s 100000 /holes; mkfifo /tmp/pipe";

/// A daemon with the image of the tests; it ends, with its containers, when this is dropped.
pub struct Containerd {
    dir: tempfile::TempDir,
    child: Child,
    ids: Mutex<Vec<String>>,
}

impl Containerd {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let config = format!(
            "version = 2\nroot = \"{path}/root\"\nstate = \"{path}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{path}/sock\"\n"
        );
        fs::write(dir.path().join("config.toml"), config).unwrap();
        let child = Command::new("containerd")
            .arg("--config")
            .arg(dir.path().join("config.toml"))
            .env("PATH", path_with_criu())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .expect("containerd is needed: apt-get install containerd");
        let daemon = Self { dir, child, ids: Mutex::default() };
        wait_until("containerd serves", || daemon.try_ctr(&["version"]).status.success());
        let tar = daemon.dir.path().join("image.tar");
        let layout = corpus::folder("debian");
        corpus::run(Command::new("tar").arg("cf").arg(&tar).arg("-C").arg(layout).arg("."));
        daemon.ctr(&[
            "images",
            "import",
            "--base-name",
            "example.com/debian",
            tar.to_str().unwrap(),
        ]);
        daemon
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "120", "ctr", "--address"])
            .arg(self.dir.path().join("sock"));
        command.args(args).env("PATH", path_with_criu()).stdin(Stdio::null());
        command
    }

    fn try_ctr(&self, args: &[&str]) -> std::process::Output {
        self.command(args).output().unwrap()
    }

    /// A name for a container that no other test has, nor an earlier run of this one: runc's state
    /// is one for all daemons.
    pub fn id(&self, name: &str) -> String {
        let id = format!("{name}-{}-{}", std::process::id(), self.socket_name());
        self.ids.lock().unwrap().push(id.clone());
        id
    }

    fn socket_name(&self) -> String {
        let name = self.dir.path().file_name().unwrap().to_string_lossy();
        name.trim_start_matches('.').to_owned()
    }

    /// Runs its client, expecting success; what it printed.
    pub fn ctr(&self, args: &[&str]) -> String {
        corpus::run(&mut self.command(args))
    }

    /// Starts a container that runs `script` in the background and nothing else happens in.
    pub fn run(&self, id: &str, script: &str) {
        self.ctr(&["run", "--detach", "--null-io", IMAGE, id, "sh", "-c", script]);
    }

    /// Runs `script` in a container and waits for its end.
    pub fn exec(&self, id: &str, script: &str) {
        self.ctr(&["task", "exec", "--exec-id", "one", id, "sh", "-c", script]);
    }

    /// The root filesystem of a container.
    pub fn rootfs(&self, id: &str) -> PathBuf {
        self.path().join("state/io.containerd.runtime.v2.task/default").join(id).join("rootfs")
    }

    /// A checkpoint of it as an archive, in the layout that its client exports.
    pub fn export(&self, reference: &str, name: &str) -> String {
        let file = self.path().join(name);
        self.ctr(&["images", "export", "--skip-manifest-json", file.to_str().unwrap(), reference]);
        format!("oci-archive:{}", file.display())
    }

    /// A folder of its own.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its shims live on, and end with their containers.
        let socket = self.dir.path().join("sock");
        let of_this_one = format!("address {}", socket.display());
        let listed = Command::new("pgrep").arg("-f").arg(of_this_one).output();
        let listed = listed.map(|o| o.stdout).unwrap_or_default();
        for pid in String::from_utf8_lossy(&listed).split_whitespace() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            for process in children.unwrap_or_default().split_whitespace().chain([pid]) {
                let _ = Command::new("kill").args(["-9", process]).status();
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        for id in self.ids.lock().unwrap().iter() {
            let runc = ["--root", "/run/containerd/runc/default", "delete", "--force", id];
            let _ = Command::new("runc").args(runc).stderr(Stdio::null()).status();
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = self.dir.path().to_str().unwrap().to_owned() + "/";
        let mut points: Vec<&str> = mounts.lines().filter_map(|l| l.split(' ').nth(4)).collect();
        points.retain(|point| point.starts_with(&below));
        for point in points.iter().rev() {
            let _ = Command::new("umount").args(["-l", point]).status();
        }
    }
}
