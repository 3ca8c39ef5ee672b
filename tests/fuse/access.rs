use std::process::Command;

use nix::libc;
use nix::unistd::{AccessFlags, access};

use super::Mount;
use crate::fixture::Layer;

#[test]
fn nothing_can_be_written_and_the_rest_is_as_the_mode_says() {
    let layer = Layer::new().file("x", 0o755, b"").file("f", 0o644, b"").dir("d", 0o755);
    let mount = Mount::of(layer);
    for path in ["x", "f", "d"] {
        assert_eq!(access(&mount.path(path), AccessFlags::R_OK), Ok(()));
        let refused = access(&mount.path(path), AccessFlags::W_OK).unwrap_err();
        assert_eq!(refused as i32, libc::EROFS, "{path}");
    }
    assert_eq!(access(&mount.path("x"), AccessFlags::X_OK), Ok(()));
    assert_eq!(access(&mount.path("f"), AccessFlags::X_OK).unwrap_err() as i32, libc::EACCES);
}

#[test]
fn the_kernel_checks_owner_group_and_others() {
    let layer = Layer::new()
        .dir("", 0o755)
        .file("owner", 0o400, b"1")
        .owner(1234, 1)
        .file("group", 0o040, b"2")
        .owner(1, 1234)
        .file("other", 0o004, b"3")
        .file("nobody", 0o770, b"4")
        .dir("closed", 0o700)
        .file("closed/f", 0o777, b"5");
    let mount = Mount::of(layer);
    mount.open_to_all();
    let output = Command::new("setpriv")
        .args(["--reuid", "1234", "--regid", "1234", "--clear-groups", "sh", "-c"])
        .arg("cd \"$1\" && for f in owner group other nobody closed/f; do cat $f || echo no; done")
        .arg("sh")
        .arg(mount.path(""))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "123no\nno\n");
}
