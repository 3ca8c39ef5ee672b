//! Memory images, made and restored by CRIU.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use stratafs::content::{Layout, Provider as _, ingest};
use stratafs::image::{Index, media_type as mt};

use super::containerd::IMAGE;
use super::program::{self, Host, path_with_criu};
use crate::images::corpus;
use crate::watchdog::wait_until;

const COUNTER: &str = "
import os, socket, time
# Somebody listens, and is asked at every step: where the loopback interface is down, that fails.
server = socket.create_server(('127.0.0.1', 7000))
n = 0
while True:
    n += 1
    socket.create_connection(('127.0.0.1', 7000)).close()
    server.accept()[0].close()
    with open('/count.new', 'w') as f: f.write(f'{os.getpid()} {n}')
    os.rename('/count.new', '/count')
    time.sleep(0.02)
";

fn count(host: &Host, name: &str) -> u64 {
    let text = fs::read_to_string(host.rootfs(name).join("count")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[test]
fn a_counter_goes_on_counting_where_it_was() {
    let host = Host::new();
    let image = corpus::image("python", "latest");
    host.run(&["run", "--name", "one", "--detach", &image, "python3", "-c", COUNTER]);
    wait_until("it has counted", || count(&host, "one") > 50);
    let dir = tempfile::tempdir().unwrap();
    let reference = format!("oci:{}:one", dir.path().join("layout").display());
    let parts = ["--rw", "--image", "--task", "--stop", "--image-name", IMAGE];
    host.run(&[&["checkpoint", "create", "one", &reference][..], &parts].concat());
    let stopped = count(&host, "one");

    let shown = host.run(&["checkpoint", "inspect", &reference]);
    assert!(shown.contains("parent 0, 1 threads: python3"), "{shown}");

    let there = Host::new();
    let args = ["checkpoint", "restore", &reference, "two", "--live", "--detach"];
    let without = there.stratafs.command(&args).env("PATH", "/usr/sbin:/usr/bin:/bin").output();
    let error = String::from_utf8_lossy(&without.unwrap().stderr).into_owned();
    assert!(error.starts_with("stratafs: memory images are restored by CRIU"), "{error}");
    there.run(&args);
    wait_until("it counts on", || count(&there, "two") > stopped + 50);
    // One that had begun again would still be far below.
    assert!(stopped > 50);
}

fn ask(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    BufReader::new(stream).lines().next()?.ok()
}

#[test]
fn a_server_keeps_what_was_only_in_its_memory() {
    let host = Host::new();
    let image = corpus::image("server", "latest");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port_text = port.to_string();
    let mut args =
        vec!["run", "--name", "redis", "--detach", "--net-host", "--user", "0:0", &image];
    args.extend(["--port", &port_text, "--save", ""]);
    host.run(&args);
    wait_until("it answers", || ask(port, "PING\r\n").as_deref() == Some("+PONG"));
    assert_eq!(ask(port, "SET key kept\r\n").as_deref(), Some("+OK"));
    let dir = tempfile::tempdir().unwrap();
    let reference = format!("oci:{}:redis", dir.path().join("layout").display());
    let parts = ["--rw", "--image", "--task", "--stop", "--image-name", IMAGE];
    host.run(&[&["checkpoint", "create", "redis", &reference][..], &parts].concat());
    wait_until("it is gone", || ask(port, "PING\r\n").is_none());

    let there = Host::new();
    there.run(&["checkpoint", "restore", &reference, "redis", "--live", "--detach"]);
    wait_until("it answers again", || ask(port, "EXISTS key\r\n").is_some());
    assert_eq!(ask(port, "STRLEN key\r\n").as_deref(), Some(":4"));
}

#[test]
fn one_that_is_removed_as_soon_as_it_runs_leaves_no_process() {
    let (host, dir) = (Host::new(), tempfile::tempdir().unwrap());
    let image = corpus::image("debian", "latest");
    host.run(&["run", "--name", "one", "--detach", &image, "sh", "-c", program::COUNTER]);
    wait_until("it has counted", || program::count(&host.rootfs("one")).0 > 5);
    let reference = format!("oci:{}:one", dir.path().join("layout").display());
    let parts = ["--rw", "--image", "--task", "--stop", "--image-name", IMAGE];
    host.run(&[&["checkpoint", "create", "one", &reference][..], &parts].concat());

    let there = Host::new();
    for n in 0..5 {
        let name = format!("two-{n}");
        there.run(&["checkpoint", "restore", &reference, &name, "--live", "--detach"]);
        there.run(&["rm", "--force", &name]);
        // Its keeper and the runtime below that have the name among their arguments, CRIU below them
        // has not, and is what they wait for.
        let given = format!("{name}\0");
        wait_until("all of it ends", || !arguments().any(|args| args.contains(&given)));
    }
}

/// What the processes of this machine were called with.
fn arguments() -> impl Iterator<Item = String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| {
        // It may have ended meanwhile; threads of the kernel have none.
        let bytes = fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// runc, except that each of its first `failures` checkpoints ends as one does that meets a process while
/// it starts another; says each time that there was a checkpoint.
const FAILING: &str = r#"#!/bin/sh
case " $* " in
*" checkpoint "*)
    echo >> "$0.calls"
    if [ "$(wc -l < "$0.calls")" -le FAILURES ]; then
        for arg; do
            [ "$before" = --image-path ] && echo half > "$arg/half"
            [ "$before" = --work-path ] && echo "(00.1) Error (cr-dump.c:1): Timeout reached. Try to interrupt: 0
(00.1) Error (infect.c:262): Unseizable non-zombie 7 found, state D, err -1/4" > "$arg/dump.log"
            before=$arg
        done
        exit 1
    fi ;;
esac
exec RUNC "$@"
"#;

#[rstest]
#[case::twice(2, true)]
#[case::always(9, false)]
fn what_meets_a_process_that_starts_another_is_tried_again(
    #[case] failures: u32,
    #[case] is_written: bool,
) {
    let (host, dir) = (Host::new(), tempfile::tempdir().unwrap());
    let image = corpus::image("debian", "latest");
    host.run(&["run", "--name", "one", "--detach", &image, "sh", "-c", program::COUNTER]);
    let counted = || program::count(&host.rootfs("one")).0;
    wait_until("it has counted", || counted() > 5);
    let runc = corpus::run(Command::new("sh").args(["-c", "command -v runc"]));
    let script =
        FAILING.replace("FAILURES", &failures.to_string()).replace("RUNC", runc.trim_end());
    let stand_in = dir.path().join("runc");
    fs::write(&stand_in, script).unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();

    let mut path = dir.path().as_os_str().to_owned();
    path.push(":");
    path.push(path_with_criu());
    let reference = format!("oci:{}:one", dir.path().join("layout").display());
    let parts = ["--rw", "--image", "--task", "--image-name", IMAGE];
    let args = [&["checkpoint", "create", "one", &reference][..], &parts].concat();
    let output = host.stratafs.command(&args).env("PATH", path).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), is_written, "{error}");
    let calls = fs::read_to_string(dir.path().join("runc.calls")).unwrap();
    assert_eq!(calls.lines().count(), 3);
    let before = counted();
    wait_until("it goes on", || counted() > before + 5);
    if !is_written {
        assert!(error.starts_with("stratafs: criu refused: Unseizable non-zombie 7"), "{error}");
        return;
    }
    let there = Host::new();
    there.run(&["checkpoint", "restore", &reference, "two", "--live", "--detach"]);
    wait_until("it counts on", || {
        let (now, _) = program::count(&there.rootfs("two"));
        // One that had begun anew would have begun to count anew.
        assert!(now == 0 || now > 5, "{now}");
        now > before
    });
}

#[test]
fn what_criu_refuses_is_said_in_one_line_and_changes_nothing() {
    let host = Host::new();
    let image = corpus::image("python", "latest");
    // Connections cannot be kept.
    let script = "
import os, socket, time
server = socket.create_server(('127.0.0.1', 7000))
ends = [socket.create_connection(('127.0.0.1', 7000)), server.accept()[0]]
n = 0
while True:
    n += 1
    with open('/count.new', 'w') as f: f.write(f'{os.getpid()} {n}')
    os.rename('/count.new', '/count')
    time.sleep(0.02)
";
    host.run(&["run", "--name", "one", "--detach", &image, "python3", "-c", script]);
    wait_until("it has counted", || count(&host, "one") > 5);
    let dir = tempfile::tempdir().unwrap();
    let reference = format!("oci:{}:one", dir.path().join("layout").display());
    let args = ["checkpoint", "create", "one", &reference, "--task", "--image-name", IMAGE];
    let create = |path: std::ffi::OsString| {
        let output = host.stratafs.command(&args).env("PATH", path).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = create(path_with_criu());
    assert!(error.starts_with("stratafs: criu refused: "), "{error}");
    assert!(error.contains("tcp-established"), "{error}");
    let before = count(&host, "one");
    wait_until("it goes on", || count(&host, "one") > before + 5);
}

/// A memory image without the registers of its processes.
fn without_cores(tar: &[u8]) -> Vec<u8> {
    let mut archive = tar::Archive::new(tar);
    let mut out = tar::Builder::new(Vec::new());
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let is_core = entry.path().unwrap().to_string_lossy().starts_with("core-");
        let header = entry.header().clone();
        if !is_core {
            out.append(&header, entry).unwrap();
        }
    }
    out.into_inner().unwrap()
}

#[test]
fn memory_that_cannot_be_restored_makes_no_container() {
    let host = Host::new();
    let image = corpus::image("debian", "latest");
    host.run(&["run", "--name", "one", "--detach", &image, "sleep", "1000"]);
    let dir = tempfile::tempdir().unwrap();
    let reference = format!("oci:{}:one", dir.path().join("layout").display());
    host.run(&["checkpoint", "create", "one", &reference, "--rw", "--task", "--image-name", IMAGE]);
    let layout = Layout::open(dir.path().join("layout")).unwrap();
    let root = layout.roots().unwrap().remove(0);
    let mut index = Index::parse(&root, layout.read(&root).unwrap()).unwrap();
    for member in index.manifests.iter_mut().filter(|member| member.media_type == mt::CRIU) {
        let memory = layout.read(member).unwrap();
        *member = ingest(&layout, mt::CRIU, &without_cores(&memory)).unwrap();
    }
    let bytes = json!({"manifests": index.manifests, "annotations": index.annotations}).to_string();
    let root = ingest(&layout, mt::OCI_INDEX, bytes.as_bytes()).unwrap();
    layout.set_root(&root, Some("other")).unwrap();
    let other = format!("oci:{}:other", dir.path().join("layout").display());
    let there = Host::new();
    let args = ["checkpoint", "restore", &other, "two", "--live", "--image", &image, "--detach"];
    let output = there.stratafs.command(&args).env("PATH", path_with_criu()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("container two: criu refused: "), "{error}");
    assert_eq!(there.snapshots(), Vec::<String>::new(), "{error}");
    assert_eq!(fs::read_dir(there.stratafs.root().join("containers")).unwrap().count(), 0);
}

#[test]
fn containers_of_one_name_in_two_roots_do_not_meet() {
    let (here, there) = (Host::new(), Host::new());
    let image = corpus::image("debian", "latest");
    for host in [&here, &there] {
        host.run(&["run", "--name", "same", "--detach", &image, "sleep", "1000"]);
    }
    here.run(&["rm", "--force", "same"]);
    assert!(there.run(&["ps"]).contains("running"));
}
