//! Daemons that are killed under containers that go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use prost::Message;
use rstest::rstest;
use tonic::{Code, Status};

use super::containerd::{Containerd, Release};
use super::cri::Client;
use super::fixture::{Daemon, registry_with};
use crate::watchdog::wait_until;

/// How often the daemon is killed; `STRATAFS_KILLS` says how often in a long run.
fn kills() -> usize {
    std::env::var("STRATAFS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// Reads, stats, walks and executes, each in its own loop, and writes down what is wrong.
const BUSY: &str = "
    cd /usr
    find . -xdev -type f -size -200k | sort | head -n 300 > /list
    xargs sha256sum < /list > /sums
    count=$(find . -xdev | wc -l)
    round() { echo x >> /rounds; }
    touch /rounds
    while :; do sha256sum --quiet -c /sums || echo wrong bytes >> /faults; round; done &
    while :; do [ \"$(find . -xdev | wc -l)\" = $count ] || echo wrong walk >> /faults; round; done &
    while :; do xargs stat < /list > /dev/null || echo wrong stat >> /faults; round; done &
    while :; do /bin/true && /usr/bin/env true || echo wrong exec >> /faults; round; done &
    # What the kernel has cached does not ask the daemon.
    while :; do echo 2 > /proc/sys/vm/drop_caches; sleep 0.2; done 2>/dev/null &
    wait
";

#[rstest]
fn a_container_does_not_notice_that_the_daemon_is_killed(
    #[values("erofs", "fuse")] mode: &'static str,
) {
    let mut containerd = Containerd::with(Daemon::in_mode(mode, ""), Release::Installed, None);
    let (_registry, reference) = registry_with("debian");
    containerd.rpull("default", &reference);
    containerd.ctr(&[
        "run",
        "-d",
        "--snapshotter",
        "stratafs",
        "--privileged",
        &reference,
        "busy",
        "sh",
        "-c",
        BUSY,
    ]);
    let mut execs = 0;
    let mut read = |containerd: &Containerd, file: &str| {
        execs += 1;
        let output = containerd.exec("busy", &format!("e{execs}"), &format!("cat {file}"));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut rounds = 0;
    for _ in 0..kills() {
        wait_until("the container goes on", || {
            thread::sleep(Duration::from_millis(200));
            let now = read(&containerd, "/rounds").len();
            now > rounds + 20
        });
        containerd.daemon.kill();
        // What is asked meanwhile waits.
        thread::sleep(Duration::from_millis(100));
        containerd.daemon.start();
        rounds = read(&containerd, "/rounds").len();
    }
    wait_until("the container goes on after the last", || {
        thread::sleep(Duration::from_millis(200));
        read(&containerd, "/rounds").len() > rounds + 20
    });
    assert_eq!(read(&containerd, "/faults 2>/dev/null"), "");
    assert_eq!(containerd.daemon.log().matches("took over").count(), kills());
}

#[test]
fn a_pull_goes_on_after_a_kill() {
    let mut containerd = Containerd::new();
    let (_registry, reference) = registry_with("server");
    for delay in [20, 200, 600] {
        let mut pull = containerd.daemon.command(&["rpull", &reference, "--address"]);
        let mut pull = pull.arg(containerd.address()).spawn().unwrap();
        thread::sleep(Duration::from_millis(delay));
        containerd.daemon.kill();
        // It may fail, or be just done.
        let _ = pull.wait().unwrap();
        containerd.daemon.start();
    }
    containerd.wait_for_plugin();
    containerd.rpull("default", &reference);
    let said = containerd.ctr(&[
        "run",
        "--rm",
        "--snapshotter",
        "stratafs",
        &reference,
        "c1",
        "echo",
        "runs",
    ]);
    assert_eq!(said, "runs\n");
}

/// Requests of containerd's snapshots service: Prepare and View with a parent, Commit with a key.
#[derive(Clone, PartialEq, Message)]
struct Ask {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    other: String,
}

#[derive(Clone, PartialEq, Message)]
struct Mounts {
    #[prost(message, repeated, tag = "1")]
    mounts: Vec<Mount>,
}

#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "2")]
    source: String,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Stat {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    /// `VIEW` is 1, `ACTIVE` 2, `COMMITTED` 3.
    #[prost(int32, tag = "3")]
    kind: i32,
}

fn ask<T: Message + Default + Send + Sync + 'static>(
    socket: &Path,
    call: &'static str,
    name: &str,
    other: &str,
) -> Result<T, Status> {
    let (name, other) = (name.to_owned(), other.to_owned());
    Client::connect(socket).call(call, Ask { name, other })
}

const PREPARE: &str = "/containerd.services.snapshots.v1.Snapshots/Prepare";
const VIEW: &str = "/containerd.services.snapshots.v1.Snapshots/View";
const COMMIT: &str = "/containerd.services.snapshots.v1.Snapshots/Commit";
const STAT: &str = "/containerd.services.snapshots.v1.Snapshots/Stat";
const REMOVE: &str = "/containerd.services.snapshots.v1.Snapshots/Remove";

/// A commit is whole or has not been, whenever the daemon is killed in it, and can be made again.
#[test]
fn a_commit_that_is_killed_is_done_or_not_begun() {
    let mut daemon = Daemon::new();
    let socket = daemon.socket();
    let folder = |mounts: Mounts| PathBuf::from(&mounts.mounts[0].source);
    let (mut done, mut undone) = (0, 0);
    for round in 0..kills() {
        let (key, name) = (format!("active-{round}"), format!("committed-{round}"));
        let root = folder(ask(&socket, PREPARE, &key, "").unwrap());
        for file in 0..200 {
            fs::write(root.join(file.to_string()), vec![b'x'; 1000 * (file % 7)]).unwrap();
        }
        let committing = {
            let (client, ask) =
                (Client::connect(&socket), Ask { name: name.clone(), other: key.clone() });
            thread::spawn(move || client.call::<_, Nothing>(COMMIT, ask))
        };
        // From before the call arrives to after it has ended.
        match u64::try_from(round % 10).unwrap() {
            9 => wait_until("the commit is answered", || committing.is_finished()),
            tenth => thread::sleep(Duration::from_millis(tenth * 3)),
        }
        daemon.kill();
        let answered = committing.join().unwrap().is_ok();
        daemon.start();
        let kind = |name: &str| match ask::<Stat>(&socket, STAT, name, "") {
            Ok(stat) => Some(stat.info.unwrap().kind),
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status}");
                None
            }
        };
        match (kind(&key), kind(&name)) {
            (Some(2), None) => {
                assert!(!answered, "a commit that was answered is gone");
                undone += 1;
                ask::<Nothing>(&socket, COMMIT, &name, &key).unwrap();
            }
            (None, Some(3)) => done += 1,
            other => panic!("{other:?}"),
        }
        let seen = folder(ask(&socket, VIEW, "view", &name).unwrap());
        for file in 0..200 {
            let len = fs::metadata(seen.join(file.to_string())).unwrap().len();
            assert_eq!(len, 1000 * (file % 7), "file {file}");
        }
        for left in ["view", &name] {
            ask::<Nothing>(&socket, REMOVE, left, "").unwrap();
        }
    }
    assert!(done > 0, "none was done, {undone} not begun");
}
