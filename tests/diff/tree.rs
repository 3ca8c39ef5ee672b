//! Small file trees made by operations with the names of continuity's `fstest`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Something done to a tree; paths are below its root.
#[derive(Debug, Clone)]
pub enum Op {
    CreateFile(&'static str, &'static str, u32),
    CreateDir(&'static str, u32),
    Symlink(&'static str, &'static str),
    Link(&'static str, &'static str),
}

/// Does `ops` to the tree at `root`, one after the other.
pub fn change(root: &Path, ops: &[Op]) {
    for op in ops {
        do_one(root, op);
    }
}

fn do_one(root: &Path, op: &Op) {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    match op {
        Op::CreateFile(path, content, bits) => {
            fs::write(at(path), content).unwrap();
            mode(&at(path), *bits);
        }
        Op::CreateDir(path, bits) => {
            fs::create_dir_all(at(path)).unwrap();
            mode(&at(path), *bits);
        }
        Op::Symlink(target, path) => std::os::unix::fs::symlink(target, at(path)).unwrap(),
        Op::Link(old, new) => fs::hard_link(at(old), at(new)).unwrap(),
    }
}

/// The path `path` inside of `root`, links followed as after `chroot`.
pub fn root_path(root: &Path, path: &str) -> PathBuf {
    let mut done = PathBuf::new();
    let mut left: Vec<Vec<u8>> = vec![path.into()];
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part.contains(&b'/') {
            if part.starts_with(b"/") {
                done = PathBuf::new();
            }
            left.extend(part.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
            continue;
        }
        match &*part {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        let next = done.join(std::ffi::OsStr::from_bytes(&part));
        match fs::read_link(root.join(&next)) {
            Ok(target) => {
                links += 1;
                assert!(links < 40);
                left.push([target.as_os_str().as_bytes(), b"/"].concat());
            }
            Err(_) => done = next,
        }
    }
    root.join(done)
}

/// Whether the two paths, links followed inside of `root`, are one inode.
pub fn same_file(root: &Path, a: &str, b: &str) -> bool {
    let id = |path| {
        let metadata = fs::metadata(root_path(root, path)).unwrap();
        (metadata.dev(), metadata.ino())
    };
    id(a) == id(b)
}
