//! Daemons that are killed under containers that go on.

use std::thread;
use std::time::Duration;

use rstest::rstest;

use super::containerd::{Containerd, Release};
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
