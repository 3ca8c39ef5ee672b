use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Mount;
use crate::fixture::Layer;

#[test]
fn ioctls_are_not_supported() {
    let mount = Mount::of(Layer::new().file("f", 0o644, b"x"));
    for _ in 0..2 {
        let output = Command::new("lsattr").arg(mount.path("f")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("Inappropriate ioctl") || text.contains("not supported"), "{text}");
    }
}

#[test]
fn files_are_always_ready() {
    let mount = Mount::of(Layer::new().file("f", 0o644, b"x"));
    let file = File::open(mount.path("f")).unwrap();
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::ZERO).unwrap(), 1);
    assert!(fds[0].any().unwrap());
}
