//! Daemons that end and start again, without a registry.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::containerd::Containerd;
use super::fixture::{Daemon, registry_with};
use crate::watchdog::wait_until;

fn told(daemon: &Daemon, args: &[&str]) -> Value {
    let output = daemon.command(&[&["--json"], args].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What another process says of the chains of the daemon.
fn status(daemon: &Daemon) -> Value {
    told(daemon, &["status"])["daemon"].clone()
}

#[test]
fn after_a_restart_without_a_registry_all_is_there() {
    let mut containerd = Containerd::new();
    let (registry, reference) = registry_with("debian");
    containerd.rpull("default", &reference);
    containerd.ctr(&[
        "run",
        "-d",
        "--snapshotter",
        "stratafs",
        &reference,
        "c1",
        "sh",
        "-c",
        "exec sleep 600",
    ]);
    let before = containerd.snapshots("default");
    let shown = status(&containerd.daemon);
    let chain = &shown["chains"][0];
    assert_eq!((&shown["served"], shown["chains"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(chain["mode"], "erofs", "{shown}");
    assert_eq!(chain["why"], "the kernel mounts it from a file");
    let inspected = told(&containerd.daemon, &["inspect", &format!("docker://{reference}")]);
    assert_eq!(inspected["chain_id"], chain["chain_id"]);
    assert_eq!(inspected["in_use"][0]["path"], chain["path"]);
    drop(registry);
    containerd.daemon.stop();
    assert_eq!(status(&containerd.daemon), json!({"served": false, "chains": shown["chains"]}));
    // What the start has read is recorded, for the next one.
    let names = fs::read_dir(containerd.daemon.root().join("index")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.any(|name| name.ends_with(".trace")));
    containerd.daemon.start();
    containerd.wait_for_plugin();
    assert_eq!(containerd.snapshots("default"), before);
    assert_eq!(status(&containerd.daemon), shown, "it goes on as it was");
    let output = containerd.exec("c1", "e1", "ls /usr/bin | wc -l");
    let count: usize = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(count > 100);
    // A new container too: what it reads was kept.
    let said = containerd.ctr(&[
        "run",
        "--rm",
        "--snapshotter",
        "stratafs",
        &reference,
        "c2",
        "cat",
        "/etc/debian_version",
    ]);
    assert!(said.starts_with("12."), "{said}");
}

/// The kernel goes on with the tree that it knows, although the next start would make another of the
/// layer's own index.
#[test]
fn a_layer_that_had_to_be_read_whole_is_shown_as_before_after_a_restart() {
    let mut containerd = Containerd::new();
    let registry = crate::formats::lies::lying();
    containerd.rpull("default", &format!("{}/app:1", registry.host()));
    let parent = containerd.snapshots("default").pop().unwrap();
    // No view: those that ctr makes hold no lease, and containerd may remove them at once.
    containerd.ctr(&["snapshot", "--snapshotter", "stratafs", "prepare", "p1", &parent]);
    let mounts = ["snapshot", "--snapshotter", "stratafs", "mounts", "/target", "p1"];
    let mounts = containerd.ctr(&mounts);
    let mut options = mounts.split([',', ' ', '\n']);
    let lower = options.find_map(|option| option.strip_prefix("lowerdir="));
    let lower = lower.unwrap_or_else(|| panic!("{mounts}"));
    let len = |name: &str| fs::read(format!("{lower}/{name}")).unwrap().len();
    assert_eq!(len("zz-first"), 5);
    let log = containerd.daemon.log();
    assert!(log.contains("eStargz") && log.contains("its table of contents is wrong"), "{log}");
    assert!(log.contains("read by its own index from now on"), "{log}");
    containerd.daemon.kill();
    containerd.daemon.start();
    let log = containerd.daemon.log();
    assert!(log.contains("took over") && !log.contains("cannot be shown"), "{log}");
    assert_eq!((len("text"), len("big"), len("zz-first")), (199_852, 20_000, 5));
    containerd.ctr(&["snapshot", "--snapshotter", "stratafs", "rm", "p1"]);
}

#[test]
fn a_holder_that_dies_is_replaced() {
    let mut daemon = Daemon::new();
    wait_until("there is a holder", || daemon.holder().is_some());
    let first = daemon.holder().unwrap();
    let pid = nix::unistd::Pid::from_raw(first.try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("there is another", || daemon.holder().is_some_and(|pid| pid != first));
    // It has the mount: the next daemon gets it.
    thread::sleep(Duration::from_millis(300));
    daemon.kill();
    daemon.start();
    assert!(daemon.log().contains("took over"), "{}", daemon.log());
}

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_does_not_end_before_a_holder_has_the_mount() {
    let mut daemon = Daemon::configured("holder = \"external\"");
    let hold = |mut command: Command| Ends(command.stderr(Stdio::null()).spawn().unwrap());
    let first = hold(daemon.command(&["hold"]));
    wait_until("a holder has it", || daemon.log().contains("has the mount again"));
    drop(first);
    wait_until("it is missed", || daemon.log().contains("the holder is gone"));
    // As when a service manager restarts both at once.
    let next = daemon.command(&["hold"]);
    let later = thread::spawn(move || {
        thread::sleep(Duration::from_millis(700));
        hold(next)
    });
    daemon.stop();
    daemon.start();
    assert!(daemon.log().contains("took over"), "{}", daemon.log());
    later.join().unwrap();
}

#[test]
fn sockets_and_folders_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::new();
    let mode = |path: &str| {
        let metadata = fs::metadata(daemon.path().join(path)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("stratafs.sock"), 0o600);
    assert_eq!(mode("run/hold.sock"), 0o600);
    assert_eq!(mode("root"), 0o700);
    assert_eq!(mode("run"), 0o700);
}

#[test]
fn many_cycles_of_containers_leak_nothing() {
    let containerd = Containerd::new();
    let (_registry, reference) = registry_with("debian");
    containerd.rpull("default", &reference);
    let parent = containerd.snapshots("default").pop().unwrap();
    let pid = containerd.daemon.pid();
    let files = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = |table: String| {
        let path = containerd.daemon.path().to_str().unwrap().to_owned();
        table.lines().filter(|line| line.contains(&path)).count()
    };
    let cycle = |n: usize| {
        let key = format!("cycle-{n}");
        let prepare = ["snapshot", "--snapshotter", "stratafs", "prepare", &key, &parent];
        containerd.ctr(&prepare);
        containerd.ctr(&["snapshot", "--snapshotter", "stratafs", "rm", &key]);
    };
    (0..50).for_each(cycle);
    let before = (files(), memory(), below(mounts()));
    (50..550).for_each(cycle);
    wait_until("the trash is empty", || {
        fs::read_dir(containerd.daemon.root().join("trash")).unwrap().count() == 0
    });
    let after = (files(), memory(), below(mounts()));
    assert!(after.0 <= before.0 + 8, "files: {before:?} {after:?}");
    assert!(after.1 <= before.1 + 8 * 1024, "memory: {before:?} {after:?}");
    assert_eq!(after.2, before.2, "mounts");
}
