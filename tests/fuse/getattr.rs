use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::libc;
use stratafs::archive::FileType;

use super::Mount;
use crate::fixture::{Layer, MTIME};

#[test]
fn stat_tells_what_the_layer_says() {
    let layer = Layer::new()
        .dir("d", 0o1777)
        .owner(3, 4)
        .file("d/f", 0o6755, b"12345")
        .owner(70_000, 4_000_000_000)
        .link("d/g", "d/f")
        .symlink("l", "d/f")
        .node("null", FileType::CharDevice, 1, 3)
        .node("disk", FileType::BlockDevice, 259, 70_000)
        .node("pipe", FileType::Fifo, 0, 0);
    let mount = Mount::of(layer);
    let stat = |path: &str| mount.path(path).symlink_metadata().unwrap();

    let file = stat("d/f");
    assert_eq!(file.mode(), libc::S_IFREG | 0o6755);
    assert_eq!((file.uid(), file.gid(), file.size()), (70_000, 4_000_000_000, 5));
    assert_eq!((file.mtime(), file.mtime_nsec()), (MTIME.secs, MTIME.nanos.into()));
    assert_eq!((file.nlink(), file.blocks()), (2, 1));
    assert_eq!(stat("d/g").ino(), file.ino());

    let dir = stat("d");
    assert_eq!((dir.mode(), dir.nlink()), (libc::S_IFDIR | 0o1777, 2));
    assert_eq!(stat("").nlink(), 3);
    let link = stat("l");
    assert_eq!((link.mode(), link.size()), (libc::S_IFLNK | 0o777, 3));
    assert_eq!(
        (stat("null").mode(), stat("null").rdev()),
        (libc::S_IFCHR | 0o666, libc::makedev(1, 3))
    );
    assert!(stat("disk").file_type().is_block_device());
    assert_eq!(stat("disk").rdev(), libc::makedev(259, 70_000));
    assert!(stat("pipe").file_type().is_fifo());
}

#[test]
fn a_sparse_file_takes_less_than_its_size() {
    let mount = Mount::of(Layer::new().sparse("s", 1 << 40, &[(1 << 30, &[1; 4096])]));
    let stat = mount.path("s").metadata().unwrap();
    assert_eq!((stat.size(), stat.blocks()), (1 << 40, 8));
}
