//! What a service manager and those who watch see of the daemon.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::containerd::Containerd;
use super::cri::Client;
use super::fixture::{Daemon, registry_with};
use crate::images::corpus;
use crate::watchdog::wait_until;

#[test]
fn the_service_manager_is_told_when_calls_are_answered_and_when_no_more() {
    let mut daemon = Daemon::new();
    daemon.stop();
    let path = daemon.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = || {
        let mut text = [0; 256];
        let len = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..len]).trim_end().to_owned()
    };
    let mut command = daemon.serving();
    let mut child = command.env("NOTIFY_SOCKET", &path).spawn().unwrap();
    assert_eq!(told(), "READY=1");
    assert!(Client::connect(&daemon.socket()).is_healthy());
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(told(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

#[test]
fn calls_wait_in_the_socket_of_the_service_manager_while_the_daemon_is_replaced() {
    let mut daemon = Daemon::new();
    daemon.stop();
    let path = daemon.path().join("activated.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let start = || {
        let serving = daemon.serving();
        let mut command = Command::new("sh");
        // The first descriptor that is handed over is number 3, to the process that it is said to be
        // for.
        command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&0 </dev/null", "sh"]);
        command.arg(serving.get_program()).args(serving.get_args());
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())));
        command.spawn().unwrap()
    };
    for _ in 0..2 {
        let asked = {
            let path = path.clone();
            thread::spawn(move || Client::connect(&path).is_healthy())
        };
        thread::sleep(Duration::from_millis(300));
        assert!(!asked.is_finished(), "nobody can have answered");
        let mut child = start();
        wait_until("the call that waited is answered", || asked.is_finished());
        assert!(asked.join().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!daemon.socket().exists(), "it has opened a socket of its own too");
}

#[test]
fn prometheus_finds_what_happened() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let daemon = Daemon::configured(&format!("metrics = \"{address}\""));
    let containerd = Containerd::with(daemon, super::containerd::Release::Installed, None);
    let (_registry, reference) = registry_with("debian");
    let value = |name: &str| -> f64 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("# EOF"), "{text}");
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!(value("stratafs_remote_layers_total"), 0.0);
    containerd.rpull("default", &reference);
    assert_eq!(containerd.run(&reference, "c1", &["echo", "runs"]), "runs\n");
    assert_eq!(value("stratafs_remote_layers_total"), 1.0);
    assert_eq!(value("stratafs_fallback_layers_total"), 0.0);
    assert_eq!(value("stratafs_chains"), 1.0);
    assert!(value("stratafs_fuse_reads_total") + value("stratafs_fuse_misses_total") > 0.0);
}

#[test]
fn log_lines_are_objects_where_that_is_asked_for() {
    let mut daemon = Daemon::configured("log_format = \"json\"");
    daemon.stop();
    let log = daemon.log();
    let mut messages = Vec::new();
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        messages.push(line["fields"]["message"].as_str().unwrap().to_owned());
    }
    assert!(messages.iter().any(|message| message == "serving"), "{messages:?}");
}

#[test]
fn the_units_are_what_systemd_understands() {
    let root = tempfile::tempdir().unwrap();
    let mut install = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install"));
    install.arg("--destdir").arg(root.path());
    corpus::run(install.env("STRATAFS_BINARY", env!("CARGO_BIN_EXE_stratafs")));
    let units = root.path().join("etc/systemd/system");
    let mut names: Vec<_> = fs::read_dir(&units).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 3);
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no", "--root"]).arg(root.path());
    let output = verify.args(&names).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("stratafs")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}
