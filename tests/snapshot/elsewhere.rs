//! Mounts that others perform: by option strings that have to fit in a page.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use stratafs::snapshot::{
    Backend, Labels, Mount, NoLayers, Options, OverlaySnapshotter, Owner, Snapshotter,
};

use crate::watchdog::Watchdog;

/// What `mount(2)` takes for options, in bytes.
const PAGE: usize = 4096;

const LAYERS: usize = 128;

/// Commits [`LAYERS`] snapshots, one on the other, each with a file of its own.
fn layers(root: &Path) -> OverlaySnapshotter {
    let options = Options { sync_on_commit: false, ..Options::default() };
    let backend = Backend::open(root, Arc::new(NoLayers), options).unwrap();
    let snapshotter = backend.snapshotter(Owner::Containerd);
    let mut parent: Option<String> = None;
    for layer in 0..LAYERS {
        let mounts = snapshotter.prepare("active", parent.as_deref(), &Labels::new()).unwrap();
        let upper = option(&mounts[0], "upperdir").unwrap_or(&mounts[0].source);
        fs::write(Path::new(upper).join(layer.to_string()), "").unwrap();
        let name = format!("layer-{layer}");
        snapshotter.commit(&name, "active", None, &Labels::new()).unwrap();
        parent = Some(name);
    }
    snapshotter
}

fn option<'a>(mount: &'a Mount, key: &str) -> Option<&'a str> {
    mount.options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
}

/// What containerd's `compactLowerdirOption` makes of the options: the folder to change to, and
/// the options with lower folders relative to it.
fn compact(mount: &Mount) -> (String, String) {
    let lowers: Vec<&str> = option(mount, "lowerdir").unwrap().split(':').collect();
    let mut common = lowers[0].to_owned();
    for lower in &lowers {
        while !lower.starts_with(&common) {
            common.pop();
        }
    }
    let common = format!("{}/", Path::new(&common).parent().unwrap().display());
    let short: Vec<&str> = lowers.iter().map(|l| l.strip_prefix(&common).unwrap()).collect();
    let rest = mount.options.iter().filter(|o| !o.starts_with("lowerdir="));
    let mut options: Vec<String> = rest.cloned().collect();
    options.push(format!("lowerdir={}", short.join(":")));
    (common, options.join(","))
}

/// Mounts by `mount(8)`, which calls `mount(2)` with the options as they are.
fn mount_by_program(mount: &Mount, target: &Path) {
    let (common, options) = compact(mount);
    assert!(options.len() < PAGE, "{} bytes of options", options.len());
    let mounted = Command::new("mount")
        .env("LIBMOUNT_FORCE_MOUNT2", "always")
        .current_dir(common)
        .args(["-i", "-t", &mount.fs_type, "-o", &options, &mount.source])
        .arg(target)
        .output()
        .unwrap();
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
}

#[test]
fn containerd_can_mount_128_layers_below_a_long_path() {
    let dir = Watchdog::new(Duration::from_secs(120));
    let root = dir.path().join("r".repeat(100)).join("s".repeat(100));
    let snapshotter = layers(&root);
    let top = Some("layer-127");
    let active = snapshotter.prepare("a", top, &Labels::new()).unwrap();
    let view = snapshotter.view("v", top, &Labels::new()).unwrap();
    for (name, mounts) in [("active", active), ("view", view)] {
        let [mount] = &mounts[..] else { panic!() };
        assert!(mount.options.join(",").len() > PAGE, "long enough to be worth the test");
        let target = dir.folder(name);
        mount_by_program(mount, &target);
        assert_eq!(fs::read_dir(&target).unwrap().count(), LAYERS);
        let written = fs::write(target.join("written"), "");
        assert_eq!(written.is_err(), mount.read_only());
    }
}

#[test]
fn a_root_of_any_name_can_be_mounted_by_option_strings() {
    let dir = Watchdog::new(Duration::from_secs(120));
    let root = dir.path().join(r"a,b\c d");
    let backend = Backend::open(&root, Arc::new(NoLayers), Options::default()).unwrap();
    let snapshotter = backend.snapshotter(Owner::Containerd);
    snapshotter.prepare("a", None, &Labels::new()).unwrap();
    snapshotter.commit("c", "a", None, &Labels::new()).unwrap();
    let mounts = snapshotter.prepare("b", Some("c"), &Labels::new()).unwrap();
    let target = dir.folder("target");
    let options = mounts[0].options.join(",");
    rustix::mount::mount(
        "overlay",
        &target,
        "overlay",
        rustix::mount::MountFlags::empty(),
        &*std::ffi::CString::new(options).unwrap(),
    )
    .unwrap();
    fs::write(target.join("written"), "").unwrap();
    assert_eq!(snapshotter.usage("b").unwrap().inodes, 2);
}
