use std::{fs, io};

use proptest::prelude::*;

use super::options::split;
use super::overlay::{OverlayFolders, overlay_classic};
use super::*;

/// A folder to work in whose mounts go with it.
struct Place {
    dir: tempfile::TempDir,
    mounted: Vec<PathBuf>,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), mounted: Vec::new() }
    }

    fn folder(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn mount(&mut self, mounts: &[Mount], name: &str) -> Result<PathBuf, Error> {
        let target = PathBuf::from(self.folder(name));
        mount(mounts, &target)?;
        self.mounted.push(target.clone());
        Ok(target)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for target in self.mounted.iter().rev() {
            let _ = unmount(target);
        }
    }
}

fn spec(fs_type: &str, source: &str, options: &[String]) -> Mount {
    Mount {
        fs_type: fs_type.to_owned(),
        source: source.to_owned(),
        target: String::new(),
        options: options.to_vec(),
    }
}

fn bind_of(source: &str, options: &[&str]) -> Mount {
    let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
    spec("bind", source, &options)
}

/// An overlay of folders `names`, top first, each of which has a file of its own name.
fn stack(place: &Place, names: &[String]) -> Mount {
    let lowers: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let folder = place.folder(name);
            fs::write(Path::new(&folder).join(format!("file-{n}")), "").unwrap();
            escape(&folder)
        })
        .collect();
    spec("overlay", "overlay", &[format!("lowerdir={}", lowers.join(":"))])
}

fn escape(path: &str) -> String {
    path.replace('\\', "\\\\").replace(',', "\\,").replace(':', "\\:")
}

fn count(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
fn a_read_only_bind_refuses_writes() {
    let mut place = Place::new();
    let source = place.folder("source");
    let target = place.mount(&[bind_of(&source, &["ro", "rbind"])], "target").unwrap();
    let refused = fs::write(target.join("f"), "").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
    let target = place.mount(&[bind_of(&source, &["rw", "rbind"])], "writable").unwrap();
    fs::write(target.join("f"), "").unwrap();
    assert_eq!(count(Path::new(&source)), 1);
}

#[test]
fn a_bind_follows_a_link_and_takes_what_is_mounted_below() {
    let mut place = Place::new();
    let (source, below) = (place.folder("source"), place.folder("source/below"));
    let other = place.folder("other");
    fs::write(Path::new(&other).join("f"), "").unwrap();
    place.mount(&[bind_of(&other, &["rw"])], "source/below").unwrap();
    let link = place.dir.path().join("link");
    std::os::unix::fs::symlink(&source, &link).unwrap();
    let link = link.to_str().unwrap();
    let target = place.mount(&[bind_of(link, &["ro", "rbind"])], "target").unwrap();
    assert_eq!(count(&target.join("below")), 1);
    assert!(fs::write(target.join("below/g"), "").is_err(), "read-only below too");
    fs::write(Path::new(&below).join("g"), "").unwrap();
}

#[test]
fn what_is_mounted_inside_later_does_not_show_in_the_source() {
    let mut place = Place::new();
    // Mounts are private where the test runs or shared as on most hosts: make it the latter.
    let shared = place.folder("shared");
    place.mount(&[spec("tmpfs", "tmpfs", &[])], "shared").unwrap();
    rustix::mount::mount_change(shared.as_str(), rustix::mount::MountPropagationFlags::SHARED)
        .unwrap();
    let source = place.folder("shared/source");
    fs::create_dir(Path::new(&source).join("proc")).unwrap();
    let target = place.mount(&[bind_of(&source, &["rw", "rbind"])], "target").unwrap();
    let inside = spec("tmpfs", "tmpfs", &[]);
    mount(&[inside], &target.join("proc")).unwrap();
    fs::write(target.join("proc/f"), "").unwrap();
    let seen = count(&Path::new(&source).join("proc"));
    unmount(&target.join("proc")).unwrap();
    assert_eq!(seen, 0);
}

#[test]
fn overlays_of_many_lowers_mount() {
    for lowers in [2, 128, 500] {
        let mut place = Place::new();
        let names: Vec<String> = (0..lowers).map(|n| format!("lower-{n}")).collect();
        let mounts = [stack(&place, &names)];
        let target = place.mount(&mounts, "target").unwrap();
        assert_eq!(count(&target), lowers);
        assert!(fs::write(target.join("f"), "").is_err());
    }
}

#[test]
fn folders_of_any_name_mount() {
    let mut place = Place::new();
    let names = ["a,b", "c:d", r"e\f", r"\", "g h", "i=j", "ü", &"long/".repeat(80)];
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut mount = stack(&place, &names);
    for (option, name) in [("upperdir", r"u,p\p:er"), ("workdir", r"w,o\r:k")] {
        let folder = place.folder(name).replace('\\', "\\\\").replace(',', "\\,");
        mount.options.push(format!("{option}={folder}"));
    }
    let target = place.mount(&[mount], "target").unwrap();
    fs::write(target.join("written"), "").unwrap();
    assert!(place.dir.path().join(r"u,p\p:er/written").exists());
    assert_eq!(count(&target), names.len() + 1);
}

#[test]
fn the_mount_of_old_kernels_gives_the_same() {
    let place = Place::new();
    let names: Vec<String> = (0..128).map(|n| format!("a,b:c\\d-{n}")).collect();
    let mut mount = stack(&place, &names);
    for option in ["upperdir", "workdir"] {
        mount.options.push(format!("{option}={}", place.folder(option)));
    }
    mount.options.push("index=off".to_owned());
    let parsed = Parsed::of(&mount).unwrap();
    let folders = OverlayFolders::of(&parsed).unwrap();
    let made = overlay_classic(&mount, &parsed, &folders).unwrap();
    fs::write(made.path().join("written"), "").unwrap();
    assert_eq!(count(&made.path()), 129);
    assert!(place.dir.path().join("upperdir/written").exists());
}

#[test]
fn a_temporary_mount_is_seen_by_nobody_and_ends() {
    let place = Place::new();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let marker = place.folder("a-temporary-lower");
    let stack = [stack(&place, &["a-temporary-lower".to_owned(), "other".to_owned()])];
    let temporary = TemporaryMount::new(&stack).unwrap();
    assert_eq!(count(&temporary.path()), 2);
    assert!(!mounts().contains(&marker));
}

#[test]
fn mounts_below_mounts_and_failures_leave_nothing() {
    let mut place = Place::new();
    let source = place.folder("source");
    fs::create_dir(Path::new(&source).join("sub")).unwrap();
    let mut below = spec("tmpfs", "tmpfs", &["size=1M".to_owned()]);
    below.target = "/sub".to_owned();
    let good = [bind_of(&source, &["rw"]), below.clone()];
    let target = place.mount(&good, "target").unwrap();
    fs::write(target.join("sub/f"), "").unwrap();
    assert_eq!(count(&Path::new(&source).join("sub")), 0);
    unmount(&target.join("sub")).unwrap();
    below.target = "/missing".to_owned();
    let failed = place.mount(&[bind_of(&source, &["rw"]), below], "failed").unwrap_err();
    assert!(failed.to_string().contains("missing"), "{failed}");
    assert_eq!(count(&place.dir.path().join("failed")), 0);
}

#[test]
fn what_is_not_offered_is_refused_in_words() {
    let text = |fs_type: &str, options: &[&str]| {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        TemporaryMount::new(&[spec(fs_type, "/", &options)]).unwrap_err().to_string()
    };
    assert!(text("ext4", &["loop"]).contains("loop devices"));
    assert!(text("bind", &["upperdir=/a"]).contains("no options"));
    assert!(text("overlay", &[]).contains("needs lower folders"));
    assert!(text("overlay", &["lowerdir=/::/data"]).contains("lower folders"));
    assert!(text("overlay", &["lowerdir=/", "nonsense=1"]).contains("nonsense"));
    assert!(text("no-such-fs", &[]).contains("no-such-fs"));
    assert!(TemporaryMount::new(&[]).is_err());
}

proptest! {
    #[test]
    fn escaped_folders_split_to_themselves(paths in prop::collection::vec(r"[a,:\\/é ]{1,8}", 1..5)) {
        let joined: Vec<String> = paths.iter().map(|p| escape(p)).collect();
        prop_assert_eq!(split(&joined.join(":"), Some(':')), paths);
    }
}
