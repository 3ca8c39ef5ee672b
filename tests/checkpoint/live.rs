//! Memory images, made and restored by CRIU.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::containerd::IMAGE;
use super::program::Host;
use crate::images::corpus;
use crate::watchdog::wait_until;

const COUNTER: &str = "
import os, time
n = 0
while True:
    n += 1
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
    there.run(&["checkpoint", "restore", &reference, "two", "--live", "--detach"]);
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
