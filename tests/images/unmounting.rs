//! Unmounting what is mounted elsewhere too, or under something else.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};

use super::layout::{Archive, Layer, Layout};
use super::program::Stratafs;
use crate::fixture::noise;
use crate::oracle;
use crate::watchdog::wait_until;

fn layout() -> Layout {
    Layout::of(&[Layer::gzip(&Archive::new().file("a", &noise(300_000)).file("b", b"b").finish())])
}

fn is_alive(pid: &serde_json::Value) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A process in a mount namespace of its own, which has copies of all mounts that there are now.
struct Elsewhere(Child);

impl Elsewhere {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 600"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Self(child)
    }

    fn sees(&self, path: &Path) -> std::path::PathBuf {
        Path::new("/proc")
            .join(self.0.id().to_string())
            .join("root")
            .join(path.strip_prefix("/").unwrap())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[rstest::rstest]
fn a_copy_in_another_mount_namespace_goes_on_and_is_not_waited_for(
    #[values("erofs", "fuse")] mode: &str,
) {
    let layout = layout();
    let stratafs = Stratafs::new();
    let target = stratafs.mount(&layout.image(), &["--mode", mode]);
    let pid = stratafs.mount_on(&target)["pid"].clone();
    let elsewhere = Elsewhere::new();
    let begun = Instant::now();
    let output = stratafs.command(&["umount", target.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("of process {}", elsewhere.0.id())), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "here it is gone");
    assert_eq!(stratafs.run(&["--json", "mounts"]).trim(), "[]");
    assert!(fs::read(elsewhere.sees(&target).join("a")).unwrap() == noise(300_000));
    // What comes in its place is not what its server unmounts in the end.
    stratafs.run(&["mount", &layout.image(), target.to_str().unwrap(), "--mode", mode]);
    assert!(is_alive(&pid));
    drop(elsewhere);
    wait_until("the first server ends", || !is_alive(&pid));
    assert!(fs::read(target.join("a")).unwrap() == noise(300_000));
    stratafs.run(&["umount", target.to_str().unwrap()]);
}

#[test]
fn what_somebody_else_has_mounted_there_since_stays() {
    let layout = layout();
    let stratafs = Stratafs::new();
    let target = stratafs.mount(&layout.image(), &[]);
    umount(&target).unwrap();
    mount(Some("x"), &target, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::write(target.join("theirs"), b"x").unwrap();
    let output = stratafs.command(&["umount", target.to_str().unwrap()]).output().unwrap();
    let stays = fs::read(target.join("theirs"));
    umount(&target).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stays.unwrap(), b"x");
    assert_eq!(stratafs.run(&["--json", "mounts"]).trim(), "[]");
}

#[test]
fn a_mount_that_fails_leaves_what_was_there() {
    let layout = layout();
    let stratafs = Stratafs::new();
    let target = stratafs.target("mine");
    mount(Some("x"), &target, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    // Its state root is on a tmpfs, where the kernel takes no EROFS image from.
    let root = stratafs.target("tmpfs");
    mount(Some("x"), &root, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let there = Stratafs::with_root(&root.join("root"));
    let args = ["mount", &layout.image(), target.to_str().unwrap(), "--mode", "erofs"];
    let error = there.refuse(&args);
    let stays = oracle::snapshot(&target);
    fs::write(target.join("mine"), b"x").unwrap();
    let is_mine = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(is_mine.contains(&format!(" {} ", target.display())), "{error}");
    drop(stays);
    umount(&target).unwrap();
    umount(&root).unwrap();
}
