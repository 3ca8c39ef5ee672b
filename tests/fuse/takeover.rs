//! Servers that die and are replaced while clients go on.
//!
//! The test's process is the holder: it starts servers as processes of their own, keeps what the
//! first hands over, and gives it to each that follows.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use stratafs::digest::{ChainId, Digest};
use stratafs::fs::{Filesystem, MountedTree, SlotName};
use stratafs::fuse::{self, Handover, Options};
use stratafs::io::ReadAt;

use crate::fixture::{self, Layer, noise};
use crate::readers::Slow;
use crate::watchdog::{Watchdog, wait_until};

pub const SLOT: u32 = 5;
pub const BIG: usize = 2 << 20;
pub const FILES: usize = 400;

pub fn name() -> SlotName {
    SlotName::Chain(ChainId::new(Digest::sha256(b"chain")))
}

pub fn small(n: usize) -> Vec<u8> {
    noise(40_000)[n * 50..n * 70].to_vec()
}

/// What every server shows: reads take long enough to be under way when it dies.
pub fn tree() -> MountedTree {
    let mut layer = Layer::new().file("big", 0o644, &noise(BIG)).xattr("user.x", b"value");
    for n in 0..FILES {
        layer = layer.file(&format!("d{}/{n}", n % 10), 0o644, &small(n));
    }
    let slow =
        |data| -> Arc<dyn ReadAt> { Arc::new(Slow { data, delay: Duration::from_millis(2) }) };
    fixture::with_readers(vec![layer], slow)
}

fn filesystem() -> Filesystem {
    let fs = Filesystem::new();
    fs.attach_at(SLOT, &name(), tree()).unwrap();
    fs
}

#[test]
#[ignore = "is a server process of another test"]
fn server() {
    let dir = PathBuf::from(std::env::var_os("STRATAFS_TEST_DIR").unwrap());
    let socket = UnixStream::connect(dir.join("socket")).unwrap();
    let fs = Arc::new(filesystem());
    let mounted = if std::env::var_os("STRATAFS_TEST_FIRST").is_some() {
        let mounted = fuse::mount(fs, &dir.join("mount"), &Options::rootfs()).unwrap();
        mounted.handover().unwrap().send(&socket).unwrap();
        mounted
    } else {
        fuse::take_over(fs, Handover::receive(&socket).unwrap(), &Options::rootfs()).unwrap()
    };
    if std::env::var_os("STRATAFS_TEST_LEAVES").is_some() {
        // The holder says when, by closing the socket.
        let _ = (&socket).read(&mut [0]);
        drop(mounted.leave().unwrap());
        return;
    }
    // Until it is killed or unmounted; a while at most.
    mounted.wait(Duration::from_secs(120)).unwrap();
}

pub struct Holder {
    dir: PathBuf,
    listener: UnixListener,
    server: Option<Child>,
    handover: Option<Handover>,
}

impl Holder {
    pub fn new(dir: &Path) -> Self {
        let listener = UnixListener::bind(dir.join("socket")).unwrap();
        Self { dir: dir.to_owned(), listener, server: None, handover: None }
    }

    pub fn start_server(&mut self) {
        drop(self.start(false));
    }

    /// Starts a server, one that `leaves` when the socket is closed or one that stays.
    fn start(&mut self, leaves: bool) -> UnixStream {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "fuse::takeover::server"]);
        command.env("STRATAFS_TEST_DIR", &self.dir).stdout(std::process::Stdio::null());
        if self.handover.is_none() {
            command.env("STRATAFS_TEST_FIRST", "yes");
        }
        if leaves {
            command.env("STRATAFS_TEST_LEAVES", "yes");
        }
        self.server = Some(command.spawn().unwrap());
        let (socket, _) = self.listener.accept().unwrap();
        match &self.handover {
            Some(handover) => handover.send(&socket).unwrap(),
            None => self.handover = Some(Handover::receive(&socket).unwrap()),
        }
        socket
    }

    /// Lets the connection end with its server.
    pub fn let_go(&mut self) {
        self.handover = None;
    }

    /// Waits for the server to end with its mount.
    pub fn wait_for_server(&mut self) {
        assert!(self.server.take().unwrap().wait().unwrap().success());
    }

    /// `kill -9`.
    pub fn kill_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = (server.kill(), server.wait());
        }
    }
}

/// The file, opened so that every read is asked of the server.
fn direct(path: &Path) -> File {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECT).open(path).unwrap()
}

/// Reads, lists and stats at random until told to stop; every answer must be right.
fn client(root: &Path, seed: usize, stop: &AtomicBool, done: &AtomicU64) {
    let content = noise(BIG);
    let big = direct(&root.join("big"));
    let mut state = seed;
    while !stop.load(Ordering::SeqCst) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        let (n, at) = ((state >> 33) % FILES, (state >> 30) % (BIG - 5000));
        let mut buf = vec![0; 5000];
        big.read_exact_at(&mut buf, at as u64).unwrap();
        assert!(buf == content[at..at + 5000]);
        let path = root.join(format!("d{}/{n}", n % 10));
        assert_eq!(std::fs::read(path).unwrap(), small(n));
        let listed = std::fs::read_dir(root.join(format!("d{}", n % 10))).unwrap().count();
        assert_eq!(listed, FILES / 10);
        done.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn no_operation_fails_when_servers_are_killed_and_replaced() {
    let watchdog = Watchdog::new(Duration::from_secs(50));
    let root = watchdog.folder("mount");
    let mut holder = Holder::new(watchdog.path());
    holder.start_server();
    let tree = root.join(name().path());
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let stop_at_the_end = Stop(&stop);
        for seed in 0..4 {
            let (tree, stop, done) = (&tree, &stop, &done);
            scope.spawn(move || client(tree, seed, stop, done));
        }
        for _ in 0..3 {
            go_on(&done);
            holder.kill_server();
            // Clients block now, some on what the dead server had read.
            thread::sleep(Duration::from_millis(50));
            holder.start_server();
        }
        go_on(&done);
        drop(stop_at_the_end);
    });
    fuse::unmount(&root).unwrap();
    let mut server = holder.server.take().unwrap();
    assert!(server.wait().unwrap().success(), "the last server ends with the mount");
}

/// Waits until the clients have done some more.
fn go_on(done: &AtomicU64) {
    let enough = done.load(Ordering::SeqCst) + 20;
    wait_until("clients go on", || done.load(Ordering::SeqCst) >= enough);
}

/// Stops the clients also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn files_that_were_open_before_go_on_after_a_takeover() {
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let root = watchdog.folder("mount");
    let mut holder = Holder::new(watchdog.path());
    holder.start_server();
    let tree = root.join(name().path());
    let mut big = direct(&tree.join("big"));
    let mut start = vec![0; 100_000];
    big.read_exact(&mut start).unwrap();
    let ino = ino(&tree.join("d3/3"));
    holder.kill_server();
    holder.start_server();
    let mut rest = Vec::new();
    big.read_to_end(&mut rest).unwrap();
    assert!(start == noise(BIG)[..100_000] && rest == noise(BIG)[100_000..]);
    assert_eq!(self::ino(&tree.join("d3/3")), ino, "inode numbers stay");
    assert!(!tree.join("absent").exists());
    drop(big);
    fuse::unmount(&root).unwrap();
}

fn ino(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    path.metadata().unwrap().ino()
}

#[test]
fn a_server_that_leaves_keeps_the_mount_for_the_next() {
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let root = watchdog.folder("mount");
    let mut holder = Holder::new(watchdog.path());
    let socket = holder.start(true);
    let path = root.join(name().path()).join("d3/3");
    assert_eq!(std::fs::read(&path).unwrap(), small(3));
    drop(socket);
    assert!(holder.server.take().unwrap().wait().unwrap().success());
    holder.start_server();
    assert_eq!(std::fs::read(path.with_file_name("13")).unwrap(), small(13));
    fuse::unmount(&root).unwrap();
}

#[test]
fn a_connection_that_has_ended_is_not_taken_over() {
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let root = watchdog.folder("mount");
    let mut holder = Holder::new(watchdog.path());
    holder.start_server();
    fuse::unmount(&root).unwrap();
    holder.server.take().unwrap().wait().unwrap();
    let handover = holder.handover.take().unwrap();
    let taken = fuse::take_over(Arc::new(filesystem()), handover, &Options::rootfs());
    let text = taken.err().unwrap().to_string();
    assert!(text.contains("has ended") && text.contains("mount"), "{text}");
}
