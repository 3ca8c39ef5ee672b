//! containerd's own suite, built from the Go packages of the distribution.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::containerd::Containerd;
use super::fixture::Daemon;

/// The cases of the suite in containerd 1.6; `Rename` skips itself there.
const CASES: usize = 21;

/// The suite's program, built once.
fn program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
        let package = dir.join("src/conformance");
        fs::create_dir_all(&package).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/suite_test.go");
        fs::copy(source, package.join("suite_test.go")).unwrap();
        let program = dir.join("suite.test");
        let path = format!("{}:/usr/share/gocode", dir.display());
        let mut go = Command::new("go");
        go.args(["test", "-c", "-o"]).arg(&program).arg("conformance");
        go.env("GO111MODULE", "off").env("GOPATH", path).env("GOFLAGS", "");
        go.env("GOCACHE", dir.join("cache")).env("HOME", &dir);
        crate::images::corpus::run(&mut go);
        program
    };
    BUILT.get_or_init(build).clone()
}

/// Runs `test`, which has `more` cases than the suite.
fn run(test: &str, variable: &str, socket: PathBuf, more: usize) {
    let mut suite = Command::new(program());
    suite.args(["-test.run", test, "-test.v", "-test.root"]).env(variable, socket);
    let output = suite.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
    let (passed, skipped) = (count("    --- PASS: "), count("    --- SKIP: "));
    assert_eq!((passed, skipped), (CASES - 1 + more, 1), "{text}");
    assert!(text.contains("--- SKIP: ") && text.contains("/Rename"), "{text}");
}

#[test]
fn the_suite_passes_on_the_socket() {
    let daemon = Daemon::new();
    run("^TestPlugin$", "SNAPSHOTTER_SOCKET", daemon.socket(), 1);
}

#[test]
fn the_suite_passes_through_containerd() {
    let containerd = Containerd::new();
    run("^TestThroughContainerd$", "CONTAINERD_ADDRESS", containerd.address(), 0);
}
