use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::libc;

use super::Mount;
use crate::fixture::Layer;

fn is_refused<T>(what: &str, result: io::Result<T>) {
    let errno = result.err().and_then(|e| e.raw_os_error());
    assert_eq!(errno, Some(libc::EROFS), "{what}");
}

#[test]
fn every_change_is_refused_as_read_only() {
    let layer = Layer::new().file("f", 0o666, b"text").dir("d", 0o777).symlink("l", "f");
    let mount = Mount::of(layer);
    let at = |path: &str| mount.path(path);
    is_refused("open to write", OpenOptions::new().write(true).open(at("f")));
    is_refused("append", OpenOptions::new().append(true).open(at("f")));
    is_refused("truncate", OpenOptions::new().write(true).truncate(true).open(at("f")));
    is_refused("create", fs::write(at("new"), b""));
    is_refused("mkdir", fs::create_dir(at("new")));
    is_refused("unlink", fs::remove_file(at("f")));
    is_refused("rmdir", fs::remove_dir(at("d")));
    is_refused("rename", fs::rename(at("f"), at("g")));
    is_refused("link", fs::hard_link(at("f"), at("g")));
    is_refused("symlink", std::os::unix::fs::symlink("f", at("g")));
    is_refused("chmod", fs::set_permissions(at("f"), Permissions::from_mode(0o600)));
    is_refused("chown", std::os::unix::fs::chown(at("f"), Some(1), Some(1)));
    let touched = fs::File::open(at("f")).unwrap().set_modified(std::time::SystemTime::now());
    is_refused("utimes", touched);
    let mknod = nix::sys::stat::mknod(
        &at("n"),
        nix::sys::stat::SFlag::S_IFIFO,
        nix::sys::stat::Mode::S_IRUSR,
        0,
    );
    is_refused("mknod", mknod.map_err(io::Error::from));
    for command in [["setfattr", "-nuser.x", "-vy"], ["setfattr", "-xuser.x", "-h"]] {
        let output = Command::new(command[0]).args(&command[1..]).arg(at("f")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("Read-only file system"), "{text}");
    }
    assert_eq!(fs::read(at("f")).unwrap(), b"text");
}
