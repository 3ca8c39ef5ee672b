//! A guard for tests that mount: a filesystem that hangs must fail a test, not hang it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// A temporary folder to mount in. After a while every FUSE connection below it is aborted, so
/// that whatever waits for one fails; when the guard is dropped, everything below it is
/// unmounted.
///
/// It uses nothing of the library under test, and works for mounts of other processes too.
pub struct Watchdog {
    dir: Option<tempfile::TempDir>,
    fired: Arc<AtomicBool>,
    _stop: Sender<()>,
}

impl Watchdog {
    /// A folder whose connections live for at most `limit`.
    pub fn new(limit: Duration) -> Self {
        let dir = tempfile::Builder::new().prefix("stratafs-test-").tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let fired = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel::<()>();
        let flag = fired.clone();
        std::thread::spawn(move || {
            // Nothing is ever sent: the wait ends when the guard is dropped, or with a timeout.
            if stopped.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::SeqCst);
                for mount in mounts_below(&path) {
                    abort(mount.connection);
                }
            }
        });
        Self { dir: Some(dir), fired, _stop: stop }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// A new folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take() {
            let path = dir.path().canonicalize().unwrap();
            // Kept open while they are ended: the number of a connection that is gone may be that of
            // another test's.
            let pins: Vec<_> = mounts_below(&path).iter().map(|mount| pin(&mount.path)).collect();
            // The last mounted first; lazily, as a failed test may have files open.
            for mount in mounts_below(&path).into_iter().rev() {
                abort(mount.connection);
                let _ = Command::new("umount")
                    .arg("-l")
                    .arg(&mount.path)
                    .stderr(Stdio::null())
                    .status();
            }
            drop(pins);
            if mounts_below(&path).is_empty() {
                let _ = dir.close();
            } else {
                // Never delete through a mount.
                let _ = dir.keep();
            }
        }
        if self.fired.load(Ordering::SeqCst) && !std::thread::panicking() {
            panic!("the watchdog aborted the connection");
        }
    }
}

struct Mount {
    path: PathBuf,
    /// The connection, for a FUSE mount.
    connection: Option<String>,
}

fn mounts_below(dir: &Path) -> Vec<Mount> {
    let table = std::fs::read("/proc/self/mountinfo").unwrap();
    let table = String::from_utf8_lossy(&table);
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let fields: Vec<&str> = before.split(' ').collect();
        let path = PathBuf::from(fields.get(4)?);
        let minor = fields.get(2)?.split_once(':')?.1.to_owned();
        let connection = after.starts_with("fuse").then_some(minor);
        path.starts_with(dir).then_some(Mount { path, connection })
    };
    table.lines().filter_map(parse).collect()
}

/// Keeps what is mounted there, without asking its server.
fn pin(path: &Path) -> Option<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn abort(connection: Option<String>) {
    let Some(connection) = connection else { return };
    let control = Path::new("/sys/fs/fuse/connections");
    let file = control.join(connection).join("abort");
    if !std::fs::read_to_string("/proc/self/mounts").unwrap().contains(" fusectl ") {
        let _ = Command::new("mount").args(["-t", "fusectl", "fusectl"]).arg(control).status();
    }
    // Not there: the connection has ended already.
    let _ = std::fs::write(file, "1");
}

/// Waits until `condition` holds; a test that waits for what never comes fails.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
