//! Runs a function of this program in a process of its own, which can be killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where the child finds what it is told.
const VARIABLE: &str = "STRATAFS_TEST_CHILD";

/// The arguments with which this program runs the ignored test `name` alone.
pub fn arguments(name: &str) -> [String; 5] {
    let name = format!("snapshot::{name}");
    ["--exact".into(), name, "--ignored".into(), "--nocapture".into(), "--test-threads=1".into()]
}

/// Starts the ignored test `name` in a process of its own, told `words`.
pub fn spawn(name: &str, root: &Path, words: &[String]) -> Child {
    spawn_by(Command::new(std::env::current_exe().unwrap()), name, root, words)
}

/// As [`spawn`], by a command that runs another one, whose program it was given last.
pub fn spawn_by(mut command: Command, name: &str, root: &Path, words: &[String]) -> Child {
    let told = [&[root.to_str().unwrap().to_owned()], words].concat().join("\n");
    command
        .args(arguments(name))
        .env(VARIABLE, told)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What this process was told: the root and the words.
pub fn told() -> Vec<String> {
    let told = std::env::var(VARIABLE).expect("this test is started by another one");
    told.split('\n').map(str::to_owned).collect()
}
