use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use stratafs::digest::{ChainId, DiffId, Digest};
use stratafs::fs::{Filesystem, SlotName};
use stratafs::fuse::{self, Error, Options};

use super::Mount;
use crate::fixture::{self, Layer, noise};
use crate::watchdog::Watchdog;

fn mount_line(path: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.to_str().unwrap();
    table.lines().find(|line| line.split(' ').nth(4) == Some(path)).map(str::to_owned)
}

fn layer() -> Layer {
    Layer::new().file("f", 0o644, b"text")
}

#[test]
fn the_mount_table_names_the_filesystem() {
    let mount = Mount::of(layer());
    let line = mount_line(&mount.path("")).unwrap();
    assert!(line.contains(" - fuse.stratafs stratafs ro"), "{line}");
    assert!(line.contains(&format!(" 0:{} ", mount.mounted().connection())), "{line}");
    assert!(line.contains("allow_other") && line.contains("default_permissions"), "{line}");
    assert!(!line.contains("nosuid") && !line.contains("nodev"), "{line}");
    let safe =
        Mount::with(Filesystem::of_tree(fixture::in_memory(vec![layer()])), &Options::default());
    let line = mount_line(&safe.path("")).unwrap();
    assert!(line.contains("nosuid,nodev"), "{line}");
}

#[test]
fn a_new_mount_has_settled() {
    let mount = Mount::of(layer());
    let opens = mount.mounted().stats().opens.get();
    for _ in 0..3 {
        std::fs::read(mount.path("f")).unwrap();
        std::fs::read_dir(mount.path("")).unwrap().count();
    }
    assert_eq!(mount.mounted().stats().opens.get(), opens, "the kernel opens files by itself");
    let names: Vec<_> = std::fs::read_dir(mount.path("")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn the_kernel_sends_requests_of_1_mib() {
    let mount = Mount::of(Layer::new().file("f", 0o644, &noise(16 << 20)));
    let mut buf = vec![0; 16 << 20];
    File::open(mount.path("f")).unwrap().read_exact(&mut buf).unwrap();
    assert!(buf == noise(16 << 20));
    let reads = mount.mounted().stats().reads.get();
    assert!(reads <= 24, "{reads} requests for 16 MiB");
}

#[test]
fn unmounting_ends_the_session() {
    let mut mount = Mount::of(layer());
    let path = mount.path("");
    mount.mounted.take().unwrap().unmount().unwrap();
    assert_eq!(mount_line(&path), None);
    assert!(matches!(fuse::unmount(&path), Err(Error::NotMounted { .. })));
}

#[test]
fn an_unmount_takes_a_path_through_links() {
    let mount = Mount::of(layer());
    let link = mount.watchdog.path().join("link");
    std::os::unix::fs::symlink(mount.watchdog.path(), &link).unwrap();
    fuse::unmount(&link.join("mount")).unwrap();
    assert_eq!(mount_line(&mount.path("")), None);
}

#[test]
fn an_unmount_from_outside_is_noticed() {
    let mut mount = Mount::of(layer());
    let path = mount.path("");
    let mounted = mount.mounted.take().unwrap();
    assert!(!mounted.wait(Duration::from_millis(1)).unwrap());
    fuse::unmount(&path).unwrap();
    assert!(mounted.wait(Duration::from_secs(10)).unwrap());
    drop(mounted);
}

#[test]
fn a_mount_in_use_is_unmounted_lazily_and_serves_those_who_have_it_open() {
    let content = noise(3 << 20);
    let mut mount = Mount::of(Layer::new().file("f", 0o644, &content));
    let path = mount.path("");
    let mut file = File::open(mount.path("f")).unwrap();
    let mounted = mount.mounted.take().unwrap();
    mounted.unmount().unwrap();
    assert_eq!(mount_line(&path), None);
    let mut found = Vec::new();
    file.read_to_end(&mut found).unwrap();
    assert!(found == content);
}

#[test]
fn nothing_else_is_ever_unmounted() {
    let mut mount = Mount::of(layer());
    let path = mount.path("");
    let status = Command::new("mount").args(["-t", "tmpfs", "over"]).arg(&path).status().unwrap();
    assert!(status.success());
    assert!(matches!(fuse::unmount(&path), Err(Error::NotMounted { .. })));
    drop(mount.mounted.take());
    assert!(mount_line(&path).is_some());
    assert!(Command::new("umount").arg(&path).status().unwrap().success());
    fuse::unmount(&path).unwrap();
}

#[test]
fn a_mount_point_that_cannot_be_used_is_named() {
    let fs = || Arc::new(Filesystem::new());
    let absent = fuse::mount(fs(), Path::new("/no/such/folder"), &Options::default());
    let text = absent.err().unwrap().to_string();
    assert!(text.contains("/no/such/folder"), "{text}");
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let file = watchdog.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let refused = fuse::mount(fs(), &file, &Options::default());
    assert!(matches!(refused, Err(Error::Mount { .. })));
}

#[test]
fn an_aborted_connection_fails_everything_and_can_be_unmounted() {
    let mut mount = Mount::of(layer());
    fuse::abort(mount.mounted().connection()).unwrap();
    let e = std::fs::read(mount.path("f")).unwrap_err();
    assert!([libc::ENOTCONN, libc::ECONNABORTED].contains(&e.raw_os_error().unwrap()), "{e}");
    assert!(mount.mounted().wait(Duration::from_secs(10)).unwrap());
    let path = mount.path("");
    drop(mount.mounted.take());
    assert_eq!(mount_line(&path), None);
    assert!(fuse::abort(u32::MAX).is_err());
}

fn name(what: &str) -> SlotName {
    SlotName::Chain(ChainId::new(Digest::sha256(what.as_bytes())))
}

#[test]
fn trees_come_and_go_in_the_virtual_root() {
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let root = watchdog.folder("mount");
    let fs = Arc::new(Filesystem::new());
    let mounted = fuse::mount(fs.clone(), &root, &Options::rootfs()).unwrap();
    let list = |dir: &str| {
        let names = std::fs::read_dir(root.join(dir)).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let tree =
        |text: &str| fixture::in_memory(vec![Layer::new().file("f", 0o644, text.as_bytes())]);
    assert_eq!(list(""), ["blobs", "chains", "layers"]);
    assert!(list("chains").is_empty());
    let (a, b) = (name("a"), name("b"));
    assert!(!root.join(a.path()).exists());

    let slot = fs.attach(&a, tree("one")).unwrap();
    assert_eq!(std::fs::read(root.join(a.path()).join("f")).unwrap(), b"one");
    assert_eq!(list("chains").len(), 1);
    fs.attach(&b, tree("two")).unwrap();
    assert_eq!(list("chains").len(), 2);
    let layer = SlotName::Layer(DiffId::new(Digest::sha256(b"layer")));
    fs.attach(&layer, tree("three")).unwrap();
    assert_eq!(std::fs::read(root.join(layer.path()).join("f")).unwrap(), b"three");

    let mut open = File::open(root.join(a.path()).join("f")).unwrap();
    assert_eq!(fs.detach(&a), Some(slot));
    assert!(!root.join(a.path()).exists());
    assert_eq!(list("chains").len(), 1);
    let mut cached = String::new();
    open.read_to_string(&mut cached).unwrap();
    assert_eq!(cached, "one", "pages that the kernel has stay");

    assert_ne!(fs.attach(&a, tree("four")).unwrap(), slot);
    assert_eq!(std::fs::read(root.join(a.path()).join("f")).unwrap(), b"four");
    drop((open, mounted));
}

/// Runs the test `name` of this program, which is left out of normal runs, as nobody, with a
/// /dev/fuse that all may open (as udev's rules have it) in a mount namespace of its own.
fn as_user(name: &str, dir: &Path) -> std::process::Output {
    const SCRIPT: &str = r#"
        mknod -m 666 device c 10 229 && mount --bind device /dev/fuse &&
        exec setpriv --reuid 65534 --regid 65534 --clear-groups ./program --ignored --exact "$1""#;
    let program = dir.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [dir, &program] {
        assert!(Command::new("chmod").arg("a+rx").arg(path).status().unwrap().success());
    }
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(dir).status().unwrap().success());
    Command::new("unshare")
        .args(["--mount", "sh", "-c", SCRIPT, "sh", name])
        .current_dir(dir)
        .env("TMPDIR", dir)
        .output()
        .unwrap()
}

#[test]
fn a_plain_user_mounts_through_the_helper() {
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let dir = watchdog.folder("home");
    assert!(Command::new("chmod").arg("a+rx").arg(watchdog.path()).status().unwrap().success());
    let output = as_user("fuse::session::plain_user", &dir);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "is run as a plain user by another test"]
fn plain_user() {
    let mut mount = Mount::of(layer());
    assert_eq!(std::fs::read(mount.path("f")).unwrap(), b"text");
    let path = mount.path("");
    assert!(mount_line(&path).unwrap().contains("nosuid,nodev"));
    mount.mounted.take().unwrap().unmount().unwrap();
    assert_eq!(mount_line(&path), None);
}
