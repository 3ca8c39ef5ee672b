use std::path::Path;

use super::Mount;
use crate::fixture::Layer;

#[test]
fn targets_are_verbatim() {
    let long = "t/".repeat(2000);
    let layer = Layer::new()
        .file("d/f", 0o644, b"text")
        .symlink("relative", "d/f")
        .symlink("dangling", "/no/such/../file")
        .symlink("long", &long);
    let mount = Mount::of(layer);
    let target = |path: &str| std::fs::read_link(mount.path(path)).unwrap();
    assert_eq!(target("relative"), Path::new("d/f"));
    assert_eq!(target("dangling").as_os_str(), "/no/such/../file");
    assert_eq!(target("long").as_os_str(), &*long);
    assert_eq!(std::fs::read(mount.path("relative")).unwrap(), b"text");
}

#[test]
fn a_target_is_asked_for_once() {
    let mount = Mount::of(Layer::new().symlink("l", "x"));
    for _ in 0..5 {
        std::fs::read_link(mount.path("l")).unwrap();
    }
    assert_eq!(mount.mounted().stats().readlinks.get(), 1);
}

#[test]
fn a_loop_of_links_is_an_error() {
    let mount = Mount::of(Layer::new().symlink("a", "b").symlink("b", "a"));
    let e = std::fs::read(mount.path("a")).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(nix::libc::ELOOP));
}
