//! A mounted tree as the one lower directory of kernel overlayfs: the shape of every writable
//! root filesystem.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Mount;
use crate::fixture::{Layer, noise};

struct Overlay {
    merged: PathBuf,
    upper: PathBuf,
    mount: Mount,
}

impl Overlay {
    fn over(layer: Layer, options: &str) -> Self {
        let mount = Mount::of(layer);
        let folder = |name| mount.watchdog.folder(name);
        let (upper, work, merged) = (folder("upper"), folder("work"), folder("merged"));
        let overlay = Self { merged, upper, mount };
        overlay.mount(&work, options);
        overlay
    }

    fn mount(&self, work: &Path, options: &str) {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}{options}",
            self.mount.path("").display(),
            self.upper.display(),
            work.display(),
        );
        let mut command = Command::new("mount");
        command.args(["-t", "overlay", "overlay", "-o", &options]).arg(&self.merged);
        assert!(command.status().unwrap().success());
    }

    fn path(&self, path: &str) -> PathBuf {
        self.merged.join(path)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.merged).status();
    }
}

fn layer() -> Layer {
    Layer::new()
        .file("d/f", 0o4751, &noise(200_000))
        .owner(7, 8)
        .xattr("user.kept", b"value")
        .link("d/g", "d/f")
        .file("d/gone", 0o644, b"")
        .symlink("d/l", "f")
        .file("other/x", 0o644, b"x")
}

#[test]
fn changes_stay_in_the_upper_folder() {
    let overlay = Overlay::over(layer(), "");
    let mut file = OpenOptions::new().append(true).open(overlay.path("d/f")).unwrap();
    file.write_all(b"more").unwrap();
    drop(file);
    let copied = fs::read(overlay.path("d/f")).unwrap();
    assert!(copied[..200_000] == noise(200_000) && copied[200_000..] == *b"more");
    let stat = overlay.path("d/f").metadata().unwrap();
    assert_eq!((stat.uid(), stat.gid()), (7, 8));
    let value = Command::new("getfattr")
        .args(["--absolute-names", "--only-values", "-n", "user.kept"])
        .arg(overlay.path("d/f"))
        .output()
        .unwrap();
    assert_eq!(value.stdout, b"value");

    fs::remove_file(overlay.path("d/gone")).unwrap();
    assert!(!overlay.path("d/gone").exists());
    let whiteout = overlay.upper.join("d/gone").symlink_metadata().unwrap();
    assert!(whiteout.file_type().is_char_device());
    fs::remove_dir_all(overlay.path("other")).unwrap();
    fs::create_dir(overlay.path("other")).unwrap();
    assert_eq!(fs::read_dir(overlay.path("other")).unwrap().count(), 0);
    fs::set_permissions(overlay.path("d"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(overlay.path("d/l"), overlay.path("d/m")).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(overlay.path("d")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["f", "g", "m"]);

    assert!(fs::read(overlay.mount.path("d/f")).unwrap() == noise(200_000));
    assert!(overlay.mount.path("d/gone").exists());
}

#[test]
fn an_index_keeps_hard_links_together() {
    let overlay = Overlay::over(layer(), ",index=on,xino=on");
    fs::write(overlay.path("d/f"), b"new").unwrap();
    assert_eq!(fs::read(overlay.path("d/g")).unwrap(), b"new");
    let ino = |path| overlay.path(path).metadata().unwrap().ino();
    assert_eq!(ino("d/f"), ino("d/g"));
}

#[test]
fn attributes_of_overlayfs_in_image_content_have_no_effect() {
    let layer = layer()
        .file("d/trap", 0o644, b"content")
        .xattr("trusted.overlay.redirect", b"/other/x")
        .xattr("trusted.overlay.metacopy", b"")
        .dir("opaque", 0o755)
        .xattr("trusted.overlay.opaque", b"y");
    let overlay = Overlay::over(layer, ",metacopy=on,redirect_dir=on");
    assert_eq!(fs::read(overlay.path("d/trap")).unwrap(), b"content");
}

#[test]
fn a_mount_in_use_by_overlayfs_goes_on_after_a_lazy_unmount() {
    let mut overlay = Overlay::over(layer(), "");
    overlay.mount.mounted.take().unwrap().unmount().unwrap();
    assert!(fs::read(overlay.path("d/f")).unwrap() == noise(200_000));
    File::create(overlay.path("new")).unwrap();
}
