use std::process::Command;

use super::Mount;
use crate::fixture::{Layer, noise};

/// Runs the test `name` of this program, which is left out of normal runs, as root of a user
/// namespace of its own.
#[test]
fn a_user_namespace_mounts_without_the_helper() {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "fuse::rootless::in_user_namespace"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "is run in a user namespace by another test"]
fn in_user_namespace() {
    let content = noise(300_000);
    let mount = Mount::of(Layer::new().file("f", 0o644, &content).xattr("user.x", b"1"));
    assert!(std::fs::read(mount.path("f")).unwrap() == content);
    let folder = |name| mount.watchdog.folder(name);
    let (upper, work, merged) = (folder("upper"), folder("work"), folder("merged"));
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        mount.path("").display(),
        upper.display(),
        work.display(),
    );
    let mut overlay = Command::new("mount");
    overlay.args(["-t", "overlay", "overlay", "-o", &options]).arg(&merged);
    assert!(overlay.status().unwrap().success());
    std::fs::write(merged.join("f"), b"changed").unwrap();
    assert_eq!(std::fs::read(merged.join("f")).unwrap(), b"changed");
    assert!(Command::new("umount").arg(&merged).status().unwrap().success());
    assert!(std::fs::read(mount.path("f")).unwrap() == content);
}
