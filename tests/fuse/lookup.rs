use std::io::ErrorKind;

use super::Mount;
use crate::fixture::Layer;

fn layer() -> Layer {
    Layer::new().dir("a", 0o755).dir("a/b", 0o755).file("a/b/c", 0o644, b"text")
}

#[test]
fn names_are_found_at_any_depth() {
    let mount = Mount::of(layer());
    assert!(mount.path("a").is_dir());
    assert!(mount.path("a/b/c").is_file());
    assert!(mount.path("a/b/../b/./c").is_file());
}

#[test]
fn absent_names_are_asked_for_once() {
    let mount = Mount::of(layer());
    let lookups = || mount.mounted().stats().lookups.get();
    for path in ["absent", "a/absent", "a/b/c/below-a-file"] {
        assert!(mount.path(path).symlink_metadata().is_err());
        let before = lookups();
        for _ in 0..10 {
            assert!(mount.path(path).symlink_metadata().is_err());
        }
        assert_eq!(lookups(), before, "{path}");
    }
}

#[test]
fn present_names_are_asked_for_once() {
    let mount = Mount::of(layer());
    mount.path("a/b/c").metadata().unwrap();
    let stats = mount.mounted().stats();
    let before = (stats.lookups.get(), stats.getattrs.get());
    for _ in 0..10 {
        mount.path("a/b/c").metadata().unwrap();
    }
    assert_eq!((stats.lookups.get(), stats.getattrs.get()), before);
}

#[test]
fn names_are_bytes_of_any_kind_and_up_to_255_of_them() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let long = "x".repeat(255);
    let mount = Mount::of(Layer::new().file(&long, 0o644, b"").file("sp ace\n\t\\\"", 0o644, b""));
    assert!(mount.path(&long).exists());
    assert!(mount.path("sp ace\n\t\\\"").exists());
    let too_long = mount.path(format!("{long}y")).metadata().unwrap_err();
    assert_eq!(too_long.raw_os_error(), Some(nix::libc::ENAMETOOLONG));
    let not_text = mount.path(OsStr::from_bytes(b"\xff\xfe")).metadata().unwrap_err();
    assert_eq!(not_text.kind(), ErrorKind::NotFound);
}
